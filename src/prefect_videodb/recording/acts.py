"""What a recording, and a watch, must do at its second: connect when it is due, stop at its planned end."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun

from prefect_videodb._logging import get_logger
from prefect_videodb.blocks import VideoDBCredentials
from prefect_videodb.client import streams
from prefect_videodb.durable.on_time import Act, snapshot
from prefect_videodb.errors import AnswerLost, ServiceUnavailable, UnexpectedAnswer, VideoDBError
from prefect_videodb.recording.inputs import Plan, load_archive, load_credentials, load_source
from prefect_videodb.recording.lateness import (
    COUNTS_FROM,
    Due,
    as_text,
    begins_as_expected,
    counts_from_now,
    decide,
    due_of,
)
from prefect_videodb.recording.memory import label, label_window, planned_window, remembered
from prefect_videodb.recording.models import RecordingOptions
from prefect_videodb.recording.ownership import stream_name
from prefect_videodb.recording.servers import SERVER, this_server
from prefect_videodb.recording.showing import TITLE
from prefect_videodb.recording.text import as_moment
from prefect_videodb.tasks.streams import CONNECTED, connect_call, stop

# A service that is silent must not use up the threads that others need in the same second.
_ANSWER_WITHIN_S = 10.0
# What is later, the flow decides.
_LATE = timedelta(minutes=1)
# As long as `ensure_rtstream` looks for what a lost request may have made.
_SETTLE_S = 10.0
# After these, the service may have acted.
_UNSURE = (AnswerLost, ServiceUnavailable, UnexpectedAnswer)


def connect_at_start(flow: Flow[..., Any], run: FlowRun, due: datetime) -> Act | None:
    """Prepare the connect of a recording's stream; None where the flow is to do it.

    Args:
        flow: of the run.
        run: it has been claimed.
        due: when it is due.

    Raises:
        Exception: it cannot be prepared; the flow reports why.
    """
    now = datetime.now(UTC)
    known = remembered(run)
    asked_at = as_moment(known.get("asked_at"))
    if "rtstream_id" in known or (asked_at and asked_at <= now) or now - due > _LATE:
        return None  # it may have a stream, or may be too late
    given = flow.validate_parameters(run.parameters)
    account, source = load_credentials(given.get("credentials", "default")), load_source(given["source"])
    options = given.get("options") or RecordingOptions()
    plan = Plan.of(given.get("name") or source.name, given.get("duration_minutes"), given.get("end_time"))
    appointed = Due(due, by_hand=begins_as_expected(run, due) and due_of(run).by_hand)
    decide(appointed, max(due, now), plan, options.when_late)
    counts_from = None if counts_from_now(appointed, max(due, now), options.when_late) else due
    window = plan.window(counts_from or max(due, now))
    if not source.store or not account.has_key():
        return None
    if options.archive:
        load_archive(options.archive)
    server = known.get(SERVER)
    if server is None:
        with get_client(sync_client=True) as prefect:
            server = this_server(prefect) or ""
    name = stream_name(plan.title, str(run.id), server or None)
    call = connect_call(source, name, options.collection_id)

    def send() -> Mapping[str, str]:
        client = _hasty(account).get_client()
        try:
            if options.most_streams:
                connected = client.send(streams.list_page(limit=1, status=CONNECTED)).count or 0
                if connected >= options.most_streams:
                    return {}  # the flow waits for room
            stream = client.send(call)
        except _UNSURE:
            raise
        except VideoDBError as error:
            get_logger().warning("Run %s could not connect at its time, its flow tries: %s", run.id, error)
            return label(asked_at="")  # so it has no stream
        return label(rtstream_id=stream.id) | label_window(window)

    labels = label(
        **{SERVER: server, TITLE: plan.title, COUNTS_FROM: as_text(counts_from), "asked_at": due.isoformat()}
    )
    return Act(at=due, send=send, labels=labels, blocks=snapshot(source, account), settle_s=_SETTLE_S)


def planned_end(run: FlowRun) -> datetime | None:
    """Return when the stream that a run has connected must be stopped; None where it has none, or no end."""
    known = remembered(run)
    window = planned_window(known)
    return window.end if window and "rtstream_id" in known else None


def stop_at_end(flow: Flow[..., Any], run: FlowRun) -> Act | None:
    """Prepare the stop of a run's stream at its planned end; None where there is nothing to stop.

    Raises:
        Exception: it cannot be prepared; the flow reports why.
    """
    del flow
    end, rtstream_id = planned_end(run), remembered(run).get("rtstream_id")
    if end is None or rtstream_id is None:
        return None
    account = load_credentials(run.parameters.get("credentials", "default"))

    def send() -> Mapping[str, str]:
        stop(_hasty(account).get_client(), rtstream_id)
        return label(stopped_at=datetime.now(UTC).isoformat())

    return Act(at=end, send=send)


def _hasty(account: VideoDBCredentials) -> VideoDBCredentials:
    return account.model_copy(update={"timeout_s": min(account.timeout_s, _ANSWER_WITHIN_S)})
