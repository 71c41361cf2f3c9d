"""What is deployed with a schedule is run by it."""

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.client.schemas.objects import FlowRun

from tests.flows.conftest import set_schedules
from tests.support.processes import wait_for


def scheduled(deployment: str) -> list[FlowRun]:
    with get_client(sync_client=True) as client:
        named = DeploymentFilter(name=DeploymentFilterName(any_=[deployment]))
        return [run for run in client.read_flow_runs(deployment_filter=named, limit=200) if run.auto_scheduled]


def test_prefect_makes_the_runs_of_the_active_schedules_and_of_no_others(prefect_api: str, deployed: str) -> None:
    assert prefect_api
    assert deployed
    set_schedules("stop-orphaned-streams", active=True)
    wait_for("streams will be looked after", lambda: scheduled("stop-orphaned-streams"))
    set_schedules("stop-orphaned-streams", active=False)
    assert scheduled("record-meeting") == []  # switched off until somebody switches it on
