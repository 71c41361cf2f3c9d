"""What is read once for all recordings that begin, or end, in the same moment in one process: blocks and labels."""

import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast
from uuid import UUID

from prefect.blocks.core import Block
from prefect.exceptions import PrefectException
from prefect.settings import PREFECT_API_URL

from prefect_videodb.durable.on_time import shares_process

# To read a block costs Prefect more than to start a run. Who saves one waits for so long until it counts.
_FRESH_S = 5.0
_PATIENCE_S = 2.0
# Labels tell of an end that somebody moved: that is to be seen soon. Who asks no more is left out.
_FRESH_LABELS_S = 2.0
_ASKS_NO_MORE_S = 60.0
_PAGE = 200
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
    if not shares_process.get():  # no run of a worker that executes several: who has just saved a block expects it
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


@dataclass(slots=True)
class _Labels:
    """The labels of a run, None where there is no such run, as they were at a moment of the monotonic clock."""

    labels: Mapping[str, Any] | None = None
    read_at: float = float("-inf")
    written_at: float = float("-inf")
    asked_at: float = field(default_factory=time.monotonic)


_reading_labels = threading.Lock()
_labels: dict[UUID, _Labels] = {}


def labels_of(
    flow_run_id: UUID, read: Callable[[Sequence[UUID]], Mapping[UUID, Mapping[str, Any]]]
) -> Mapping[str, Any]:
    """Give the labels of a run. One request reads those of all runs of this process that ask again and again.

    Raises:
        PrefectException: there is no such run, or Prefect is away.
        httpx.HTTPError: Prefect is away.
    """
    with _lock:
        mine = _labels.setdefault(flow_run_id, _Labels())
        mine.asked_at = time.monotonic()
    is_mine = _reading_labels.acquire(timeout=_PATIENCE_S)
    try:
        now = time.monotonic()
        if now - mine.read_at > _FRESH_LABELS_S:
            ids = [flow_run_id, *_who_else_asks(flow_run_id, now)][:_PAGE] if is_mine else [flow_run_id]
            found = read(ids)
            with _lock:
                for known in ids:
                    if (one := _labels.get(known)) and one.written_at <= now:
                        one.labels, one.read_at = found.get(known), now
    finally:
        if is_mine:
            _reading_labels.release()
    if mine.labels is None:
        raise PrefectException(f"there is no flow run {flow_run_id}")
    return mine.labels


def have_written(flow_run_id: UUID) -> None:
    """Say that a run has just written its labels: what was read before does not hold that, nor what is being read."""
    with _lock:
        if mine := _labels.get(flow_run_id):
            mine.read_at, mine.written_at = float("-inf"), time.monotonic()


def _who_else_asks(flow_run_id: UUID, now: float) -> list[UUID]:
    """Give the other runs whose labels are to be read, and forget those that ask no more."""
    with _lock:
        for gone in [known for known, one in _labels.items() if now - one.asked_at > _ASKS_NO_MORE_S]:
            del _labels[gone]
        return [known for known, one in _labels.items() if known != flow_run_id and now - one.read_at > _FRESH_LABELS_S]


def _is_used(one: _Read) -> bool:
    return one.lock.locked() or one.is_fresh()
