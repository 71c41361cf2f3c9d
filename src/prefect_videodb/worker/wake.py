"""Look for runs as soon as Prefect's events say that one was scheduled; a poll alone sees it up to a second later.

The events come from Prefect's server, over one WebSocket: on any host, whoever created the run. Where they cannot be
read, the poll remains.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventAnyResourceFilter, EventFilter, EventNameFilter
from prefect.events.schemas.events import ResourceSpecification

# Prefect sends the event before it commits the run, which takes it milliseconds.
_COMMIT_S = 0.05
# A burst of alerts is one look, not one for each.
_MIN_INTERVAL_S = 0.1
_RECONNECT_S = 10.0


async def poll_on_schedule(work_pool_name: str, poll: Callable[[], Awaitable[Sequence[object]]], logger: Any) -> None:
    """Call `poll` whenever a run of a work pool is scheduled, until cancelled.

    Args:
        work_pool_name: the work pool.
        poll: looks for runs, and returns those that it took; called by one task at a time.
        logger: where it says that the events cannot be read.
    """
    scheduled = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_subscribe(work_pool_name, scheduled, logger))
        while True:
            await scheduled.wait()
            scheduled.clear()
            try:
                if not await poll():
                    await asyncio.sleep(_COMMIT_S)
                    await poll()
            except Exception as error:  # noqa: BLE001 - the worker polls every second, and reports what is wrong
                logger.debug("The look for a run that was scheduled failed: %s", error)
            await asyncio.sleep(_MIN_INTERVAL_S)


async def _subscribe(work_pool_name: str, scheduled: asyncio.Event, logger: Any) -> None:
    is_known = False
    pool = ResourceSpecification({"prefect.resource.role": "work-pool", "prefect.resource.name": work_pool_name})
    while True:
        wanted = EventFilter(
            event=EventNameFilter(name=["prefect.flow-run.Scheduled"]), any_resource=EventAnyResourceFilter(labels=pool)
        )
        try:
            async with get_events_subscriber(filter=wanted) as events:
                is_known = False
                async for _ in events:
                    scheduled.set()
        except Exception as error:  # noqa: BLE001 - of the WebSocket, or of the server: neither must end the worker
            if not is_known:
                logger.warning("Prefect's events cannot be read: runs begin up to a second later: %s", error)
            is_known = True
        await asyncio.sleep(_RECONNECT_S)
