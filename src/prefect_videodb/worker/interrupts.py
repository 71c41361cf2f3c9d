"""End a flow that runs in a thread: raise an exception inside it.

Both exceptions are signals that Prefect's engine lets pass without reporting a state: the worker reports it.
"""

import asyncio
import ctypes
import sys
import threading
import time
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any

from prefect.exceptions import Abort, Pause


class RunCancelled(Abort):
    """The run is to end: what it holds is given up."""


class RunLetGo(Pause):
    """The run goes on elsewhere or later: what it holds is kept."""


Interrupt = type[RunCancelled] | type[RunLetGo]


# Where those that all runs share take a lock in one function and give it back in another: what is raised at the end of
# the one, or the beginning of the other, leaves it locked for all, as that of a log's handler.
_SHARED = frozenset({"httpcore", "logging", "threading"})
_AT_A_LOCK = frozenset(
    {"acquire", "release", "__enter__", "__exit__", "_acquireLock", "_releaseLock", "_acquire_restore", "_release_save"}
)
_AGAIN_S = 0.01


def raise_in(thread: threading.Thread, interrupt: Interrupt, is_over: Callable[[], bool]) -> None:
    """Raise in a thread as soon as it executes Python code: a sleep or a read from a socket ends first.

    Not where it takes a lock or gives one back: then a moment later, unless it `is_over` by then.
    """
    if not _raised_in(thread, interrupt):
        again = threading.Thread(target=_keep_trying, args=(thread, interrupt, is_over), name="interrupt", daemon=True)
        again.start()


def _keep_trying(thread: threading.Thread, interrupt: Interrupt, is_over: Callable[[], bool]) -> None:
    while not is_over() and thread.is_alive() and not _raised_in(thread, interrupt):
        time.sleep(_AGAIN_S)


def _raised_in(thread: threading.Thread, interrupt: Interrupt) -> bool:
    # It raises where the thread is now: it goes on only where this one lets it.
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001 - documented, and there is no other way
    if frame is not None and _is_at_a_lock(frame):
        return False
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(interrupt))
    return True


def _is_at_a_lock(frame: types.FrameType) -> bool:
    module = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    return module in _SHARED and frame.f_code.co_name in _AT_A_LOCK


class Interruptible:
    """A coroutine that can be interrupted from another thread while it awaits.

    Cancelling its task would be read as a crash by Prefect's engine, so the cancellation is exchanged on its way in.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._interrupt: Interrupt | None = None
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None

    def run(self) -> Any:
        """Run it to its end, in an event loop of its own."""
        return asyncio.run(self._main())

    def interrupt(self, interrupt: Interrupt) -> None:
        """Raise inside it. Before it began, it ends with its first step; after its end nothing happens."""
        with self._lock:
            self._interrupt = interrupt
            if self._loop and self._task:
                self._loop.call_soon_threadsafe(self._task.cancel)

    async def _main(self) -> Any:
        with self._lock:
            self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
            if self._interrupt and self._task:
                self._task.cancel()
        try:
            return await self._exchanging()
        finally:
            with self._lock:
                self._loop = None

    @types.coroutine
    def _exchanging(self) -> Generator[Any, Any, Any]:
        sent: Any = None
        error: BaseException | None = None
        while True:
            try:
                awaited = self._coroutine.send(sent) if error is None else self._coroutine.throw(error)
            except StopIteration as end:
                return end.value
            sent = error = None
            try:
                sent = yield awaited
            except GeneratorExit:
                self._coroutine.close()
                raise
            except asyncio.CancelledError as cancelled:
                error = self._interrupt() if self._interrupt else cancelled
                self._interrupt = None
            except BaseException as thrown:  # noqa: BLE001 - handed to whom it is meant for
                error = thrown
