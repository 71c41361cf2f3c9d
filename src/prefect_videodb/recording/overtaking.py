"""Schedule a run again only where nobody was faster.

Prefect lets a run that is being executed be scheduled, and a worker would execute it a second time beside the first. So
whoever looks after the runs of others reads each again right before acting: what it knows may be minutes old.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound

from prefect_videodb.recording.memory import planned_window, remembered
from prefect_videodb.recording.parking import PARKED, is_parked, schedule, wake_at

# A worker takes a run up to three minutes before it is due (`punctual.LONGEST_LEAD`): what it may be taking is left.
_CLAIM_MARGIN = timedelta(minutes=4)
_TRIES = 3


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


def reword(client: SyncPrefectClient, run: FlowRun, message: Callable[[FlowRun], str | None]) -> None:
    """Change the message of a parked recording's state: the state is set again, for the same time.

    Left as it is where a worker may be about to take the run. The time is that of the planned end, read before and
    after: somebody who moves the end at the same time is not undone.

    Args:
        client: Prefect.
        run: the recording's.
        message: returns the message for the run as it is now; None when there is none.

    Raises:
        RuntimeError: Prefect did not accept it: the run ended meanwhile.
        httpx.HTTPError, PrefectException: Prefect is away.
    """
    for _ in range(_TRIES):
        run = client.read_flow_run(run.id)
        window, text = planned_window(remembered(run)), message(run)
        due = run.state.state_details.scheduled_time if run.state else None
        if window is None or due is None or not text or not is_parked(run):
            return
        at, earliest = wake_at(window.end), datetime.now(UTC) + _CLAIM_MARGIN
        if min(at, due) < earliest:
            return
        schedule(client, run.id, at, text)
        if planned_window(remembered(client.read_flow_run(run.id))) == window:
            return
