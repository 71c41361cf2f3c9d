"""What a flow run must do at its second: its flow declares it, a worker does it then, before the flow starts.

To start a flow costs Prefect and the worker a quarter of a second of CPU; of a hundred that are due in one second the
last begins late, whatever the worker does. What must be punctual is one request. So the worker claims a run ahead,
prepares that request, sends it at the moment, and starts the flow afterwards. The flow finds what was done as it finds
what an earlier execution did. Under any other worker the flow does all of it itself.
"""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, TypeVar
from uuid import UUID

import anyio
import anyio.abc
import anyio.to_thread
from prefect import Flow
from prefect.blocks.core import Block
from prefect.client.schemas.objects import FlowRun
from pydantic import ValidationError

# A thousand claims take 12 s of Prefect, and what is written before the moment 6 s.
CLAIM_AHEAD = timedelta(seconds=60)
# Each thread waits for the service for most of its time.
_THREADS = 64
_ATTRIBUTE = "_on_time"
_F = TypeVar("_F", bound=Flow[..., Any])

shares_process: ContextVar[bool] = ContextVar("shares_process", default=False)
"""Whether the run of this context shares its process with other runs."""


Snapshot = Mapping[UUID, tuple[type[Block], Mapping[str, Any]]]
"""What blocks held when they were loaded, by the ids of their documents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """A request that a run must send at its second.

    Attributes:
        at: when.
        send: called once, in a thread, at that moment or as soon after it as can be. Returns the labels that tell the
            flow what was done; where it raises, nobody knows whether it was.
        labels: what the run must say before: that the request may have been sent.
        blocks: what it was prepared from; where one has changed since, it is prepared again.
        settle_s: how long what was sent may take to show after `send` has raised, in seconds.
    """

    at: datetime
    send: Callable[[], Mapping[str, str]]
    labels: Mapping[str, str] = field(default_factory=dict)
    blocks: Snapshot = field(default_factory=dict)
    settle_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OnTime:
    """What a flow has declared.

    Attributes:
        at_start: prepares what is sent when the run is due, ahead, in a thread. It returns None, or raises, where the
            flow is to do it: because the run may have begun before, or cannot be prepared.
        ends_at: returns when the run must end, by its labels. Pure.
        at_end: prepares what is sent then, ahead, in a thread; it must bear being sent twice.
    """

    at_start: Callable[[Flow[..., Any], FlowRun, datetime], Act | None] | None = None
    ends_at: Callable[[FlowRun], datetime | None] = lambda _: None
    at_end: Callable[[Flow[..., Any], FlowRun], Act | None] | None = None


_NOTHING = OnTime()


def on_time(declared: OnTime) -> Callable[[_F], _F]:
    """Declare what runs of a flow must do at their second; a decorator, above Prefect's own."""

    def declare(flow: _F) -> _F:
        setattr(flow, _ATTRIBUTE, declared)
        return flow

    return declare


def declared_by(flow: Flow[..., Any]) -> OnTime:
    """Return what a flow has declared; of one that has declared nothing, nothing."""
    declared: OnTime = getattr(flow, _ATTRIBUTE, _NOTHING)
    return declared


def snapshot(*blocks: Block) -> Snapshot:
    """Return what these blocks hold; of one that was never saved nothing."""
    known = ((block._block_document_id, block) for block in blocks)  # noqa: SLF001 - there is no public name for it
    return {block_id: (type(block), _data_of(block)) for block_id, block in known if block_id}


def _data_of(block: Block) -> dict[str, Any]:
    # As Prefect saves it, without what tells which document it is.
    fields = set(type(block).model_fields)
    return block.model_dump(mode="json", include=fields, context={"include_secrets": True})


class Documents:
    """Block documents as they are now.

    Args:
        saved: their data, by their ids; what was deleted is not there.
    """

    def __init__(self, saved: Mapping[UUID, Mapping[str, Any]]) -> None:
        self._saved = saved
        self._data: dict[UUID, Mapping[str, Any] | None] = {}

    def have_changed(self, loaded: Snapshot) -> bool:
        """Whether one of these blocks was changed or deleted since it was loaded."""
        return any(self._now(block_id, kind) != data for block_id, (kind, data) in loaded.items())

    def _now(self, block_id: UUID, kind: type[Block]) -> Mapping[str, Any] | None:
        if block_id not in self._data:
            try:
                saved = self._saved.get(block_id)
                self._data[block_id] = None if saved is None else _data_of(kind.model_validate(saved))
            except ValidationError:
                self._data[block_id] = None
        return self._data[block_id]


class Moment(Enum):
    """When a run must do something."""

    START = "when it is due"
    END = "when it ends"


Key = tuple[UUID, Moment]


class Pending:
    """An act that waits for its moment, and what became of it."""

    def __init__(self, act: Act) -> None:
        self.act = act
        self.is_held = False
        """Whether it is not sent though it is due: it is being prepared again."""
        self.is_sent = False
        """Whether it was, or is being, sent."""
        self.labels: Mapping[str, str] | None = None
        """What it returned; None where it was dropped, or has raised."""
        self.error: Exception | None = None
        self.over = anyio.Event()


class Timer:
    """Sends acts at their moments over a pool of threads: of each run one for its start, and one for its end."""

    def __init__(self) -> None:
        self._pending: dict[Key, Pending] = {}
        self._threads = anyio.CapacityLimiter(_THREADS)
        self._changed = anyio.Event()

    def set(self, key: Key, act: Act) -> Pending:
        """Let an act wait for its moment, in the place of the one that waits there."""
        pending = self._pending.setdefault(key, Pending(act))
        if not pending.is_sent:
            pending.act, pending.is_held = act, False
            self._changed.set()
        return pending

    def hold(self, key: Key) -> None:
        """Do not send an act until another one is set in its place."""
        if pending := self._pending.get(key):
            pending.is_held = True

    def drop(self, key: Key) -> None:
        """Forget an act, unless it is being sent."""
        pending = self._pending.get(key)
        if pending and not pending.is_sent:
            del self._pending[key]
            pending.over.set()

    def get(self, key: Key) -> Pending | None:
        """Return the act that waits there, or is being sent."""
        return self._pending.get(key)

    def due_by(self, moment: datetime) -> dict[Key, datetime]:
        """Return what waits and is due by then, the longest due first, each with its time."""
        waiting = ((key, one.act.at) for key, one in self._pending.items() if not one.is_sent and not one.is_held)
        return dict(sorted(((key, at) for key, at in waiting if at <= moment), key=lambda item: item[1]))

    def is_busy(self, within: timedelta) -> bool:
        """Whether an act is being sent, or is due within this time."""
        moment = datetime.now(UTC) + within
        return any(one.is_sent or one.act.at <= moment for one in self._pending.values())

    async def wait(self, longest_s: float) -> None:
        """Wait until the next act is due, or another one is set; not longer than this."""
        times = self.due_by(datetime.now(UTC) + timedelta(seconds=longest_s)).values()
        for first in times:
            longest_s = max(0.0, (first - datetime.now(UTC)).total_seconds())
            break
        self._changed = anyio.Event()
        with anyio.move_on_after(longest_s):
            await self._changed.wait()

    def send_due(self, group: anyio.abc.TaskGroup) -> None:
        """Begin to send what is due."""
        for key in self.due_by(datetime.now(UTC)):
            pending = self._pending[key]
            pending.is_sent = True
            group.start_soon(self._send, key, pending)

    async def _send(self, key: Key, pending: Pending) -> None:
        try:
            pending.labels = await anyio.to_thread.run_sync(pending.act.send, limiter=self._threads)
        except Exception as error:  # noqa: BLE001 - whatever it is, the flow looks for what was done
            pending.error = error
        finally:
            self._pending.pop(key, None)
            pending.over.set()
