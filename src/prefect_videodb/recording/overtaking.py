"""Schedule a run again only where nobody was faster.

Prefect lets a run that is being executed be scheduled, and a worker would execute it a second time beside the first. So
whoever looks after the runs of others reads each again right before acting: what it knows may be minutes old.
"""

from datetime import datetime

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound

from prefect_videodb.recording.parking import PARKED, schedule


class Overtaken(RuntimeError):
    """The run has got another state since it was looked at: somebody else looks after it."""


def read_unchanged(client: SyncPrefectClient, run: FlowRun) -> FlowRun:
    """Read a run again that was looked at before.

    Raises:
        Overtaken: its state is another one now, or it is deleted.
        httpx.HTTPError, PrefectException: Prefect is away.
    """
    try:
        now = client.read_flow_run(run.id)
    except ObjectNotFound:
        raise Overtaken(f"run {run.name} was deleted meanwhile") from None
    if now.state_id != run.state_id:
        raise Overtaken(f"run {run.name} is {now.state.name if now.state else 'in no state'} meanwhile")
    return now


def schedule_unchanged(client: SyncPrefectClient, run: FlowRun, at: datetime, message: str, name: str = PARKED) -> None:
    """Schedule a run whose state is still the one that it was looked at in. `name` is what the UI calls it meanwhile.

    Raises:
        Overtaken: it is another one.
        RuntimeError: Prefect did not accept it: the run ended meanwhile.
        httpx.HTTPError, PrefectException: Prefect is away.
    """
    read_unchanged(client, run)
    schedule(client, run.id, at, message, name)
