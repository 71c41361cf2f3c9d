"""Who must act now goes before who has time, in a process that executes several runs.

Meetings begin and end on the hour. Recordings that share a process share its connection to Prefect, and what follows a
start or a stop asks Prefect two or three times as often as what leads to it. So while any recording of the process is
being begun, or must connect or stop its stream now, the requests of the others wait: for seconds, and those of one that
has stopped, where only an export waits, for minutes. Then those that have stopped go on, a few at a time: a thousand
threads at once would hold each other up, and those that begin next.

There is no lock: a run that is cancelled may be interrupted anywhere, and one that is left locked would hold up all.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# Who takes longer holds up no others.
LONGEST_HURRY_S = 120.0
# So long does one that has time stand aside in all, whatever the others do.
_STANDS_ASIDE_S = 15.0
# Those that are due in the same second do not come in the same moment.
_QUIET_S = 0.3
_FIRST_LOOK_S, _LOOK_S = 0.1, 1.0
# Of all together: a thousand threads that look once a second leave the interpreter to nobody else.
_LOOKS_A_SECOND = 20.0
# So many go on at a time that stood aside. Who is not through by then waits for the service, which others may, too.
MOST_GOING_ON = 40
_GOES_ON_S = 30.0

_hurrying: dict["Precedence", float] = {}
_going_on: dict["Precedence", float] = {}
_standing_aside: set["Precedence"] = set()
_hurried_at = float("-inf")


class Precedence:
    """That of one execution of a run."""

    def __init__(self) -> None:
        self.has_begun = False
        """Whether it has said that it waits: others may be begun."""
        self._has_ended = threading.Event()
        self._stands_aside_s = 0.0

    def hurry(self) -> None:
        """Go before those that have time."""
        global _hurried_at  # noqa: PLW0603 - there is one for the process
        _hurried_at = _hurrying[self] = time.monotonic()

    def give_way(self, stands_aside_s: float = _STANDS_ASIDE_S) -> None:
        """Let others go first from now on, for so many seconds in all."""
        self._stands_aside_s = stands_aside_s
        _hurrying.pop(self, None)

    def rest(self, stands_aside_s: float = _STANDS_ASIDE_S) -> None:
        """Let others go first, and be begun."""
        self.has_begun = True
        self.give_way(stands_aside_s)

    def end(self) -> None:
        """Hold up nobody any more, and stand aside for nobody: nothing is to keep it from ending well."""
        self._has_ended.set()
        _hurrying.pop(self, None)
        _going_on.pop(self, None)
        _standing_aside.discard(self)

    def stand_aside(self, longest_s: float) -> None:
        """Rest until nobody is in a hurry, and until it is its turn among those that stood aside."""
        self.rest(longest_s)
        self.wait_for_turn()
        while not self._has_ended.is_set() and not self._goes_on():
            self._look_again_after(_LOOK_S)

    def _goes_on(self) -> bool:
        now = time.monotonic()
        for other, since in list(_going_on.items()):
            if now >= since + _GOES_ON_S:
                _going_on.pop(other, None)
        if len(_going_on) >= MOST_GOING_ON:
            return False
        _going_on[self] = now
        return True

    def _look_again_after(self, look_s: float) -> float:
        """Sleep so long, or longer where many do, or until this one is told to end. Gives how long it was."""
        began = time.monotonic()
        _standing_aside.add(self)
        try:
            self._has_ended.wait(max(look_s, len(_standing_aside) / _LOOKS_A_SECOND))
        finally:
            _standing_aside.discard(self)
        return time.monotonic() - began

    def _may_act(self) -> bool:
        return self in _hurrying or self._has_ended.is_set()

    def wait_for_turn(self) -> None:
        """Wait as long as others are in a hurry and this one is not."""
        look_s = _FIRST_LOOK_S
        while self._stands_aside_s > 0 and not self._may_act() and _is_anybody_in_a_hurry():
            self._stands_aside_s -= self._look_again_after(look_s)
            look_s = min(_LOOK_S, 1.5 * look_s)


current: ContextVar[Precedence | None] = ContextVar("precedence", default=None)
"""That of the run of this context; None in a process that executes one run only."""


def hurry() -> None:
    """Say that the run of this context must act now: those that have time let it go first."""
    if mine := current.get():
        mine.hurry()


def give_way() -> None:
    """Say that the run of this context has connected: those that are in a hurry go first."""
    if mine := current.get():
        mine.give_way()


def rest() -> None:
    """Say that the run of this context waits, or has time, from now on: others may be begun."""
    if mine := current.get():
        mine.rest()


def stand_aside(longest_s: float) -> None:
    """Say that the run of this context has time; come back when those that have none have acted, and it is its turn.

    Args:
        longest_s: how long it lets those go first that have no time, in seconds, from now on and in all.
    """
    if mine := current.get():
        mine.stand_aside(longest_s)


@contextmanager
def going_first() -> Iterator[None]:
    """Ask in this block for what all runs of the process wait for: it stands aside for none."""
    token = current.set(None)
    try:
        yield
    finally:
        current.reset(token)


def wait_for_turn() -> None:
    """Come back when the run of this context may ask Prefect: at once where nobody else is in a hurry."""
    if mine := current.get():
        mine.wait_for_turn()


def _is_anybody_in_a_hurry() -> bool:
    now = time.monotonic()
    return now < _hurried_at + _QUIET_S or any(now < since + LONGEST_HURRY_S for since in list(_hurrying.values()))
