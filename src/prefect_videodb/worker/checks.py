"""What is read once more, in batches, before what must be done at its second is done."""

from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun

from prefect_videodb.durable.prefect_api import PAGE


class Withheld(Enum):
    """Why a run that was claimed ahead does not begin."""

    PAUSED = "its work pool or queue is paused"
    UNSCHEDULED = "its schedule was paused, changed or deleted"


async def withheld(client: PrefectClient, work_pool_name: str, runs: Sequence[FlowRun]) -> dict[UUID, Withheld]:
    """Return which runs are not to begin: Prefect would not give them to a worker any more, or would delete them."""
    if not runs:
        return {}
    pool = await client.read_work_pool(work_pool_name)
    queues = await client.read_work_queues(work_pool_name=work_pool_name)
    paused = {queue.id for queue in queues if queue.is_paused}
    found = {run.id: Withheld.PAUSED for run in runs if pool.is_paused or run.work_queue_id in paused}
    scheduled = [run for run in runs if run.auto_scheduled and run.run_count == 0]
    active = await _active_schedules(client, {run.deployment_id for run in scheduled if run.deployment_id})
    for run in scheduled:
        if run.created_by and run.created_by.id not in active:
            found[run.id] = Withheld.UNSCHEDULED
    return found


async def _active_schedules(client: PrefectClient, deployment_ids: Collection[UUID]) -> set[UUID]:
    ids, active = list(deployment_ids), set[UUID]()
    for start in range(0, len(ids), PAGE):
        some = DeploymentFilter(id=DeploymentFilterId(any_=ids[start : start + PAGE]))
        for deployment in await client.read_deployments(deployment_filter=some, limit=PAGE):
            if not deployment.paused:
                active |= {schedule.id for schedule in deployment.schedules if schedule.active}
    return active


async def saved_blocks(client: PrefectClient, block_ids: Collection[UUID]) -> dict[UUID, Mapping[str, Any]]:
    """Return the data of block documents by their ids, secrets included; what was deleted is left out."""
    ids, saved = [str(known) for known in block_ids], dict[UUID, Mapping[str, Any]]()
    for start in range(0, len(ids), PAGE):
        some = {"id": {"any_": ids[start : start + PAGE]}}
        body = {"block_documents": some, "include_secrets": True, "limit": PAGE}
        answer = await client.request("POST", "/block_documents/filter", json=body)
        saved |= {UUID(document["id"]): document["data"] for document in answer.json()}
    return saved
