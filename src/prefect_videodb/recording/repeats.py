"""Whether the run before found the same: what is wrong is told by one failed run, not by each."""

from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, FlowRunFilter
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import PrefectException

from prefect_videodb._logging import get_logger

INCOMPLETE = "Incomplete"
# Runs overlap, and some were cancelled: more than one is looked at.
_LOOKED_AT = 5


def was_told_before(flow_run_id: str, message: str) -> bool:
    """Whether the last run of the same deployment that ended says the same. When Prefect cannot be asked, it does not.

    Args:
        flow_run_id: the run that asks.
        message: what it found.
    """
    try:
        with get_client(sync_client=True) as prefect:
            deployment_id = prefect.read_flow_run(UUID(flow_run_id)).deployment_id
            if deployment_id is None:
                return False
            runs = prefect.read_flow_runs(
                deployment_filter=DeploymentFilter.model_validate({"id": {"any_": [deployment_id]}}),
                flow_run_filter=FlowRunFilter.model_validate({"state": {"type": {"any_": ["COMPLETED", "FAILED"]}}}),
                sort=FlowRunSort.END_TIME_DESC,
                limit=_LOOKED_AT,
            )
    except (httpx.HTTPError, PrefectException) as error:
        get_logger().warning("Prefect could not be asked for the runs before: %s", error)
        return False
    last = next((run for run in runs if run.state), None)
    return last is not None and last.state is not None and (last.state.message or "").endswith(message)
