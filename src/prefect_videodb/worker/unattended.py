"""Runs that are cancelled while they wait without a process: Prefect runs no hooks of these, so a worker does."""

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort

if TYPE_CHECKING:
    from uuid import UUID

# What the first look covers, and what each covers again: clocks differ, and what is told late carries its own time.
_BEFORE_THE_FIRST = timedelta(minutes=10)
_AGAIN = timedelta(minutes=1)
_PAGE = 200


class Unattended:
    """Finds the cancelled runs of a work pool whose hooks nobody has run; each once."""

    def __init__(self, work_pool_name: str) -> None:
        self._work_pool = WorkPoolFilter(name=WorkPoolFilterName(any_=[work_pool_name]))
        self._looked_at: datetime | None = None
        self._seen: set[UUID] = set()

    async def find(self, client: PrefectClient) -> list[FlowRun]:
        """Give those that were cancelled since the last look, and had begun before they were parked."""
        now = datetime.now(UTC)
        since = self._looked_at - _AGAIN if self._looked_at else now - _BEFORE_THE_FIRST
        cancelled = await self._cancelled(client, since)
        found = [run for run in cancelled if run.id not in self._seen and _was_parked(run)]
        self._looked_at = now
        self._seen = {run.id for run in cancelled}
        return found

    async def _cancelled(self, client: PrefectClient, since: datetime) -> list[FlowRun]:
        wanted = FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CANCELLED])),
            end_time=FlowRunFilterEndTime.model_validate({"after_": since}),
        )
        runs: dict[UUID, FlowRun] = {}  # who ends between two pages is on both
        for offset in count(0, _PAGE):
            page = await client.read_flow_runs(
                work_pool_filter=self._work_pool,
                flow_run_filter=wanted,
                sort=FlowRunSort.END_TIME_DESC,
                limit=_PAGE,
                offset=offset,
            )
            runs |= {run.id: run for run in page}
            if len(page) < _PAGE:
                break
        return list(runs.values())


def _was_parked(run: FlowRun) -> bool:
    """Say whether a run had begun, and named no process any more; whoever executes a run writes his name down."""
    return run.run_count > 0 and not run.infrastructure_pid
