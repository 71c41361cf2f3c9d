"""Wait in an event loop for what a thread finishes many at a time, and be woken once for all of them.

`asyncio.wrap_future` wakes the loop for each: at a thousand alerts a second that costs more than keeping them.
"""

import asyncio
from collections import deque
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

_T = TypeVar("_T")


class Waker:
    """Awaits the futures of threads, in one loop."""

    def __init__(self) -> None:
        self._finished: deque[tuple[asyncio.Future[Any], Future[Any]]] = deque()
        self._is_woken = False

    async def result(self, future: Future[_T]) -> _T:
        """Give what the future gives, or raise what it raises. Who stops waiting does not cancel it."""
        waiting: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        future.add_done_callback(partial(self._came, waiting))
        return await waiting

    def _came(self, waiting: asyncio.Future[Any], done: Future[Any]) -> None:
        self._finished.append((waiting, done))
        # In this order, and in `_tell` the other way round: what comes meanwhile is told then, or wakes it again.
        if self._is_woken:
            return
        self._is_woken = True
        try:
            waiting.get_loop().call_soon_threadsafe(self._tell)
        except RuntimeError:  # the loop is closed, and nobody waits
            self._finished.clear()
            self._is_woken = False

    def _tell(self) -> None:
        self._is_woken = False
        while self._finished:
            waiting, done = self._finished.popleft()
            if waiting.done():
                continue  # nobody waits any more
            if done.cancelled():
                waiting.cancel()
            elif error := done.exception():
                waiting.set_exception(error)
            else:
                waiting.set_result(done.result())
