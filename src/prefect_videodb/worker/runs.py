"""What a worker asks Prefect for: the runs of its pool, all of them."""

from itertools import count
from typing import TYPE_CHECKING

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort

from prefect_videodb.durable.prefect_api import PAGE

if TYPE_CHECKING:
    from uuid import UUID


def in_state(*types: StateType) -> FlowRunFilterState:
    """Give the filter of runs in one of these states."""
    return FlowRunFilterState(type=FlowRunFilterStateType(any_=list(types)))


async def read_all(
    client: PrefectClient, work_pool_name: str, wanted: FlowRunFilter, sort: FlowRunSort | None = None
) -> list[FlowRun]:
    """Read the runs of a work pool, page by page."""
    pool = WorkPoolFilter(name=WorkPoolFilterName(any_=[work_pool_name]))
    runs: dict[UUID, FlowRun] = {}  # what moves between two pages is on both
    for offset in count(0, PAGE):
        page = await client.read_flow_runs(
            work_pool_filter=pool, flow_run_filter=wanted, sort=sort, limit=PAGE, offset=offset
        )
        runs |= {run.id: run for run in page}
        if len(page) < PAGE:
            break
    return list(runs.values())
