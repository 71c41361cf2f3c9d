"""Runs that are cancelled while they wait without a process: Prefect runs no hooks of these, so a worker does."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterEndTime
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort

from prefect_videodb.worker.runs import in_state, read_all

if TYPE_CHECKING:
    from uuid import UUID

# What the first look covers, and what each covers again: clocks differ, and what is told late carries its own time.
_BEFORE_THE_FIRST = timedelta(minutes=10)
_AGAIN = timedelta(minutes=1)


class Unattended:
    """Finds the cancelled runs of a work pool whose hooks nobody has run; each once."""

    def __init__(self, work_pool_name: str) -> None:
        self._work_pool_name = work_pool_name
        self._looked_at: datetime | None = None
        self._seen: set[UUID] = set()

    async def find(self, client: PrefectClient) -> list[FlowRun]:
        """Give those that were cancelled since the last look, and had begun before they were parked."""
        now = datetime.now(UTC)
        since = self._looked_at - _AGAIN if self._looked_at else now - _BEFORE_THE_FIRST
        wanted = FlowRunFilter(
            state=in_state(StateType.CANCELLED), end_time=FlowRunFilterEndTime.model_validate({"after_": since})
        )
        cancelled = await read_all(client, self._work_pool_name, wanted, FlowRunSort.END_TIME_DESC)
        found = [run for run in cancelled if run.id not in self._seen and _was_parked(run)]
        self._looked_at = now
        self._seen = {run.id for run in cancelled}
        return found


def _was_parked(run: FlowRun) -> bool:
    """Say whether a run had begun, and named no process any more; whoever executes a run writes his name down."""
    return run.run_count > 0 and not run.infrastructure_pid
