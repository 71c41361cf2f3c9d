"""Who must connect or stop a stream now goes before who has done so.

Meetings begin on the hour. Recordings that share a process, and a Prefect server, would otherwise delay each other with
what has time: a start costs Prefect five requests, and what follows it ten.

There is no lock: a run that is cancelled may be interrupted anywhere, and one that is left locked would hold up all. A
set and a number change in one step each.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prefect_videodb.punctual import is_early

# Nobody stands aside for longer, whatever the others do.
_LONGEST_S = 15.0
# Those that are due in the same second do not come in the same moment.
_QUIET_S = 0.3
_LOOK_S = 0.1

_urgent: set["Precedence"] = set()
_taken_at = 0.0


class Precedence:
    """That of one execution, while it has taken it and not given way."""

    def take(self) -> None:
        """Go before those that have time."""
        global _taken_at  # noqa: PLW0603 - there is one for the process
        _taken_at = time.monotonic()
        _urgent.add(self)

    def end(self) -> None:
        """Be in no hurry any more."""
        _urgent.discard(self)

    def give_way(self) -> None:
        """Be in no hurry any more, and let those go first that are."""
        self.end()
        deadline = time.monotonic() + _LONGEST_S
        while _is_anybody_urgent() and time.monotonic() < deadline:
            time.sleep(_LOOK_S)


@contextmanager
def taking_precedence() -> Iterator[Precedence]:
    """Go before others, at the latest until the block ends. Who was begun early has time, and takes it later."""
    mine = Precedence()
    if not is_early():
        mine.take()
    try:
        yield mine
    finally:
        mine.end()


def _is_anybody_urgent() -> bool:
    return bool(_urgent) or time.monotonic() < _taken_at + _QUIET_S
