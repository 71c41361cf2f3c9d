"""Read from Prefect's API what its client reads one page at a time, or not at all."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter
from prefect.client.schemas.objects import FlowRun

PAGE = 200
"""How many objects Prefect returns at a time."""


def runs_of(prefect: SyncPrefectClient, flow: str, wanted: FlowRunFilter) -> list[FlowRun]:
    """Return all runs of the flow of this name that the filter lets through.

    Raises:
        httpx.HTTPError, PrefectException: Prefect cannot be asked.
    """
    found: list[FlowRun] = []
    while True:
        page = prefect.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])),
            flow_run_filter=wanted,
            limit=PAGE,
            offset=len(found),
        )
        found += page
        if len(page) < PAGE:
            return found


def server_time(response: httpx.Response) -> datetime:
    """Return the time by the clock of the server that responded: the times of states are by that clock, too."""
    try:
        return parsedate_to_datetime(response.headers["date"])
    except (KeyError, ValueError):
        return datetime.now(UTC)
