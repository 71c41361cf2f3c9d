"""Whether the sources of parked recordings deliver: nobody else looks, as they hold no process."""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import UTC, datetime, timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun

from prefect_videodb._logging import get_logger
from prefect_videodb.client import Client
from prefect_videodb.client.models import RTStream
from prefect_videodb.durable.on_time import CLAIM_AHEAD
from prefect_videodb.durable.recovery import read_unchanged
from prefect_videodb.recording.liveness import Ingest, Liveness, check_ingest, is_change, tell_change
from prefect_videodb.recording.memory import label, planned_window, remembered
from prefect_videodb.recording.ownership import is_elsewhere
from prefect_videodb.recording.parking import is_parked, schedule, wake_at
from prefect_videodb.recording.showing import LIVE, Status, show_change
from prefect_videodb.recording.stream import live_links
from prefect_videodb.recording.time_zones import showing_times_in, zone_of
from prefect_videodb.tasks.streams import ERROR, STOPPED

# A pass is made every five minutes, and has more to do. What is left is looked at in the next one.
_PASS_S = 120.0
_AT_A_TIME = 16
# A worker claims a run up to a minute before it is due, or a little more: what it may be claiming is left.
_CLAIM_MARGIN = CLAIM_AHEAD + timedelta(minutes=1)
_TRIES = 3


def changed_sources(
    client: Client, streams: Iterable[RTStream], parked: Sequence[FlowRun], server: str | None
) -> Iterator[tuple[FlowRun, Ingest]]:
    """Probe the streams of parked recordings once each, and return those whose source was lost or came back.

    Args:
        client: to the account.
        streams: all of the account.
        parked: the recordings that wait without a process.
        server: this Prefect server's identity, where it is known.

    Returns:
        The run, and what was found.
    """
    looked_at = {
        stream.id: stream
        for stream in streams
        if stream.status not in {STOPPED, ERROR} and not is_elsewhere(stream.name, server)
    }
    recordings = [(run, looked_at[one]) for run in parked if (one := remembered(run).get("rtstream_id")) in looked_at]
    random.shuffle(recordings)  # where a pass does not come to all of them, each has its turn
    deadline = time.monotonic() + _PASS_S
    unknown: list[str] = []

    def probe(stream: RTStream) -> Ingest:
        if time.monotonic() < deadline:
            return check_ingest(client, stream)
        return Ingest(stream.id, datetime.now(UTC), Liveness.UNKNOWN, "there was no time left")

    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        probes = [(run, pool.submit(copy_context().run, probe, stream)) for run, stream in recordings]
        for run, made in probes:
            found = made.result()
            if found.liveness is Liveness.UNKNOWN or time.monotonic() >= deadline:
                unknown.append(found.reason or "there was no time left")
            elif is_change(remembered(run), found):
                yield run, found
    if unknown:
        get_logger().warning("Of %d recordings it is not known whether they record: %s", len(unknown), unknown[0])


def tell_parked(prefect: SyncPrefectClient, client: Client, run: FlowRun, found: Ingest) -> None:
    """Report once that the source of a parked recording was lost or came back: log, event, state, artifact.

    Told first and written down then: killed in between, the event is emitted again, with the same id.

    Args:
        prefect: Prefect.
        client: to the account.
        run: as it was when it was found parked.
        found: what a probe of its stream found.

    Raises:
        StaleRun: the run has another state since: it looks itself, or another pass has told it.
        RuntimeError: the run ended meanwhile.
        httpx.HTTPError, PrefectException: Prefect is away.
    """
    run = read_unchanged(prefect, run)
    status = Status.of(run)
    if status is None:
        return
    with showing_times_in(zone_of(status.known)):
        news = tell_change(run, status.title, status.known, found)
    if not news:
        return
    if found.liveness is Liveness.ALIVE and not status.known.get(LIVE):
        live = live_links(client, found.rtstream_id, status.window, status.title)
        news[LIVE] = live.player_url or live.stream_url or ""
    prefect.update_flow_run_labels(run.id, label(**news))
    _reword(prefect, run, _message)
    show_change(prefect, prefect.read_flow_run(run.id))


def _message(run: FlowRun) -> str | None:
    status = Status.of(run)
    return status.message() if status else None


def _reword(client: SyncPrefectClient, run: FlowRun, message: Callable[[FlowRun], str | None]) -> None:
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
