"""Who must connect or stop a stream now goes before who has done so.

Meetings begin on the hour. Recordings that share a process, and a Prefect server, would otherwise delay each other with
what has time: a start costs Prefect five requests, and what follows it ten.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

# Nobody stands aside for longer, whatever the others do.
_LONGEST_S = 15.0
# Those that are due in the same second do not come in the same moment.
_QUIET_S = 0.3
# Who is cancelled meanwhile learns it when the wait is over.
_LOOK_S = 0.5

_changed = threading.Condition()
_urgent: set["Precedence"] = set()
_changed_at = 0.0


class Precedence:
    """That of one execution, while it has taken it and not given way."""

    def take(self) -> None:
        """Go before those that have time."""
        global _changed_at  # noqa: PLW0603 - guarded by the condition
        with _changed:
            _urgent.add(self)
            _changed_at = time.monotonic()

    def end(self) -> None:
        """Be in no hurry any more."""
        with _changed:
            _urgent.discard(self)
            _changed.notify_all()

    def give_way(self) -> None:
        """Be in no hurry any more, and let those go first that are."""
        self.end()
        deadline = time.monotonic() + _LONGEST_S
        with _changed:
            while (wait_s := _wait_s()) > 0 and time.monotonic() < deadline:
                _changed.wait(min(wait_s, _LOOK_S))


@contextmanager
def taking_precedence() -> Iterator[Precedence]:
    """Go before others, at the latest until the block ends."""
    mine = Precedence()
    mine.take()
    try:
        yield mine
    finally:
        mine.end()


def _wait_s() -> float:
    """Tell for how long somebody who has time still waits, at most; 0 or less when there is nobody to wait for."""
    return _LONGEST_S if _urgent else _changed_at + _QUIET_S - time.monotonic()
