"""Wait out a meeting: on a clock that does not jump, looking at the stream, showing how far it is."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from prefect_videodb.recording.models import Window
from prefect_videodb.recording.text import clock, timecode

if TYPE_CHECKING:
    from uuid import UUID

_TICK_S = 1.0
_LOOK_EVERY_S = 15.0
# A look at a service or a Prefect that hangs takes long: so near to the end, none may delay it.
_LAST_LOOK_S = 10.0
_SHOW_EVERY_S = 5.0
# How long the last show may take before the stop goes ahead without it.
_LAST_SHOW_S = 0.5
# Not the run's logger: this thread may outlive the run.
logger = logging.getLogger(__name__)


def wait_out(
    window: Window,
    title: str,
    is_over: Callable[[], bool],
    planned_end: Callable[[], datetime],
    leave: Callable[[Window], None],
) -> None:
    """Wait for the end of the window.

    Args:
        window: what is being recorded. Its end is read off the wall clock once, then a clock that never jumps counts.
        title: what the artifact calls it.
        is_over: asked every 15 s but for the last ten; True ends the wait, because the stream no longer records.
        planned_end: asked as often; gives the end of the window, which somebody may have moved.
        leave: called as often; raises when the run need not be waited for here.
    """
    deadline = steady_now() + (window.end - datetime.now(UTC)).total_seconds()
    next_look = steady_now() + _LOOK_EVERY_S
    progress = Progress(window, title)
    with _showing(progress, lambda: deadline):
        while (left_s := deadline - steady_now()) > 0:
            if steady_now() >= next_look and left_s > _LAST_LOOK_S:
                if is_over():
                    return
                if (end := planned_end()) != window.end:
                    window = Window(start=window.start, end=end)
                    deadline = steady_now() + (end - datetime.now(UTC)).total_seconds()
                    progress.move(window)
                leave(window)
                next_look = steady_now() + _LOOK_EVERY_S
            time.sleep(min(_TICK_S, left_s))


def steady_now() -> float:
    """Read a clock that no one sets and that, where there is one, goes on while the machine is suspended."""
    boot_time = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot_time is None else time.clock_gettime(boot_time)


@contextmanager
def _showing(progress: "Progress", deadline: Callable[[], float]) -> Iterator[None]:
    """Show the progress beside the wait, in a thread of its own: a Prefect that hangs must not delay the stop.

    The thread may outlive the block while it hangs there; it is a daemon, and ends with its next look.
    """
    ended = threading.Event()

    def show() -> None:
        while not ended.is_set():
            progress.show(max(0.0, deadline() - steady_now()))
            ended.wait(_SHOW_EVERY_S)
        progress.show(0.0)

    # The artifact belongs to the run whose context this is.
    shower = threading.Thread(target=copy_context().run, args=(show,), name="recording-progress", daemon=True)
    shower.start()
    try:
        yield
    finally:
        ended.set()
        shower.join(_LAST_SHOW_S)


class Progress:
    """A progress artifact. What only shows must not end a recording: when Prefect is away, the log says so."""

    def __init__(self, window: Window, title: str) -> None:
        self._title = title
        self._artifact: UUID | None = None
        self.move(window)

    def move(self, window: Window) -> None:
        """Show another window from now on."""
        self._length_s = max(1.0, (window.end - window.start).total_seconds())
        self._description = f"Recording {self._title} until {clock(window.end)}"

    def show(self, left_s: float) -> None:
        """Show how much is left, in seconds."""
        percent = round(min(100.0, max(0.0, 100.0 * (1.0 - left_s / self._length_s))), 1)
        description = f"{self._description}: {timecode(left_s)} left" if left_s > 0 else f"{self._description}: done"
        try:
            if self._artifact is None:
                # Typed as if it might be a coroutine; called from a synchronous flow it never is.
                made = create_progress_artifact(percent, key="recording-progress", description=description)
                self._artifact = cast("UUID", made)
            else:
                update_progress_artifact(self._artifact, percent, description=description)
        except Exception as error:  # noqa: BLE001 - it only shows; whatever Prefect's client raises, the recording goes on
            logger.warning("The progress could not be shown: %s", error)
