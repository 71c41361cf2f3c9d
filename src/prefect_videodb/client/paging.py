"""Read a list page by page: what `Client.follow` and `AsyncClient.follow` take. Pure, no I/O."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from prefect_videodb.client.call import Call


class _Page(Protocol):
    @property
    def raw(self) -> Any: ...

    @property
    def next_page(self) -> bool: ...


P = TypeVar("P", bound=_Page)


@dataclass
class NumberedPages(Generic[P]):
    """Ask for one page after the other, until the service says that there is none.

    A service that gives the same page again, whatever number it is asked for, is not asked for ever.

    Args:
        call: makes the call for the page of this number, counted from 1.
    """

    call: Callable[[int], Call[P]]
    _number: int = 1
    _last: Any = None

    @property
    def first(self) -> Call[P]:
        """The call for the first page."""
        return self.call(1)

    def following(self, page: P) -> Call[P] | None:
        """Give the call for the page after this one; None when it is the last."""
        if not page.next_page or page.raw == self._last:
            return None
        self._number += 1
        self._last = page.raw
        return self.call(self._number)
