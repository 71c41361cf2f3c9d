"""Read a list page by page: what `Client.follow` and `AsyncClient.follow` take. Pure, no I/O.

A list ends where the service says so, and at the first page that brings nothing new, whatever the service says: one
that takes no notice of the page's number gives the same entries for ever. A list that goes on with new entries beyond
all measure is refused.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from prefect_videodb.client.call import Call
from prefect_videodb.errors import UnexpectedAnswer

# A live index that makes a scene in each 10 s has 600 pages of a hundred after a week.
MAX_PAGES = 2_000
MAX_ENTRIES = 1_000_000


class _Entry(Protocol):
    @property
    def raw(self) -> Any: ...


class _Page(Protocol):
    @property
    def next_page(self) -> bool: ...


P = TypeVar("P", bound=_Page)


@dataclass
class Seen:
    """The entries that came already.

    Args:
        what: the list, for messages.
    """

    what: str
    _keys: set[Hashable] = field(default_factory=set)
    _pages: int = 0

    def add(self, keys: Iterable[Hashable]) -> bool:
        """Take the entries of the next page; whether any of them is new.

        Raises:
            UnexpectedAnswer: the list has no end.
        """
        before = len(self._keys)
        self._keys.update(keys)
        self._pages += 1
        if self._pages >= MAX_PAGES or len(self._keys) > MAX_ENTRIES:
            raise UnexpectedAnswer(
                f"{self.what}: the list has no end: {len(self._keys)} entries on {self._pages} pages, and more to come"
            )
        return len(self._keys) > before


@dataclass
class NumberedPages(Generic[P]):
    """Ask for one page after the other, until the service says that there is none, or a page brings nothing new.

    Args:
        call: makes the call for the page of this number, counted from 1.
        entries: reads the entries of a page.
    """

    call: Callable[[int], Call[P]]
    entries: Callable[[P], Sequence[_Entry]]
    _number: int = 1
    _seen: Seen = field(init=False)

    def __post_init__(self) -> None:
        self._seen = Seen(str(self.first))

    @property
    def first(self) -> Call[P]:
        """The call for the first page."""
        return self.call(1)

    def following(self, page: P) -> Call[P] | None:
        """Return the call for the page after this one; None when it is the last.

        Raises:
            UnexpectedAnswer: the list has no end.
        """
        if not page.next_page or not self._seen.add(hash(repr(entry.raw)) for entry in self.entries(page)):
            return None
        self._number += 1
        return self.call(self._number)
