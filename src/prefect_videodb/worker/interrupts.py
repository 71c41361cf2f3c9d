"""End a flow that runs in a thread: raise an exception inside it.

Both exceptions are signals that Prefect's engine lets pass without reporting a state: the worker reports it.
"""

import asyncio
import ctypes
import threading
import types
from collections.abc import Coroutine, Generator
from typing import Any

from prefect.exceptions import Abort, Pause


class RunCancelled(Abort):
    """The run is to end: what it holds is given up."""


class RunLetGo(Pause):
    """The run goes on elsewhere or later: what it holds is kept."""


Interrupt = type[RunCancelled] | type[RunLetGo]


def raise_in(thread: threading.Thread, interrupt: Interrupt) -> None:
    """Raise in a thread as soon as it executes Python code: a sleep or a read from a socket ends first."""
    if thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(interrupt))


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
