"""A run that is scheduled is looked for at once."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.settings import PREFECT_API_URL, temporary_settings

from prefect_videodb.worker import wake
from tests.support.prefect_server import running_prefect_server
from tests.support.processes import free_port


def _deploy(work_pool_name: str) -> UUID:
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=work_pool_name, type="videodb-in-process"))
        flow_id = client.create_flow_from_name("a-flow")
        return client.create_deployment(flow_id, name=work_pool_name, work_pool_name=work_pool_name)


@asynccontextmanager
async def _polled(work_pool_name: str) -> AsyncIterator[asyncio.Event]:
    polled = asyncio.Event()

    async def poll() -> list[object]:
        polled.set()
        return []

    task = asyncio.create_task(wake.poll_on_schedule(work_pool_name, poll, logging.getLogger(__name__)))
    try:
        yield polled
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _schedule_until(polled: asyncio.Event, deployment: UUID) -> None:
    """Create runs until one is polled for: nobody says when the subscription is there."""
    async with get_client() as client:
        while not polled.is_set():
            await client.create_flow_run_from_deployment(deployment)
            with suppress(TimeoutError):
                await asyncio.wait_for(polled.wait(), 1.0)


def test_run_of_the_pool_wakes_the_poll(prefect_api: str) -> None:
    assert prefect_api
    names = [f"wake-{uuid4()}", f"wake-{uuid4()}"]
    ours, other = map(_deploy, names)

    async def check() -> None:
        async with _polled(names[0]) as polled, _polled(names[1]) as other_polled:
            await _schedule_until(polled, ours)
            assert not other_polled.is_set()
            await _schedule_until(other_polled, other)

    asyncio.run(check())


def test_reconnects_when_prefect_restarts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wake, "_RECONNECT_S", 0.1)
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"

    async def check() -> None:
        deployment: UUID | None = None
        async with _polled("wake") as polled:
            for _ in range(2):
                starting = running_prefect_server(tmp_path, port)
                server = await asyncio.to_thread(starting.__enter__)
                try:
                    deployment = deployment or await asyncio.to_thread(_deploy, "wake")
                    await _schedule_until(polled, deployment)
                finally:
                    server.process.kill()
                    await asyncio.to_thread(starting.__exit__, None, None, None)
                polled.clear()

    with temporary_settings({PREFECT_API_URL: url}):
        asyncio.run(check())
