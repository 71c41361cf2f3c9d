"""The timer of what must be done at its second."""

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import anyio
import pytest
from prefect.blocks.system import Secret
from pydantic import SecretStr

from prefect_videodb.durable.on_time import Act, Documents, Moment, Timer, snapshot

START, END = Moment.START, Moment.END


def act(seconds: float, send: Callable[[], Mapping[str, str]] = dict) -> Act:
    return Act(at=datetime.now(UTC) + timedelta(seconds=seconds), send=send)


async def run_for(timer: Timer, seconds: float) -> None:
    async with anyio.create_task_group() as group:
        with anyio.move_on_after(seconds):
            while True:
                timer.send_due(group)
                await timer.wait(0.5)


def test_hundreds_are_sent_in_their_second() -> None:
    """Each waits for the service for a tenth of a second."""
    sent: list[float] = []

    def send() -> dict[str, str]:
        time.sleep(0.1)
        sent.append(time.time())
        return {"thread": threading.current_thread().name}

    async def main() -> None:
        timer = Timer()
        at = datetime.now(UTC) + timedelta(seconds=0.5)
        pending = [timer.set((uuid4(), START), Act(at=at, send=send)) for _ in range(300)]
        assert timer.is_busy(timedelta(seconds=1))
        await run_for(timer, 3.0)
        assert all(one.labels for one in pending)
        assert not timer.is_busy(timedelta(seconds=1))
        assert min(sent) >= at.timestamp()
        assert max(sent) < at.timestamp() + 2.0

    anyio.run(main)


def test_moved_held_dropped_or_failed() -> None:
    async def main() -> None:
        timer = Timer()
        sent: list[str] = []
        ids = [uuid4() for _ in range(4)]

        def told(text: str) -> Callable[[], Mapping[str, str]]:
            return lambda: sent.append(text) or {text: "sent"}  # type: ignore[func-returns-value]

        def fails() -> Mapping[str, str]:
            raise ValueError("no answer")

        dropped = timer.set((ids[0], START), act(0.2, told("dropped")))
        other = timer.set((ids[0], END), act(0.2, told("its end")))
        held = timer.set((ids[1], START), act(0.2, told("held")))
        moved = timer.set((ids[2], START), act(0.2, told("before it was moved")))
        failed = timer.set((ids[3], START), act(0.2, fails))
        timer.drop((ids[0], START))
        timer.hold((ids[1], START))
        assert timer.set((ids[2], START), act(0.4, told("moved"))) is moved
        await run_for(timer, 1.0)
        assert sent == ["its end", "moved"]
        assert dropped.over.is_set()
        assert dropped.labels is None
        assert other.labels == {"its end": "sent"}
        assert isinstance(failed.error, ValueError)
        assert not held.over.is_set()
        timer.set((ids[1], START), act(0.0, told("prepared again")))
        await run_for(timer, 0.5)
        assert sent[2:] == ["prepared again"]

    anyio.run(main)


def test_what_is_being_sent_is_not_dropped() -> None:
    async def main() -> None:
        timer = Timer()
        key = (uuid4(), START)
        pending = timer.set(key, act(0.0, lambda: time.sleep(0.5) or {"done": "yes"}))  # type: ignore[func-returns-value]
        async with anyio.create_task_group() as group:
            timer.send_due(group)
            await anyio.sleep(0.1)
            timer.drop(key)
            assert timer.get(key) is pending
        assert pending.labels == {"done": "yes"}
        assert timer.get(key) is None

    anyio.run(main)


@pytest.mark.parametrize(
    ("saved", "has_changed"),
    [({"value": "a"}, False), ({"value": "b"}, True), ({"value": {"no": "secret"}}, True), (None, True)],
)
def test_changed_blocks(saved: dict[str, object] | None, *, has_changed: bool) -> None:
    block = Secret(value=SecretStr("a"))
    assert snapshot(block) == {}  # never saved
    block._block_document_id = known = uuid4()  # noqa: SLF001 - as it is when it was loaded
    documents: dict[UUID, dict[str, object]] = {known: saved} if saved else {}
    assert Documents(documents).have_changed(snapshot(block)) is has_changed
