"""Blocks that are read once for all recordings that begin, or end, in the same moment in one process."""

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TypeVar, cast

from prefect.blocks.core import Block
from prefect.settings import PREFECT_API_URL

from prefect_videodb.punctual import due_at

# To read a block costs Prefect more than to start a run. Who saves one waits for so long until it counts.
_FRESH_S = 5.0
_PATIENCE_S = 2.0
_B = TypeVar("_B", bound=Block)


@dataclass(slots=True)
class _Read:
    """A block, as it was at a moment of the monotonic clock."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    block: Block | None = None
    at: float = 0.0

    def is_fresh(self) -> bool:
        return self.block is not None and time.monotonic() - self.at < _FRESH_S


_lock = threading.Lock()
_read: dict[Hashable, _Read] = {}


def read_once(kind: type[_B], name: Hashable, read: Callable[[], _B]) -> _B:
    """Give what `read` gives, or a copy of what it gave to another run of this worker within the last five seconds."""
    if due_at.get() is None:  # no run of a worker that executes several: who has just saved a block expects it
        return read()
    key = (PREFECT_API_URL.value(), kind, name)
    with _lock:
        for stale in [other for other, one in _read.items() if other != key and not _is_used(one)]:
            del _read[stale]
        mine = _read.setdefault(key, _Read())
    # Who reads may hang, or be interrupted and leave this locked: then the others read by themselves.
    is_mine = mine.lock.acquire(timeout=_PATIENCE_S)
    try:
        if not mine.is_fresh():
            mine.block, mine.at = read(), time.monotonic()
        return cast("_B", mine.block).model_copy()
    finally:
        if is_mine:
            mine.lock.release()


def _is_used(one: _Read) -> bool:
    return one.lock.locked() or one.is_fresh()
