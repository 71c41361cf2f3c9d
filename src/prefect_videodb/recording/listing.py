"""List the runs of a flow at Prefect, whatever page they are on."""

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter
from prefect.client.schemas.objects import FlowRun

_PAGE = 200


def runs_of(prefect: SyncPrefectClient, flow: str, wanted: FlowRunFilter) -> list[FlowRun]:
    """Give all runs of the flow of this name that the filter lets through.

    Raises:
        httpx.HTTPError, PrefectException: Prefect cannot be asked.
    """
    found: list[FlowRun] = []
    while True:
        page = prefect.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])),
            flow_run_filter=wanted,
            limit=_PAGE,
            offset=len(found),
        )
        found += page
        if len(page) < _PAGE:
            return found
