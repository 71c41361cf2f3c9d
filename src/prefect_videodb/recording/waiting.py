"""Wait out a meeting: on a clock that does not jump, looking at the stream, showing how far it is."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from prefect_videodb._clock import steady_now
from prefect_videodb.recording.models import Window
from prefect_videodb.recording.text import clock, timecode

if TYPE_CHECKING:
    from uuid import UUID

_TICK_S = 1.0
# How often is looked, and near to the end.
_LOOK_EVERY_S = 15.0
_LAST_LOOKS_EVERY_S = 4.0
_NEAR_S = 20.0
# Every five seconds, or each half per cent.
_SHOW_EVERY_S = 5.0
_SHOWS = 200
# Not the run's logger: these threads may outlive the run.
logger = logging.getLogger(__name__)


def wait_out(
    window: Window,
    is_over: Callable[[], bool],
    planned_end: Callable[[], datetime],
    leave: Callable[[Window], None],
    progress: "Progress | None" = None,
) -> None:
    """Wait for the end of the window.

    Looks are taken beside the wait: a service or a Prefect that hangs must not delay the stop.

    Args:
        window: what is being recorded. Its end is read off the wall clock once, then a clock that never jumps counts.
        is_over: asked every 15 s; True ends the wait, because the stream no longer records.
        planned_end: asked as often, and every 4 s near to the end; gives the end of the window, which somebody may have
            moved.
        leave: called every 15 s; raises when the run need not be waited for here.
        progress: where to show how far it is.
    """
    wait = _Wait(window)
    next_try = steady_now() + _LOOK_EVERY_S
    with ExitStack() as beside:
        beside.enter_context(_beside(wait, lambda: _look(wait, progress, is_over, planned_end)))
        if progress:
            beside.enter_context(_beside(wait, lambda: _show(wait, progress)))
        while (left_s := wait.left_s()) > 0 and not wait.is_over:
            if steady_now() >= next_try:
                leave(wait.window)
                next_try = steady_now() + _LOOK_EVERY_S
            wait.woken.wait(min(_TICK_S, left_s))
            wait.woken.clear()


class _Wait:
    """What the wait and those beside it know."""

    def __init__(self, window: Window) -> None:
        self.is_over = False
        self.is_ended = threading.Event()
        self.woken = threading.Event()
        self.move(window)

    def move(self, window: Window) -> None:
        """Wait for the end of another window from now on."""
        self.window = window
        self._deadline = steady_now() + (window.end - datetime.now(UTC)).total_seconds()
        self.woken.set()

    def left_s(self) -> float:
        """Tell for how long, in seconds."""
        return self._deadline - steady_now()


def until_its_end(window: Window, planned_end: Callable[[], datetime]) -> Callable[[], float]:
    """Give what tells how long it is to the end of a window, in seconds; somebody may move that end meanwhile.

    Args:
        window: its end is read off the wall clock once, then a clock that never jumps counts.
        planned_end: asked at most every 15 s, and every 4 s near to the end; gives the end as it is then.
    """
    wait = _Wait(window)
    next_look = steady_now() + _LOOK_EVERY_S

    def left_s() -> float:
        nonlocal next_look
        if steady_now() >= next_look:
            if (end := planned_end()) != wait.window.end:
                wait.move(Window(start=window.start, end=end))
            next_look = steady_now() + _pause_s(wait)
        return wait.left_s()

    return left_s


def _pause_s(wait: _Wait) -> float:
    return _LOOK_EVERY_S if wait.left_s() > _NEAR_S else _LAST_LOOKS_EVERY_S


def _look(
    wait: _Wait, progress: "Progress | None", is_over: Callable[[], bool], planned_end: Callable[[], datetime]
) -> None:
    while not wait.is_ended.wait(_pause_s(wait)):
        end = planned_end()  # first: who finds the stream lost goes on until the end as it is now
        if end != wait.window.end:
            wait.move(Window(start=wait.window.start, end=end))
            if progress:
                progress.move(wait.window)
        if wait.left_s() > _NEAR_S and is_over():
            wait.is_over = True
            wait.woken.set()
            return


def _show(wait: _Wait, progress: "Progress") -> None:
    while not wait.is_ended.is_set():
        progress.show(max(0.0, wait.left_s()))
        wait.is_ended.wait(max(_SHOW_EVERY_S, progress.length_s / _SHOWS))
    if wait.is_over or wait.left_s() <= 0:
        progress.show(0.0)


@contextmanager
def _beside(wait: _Wait, act: Callable[[], None]) -> Iterator[None]:
    """Act in a thread of its own until the wait has ended.

    The thread is not waited for: a daemon, it ends with what it is at, and that may hang.
    """
    # What it does belongs to the run whose context this is.
    thread = threading.Thread(target=copy_context().run, args=(act,), name="recording-beside", daemon=True)
    thread.start()
    try:
        yield
    finally:
        wait.is_ended.set()


class Progress:
    """A progress artifact. What only shows must not end a recording: when Prefect is away, the log says so."""

    def __init__(self, window: Window, title: str) -> None:
        self._title = title
        self._artifact: UUID | None = None
        self.trouble = ""
        """What is to be said beside how far it is."""
        self.move(window)

    def move(self, window: Window) -> None:
        """Show another window from now on."""
        self.length_s = max(1.0, (window.end - window.start).total_seconds())
        self._description = f"Recording {self._title} until {clock(window.end)}"

    def show(self, left_s: float) -> None:
        """Show how much is left, in seconds."""
        percent = round(min(100.0, max(0.0, 100.0 * (1.0 - left_s / self.length_s))), 1)
        description = f"{self._description}: {f'{timecode(left_s)} left' if left_s > 0 else 'done'}"
        description += f". {self.trouble}" if self.trouble else ""
        try:
            if self._artifact is None:
                # Typed as if it might be a coroutine; called from a synchronous flow it never is.
                made = create_progress_artifact(percent, key="recording-progress", description=description)
                self._artifact = cast("UUID", made)
            else:
                update_progress_artifact(self._artifact, percent, description=description)
        except Exception as error:  # noqa: BLE001 - it only shows; whatever Prefect's client raises, the recording goes on
            logger.warning("The progress could not be shown: %s", error)
