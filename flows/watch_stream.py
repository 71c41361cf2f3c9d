"""Watch a stream: connect or adopt it, let indexes and alerts be there and stay there, clean up at the end."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, cast
from uuid import UUID

import httpx
from prefect import Flow, flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import PrefectException
from prefect.runtime import flow_run as this_run
from pydantic import AwareDatetime, BeforeValidator, Field

from prefect_videodb._logging import get_logger
from prefect_videodb.blocks import AlertWebhook, RTStreamSource, VideoDBCredentials
from prefect_videodb.durable.on_time import OnTime, on_time
from prefect_videodb.durable.recovery import Recovery, recover_crashed
from prefect_videodb.errors import ConfigurationError
from prefect_videodb.recording.acts import planned_end, stop_at_end
from prefect_videodb.recording.inputs import (
    SourceName,
    can_be_loaded,
    label_of_source,
    load_credentials,
    load_source,
    load_webhook,
    no_inline_block,
    without_secrets,
)
from prefect_videodb.recording.lateness import Skipped, refuse_past_end, skip
from prefect_videodb.recording.memory import Memory, label, may_have_stream, remembered
from prefect_videodb.recording.models import Window
from prefect_videodb.recording.ownership import Custody, stop_streams_of, stopping, stream_name
from prefect_videodb.recording.parking import wait_until
from prefect_videodb.recording.servers import SERVER, server_of_run
from prefect_videodb.recording.showing import artifact_url, show_ended
from prefect_videodb.recording.text import clock, one_line
from prefect_videodb.recording.time_zones import showing_times_in, zone_of_run
from prefect_videodb.tasks import ensure_rtstream, get_rtstream, stop_rtstream
from prefect_videodb.tasks.streams import STOPPED
from prefect_videodb.watching.ending import Place, clearing, stop_watching, try_to_clear
from prefect_videodb.watching.keeping import look_after
from prefect_videodb.watching.life import KIND, WATCH, WATCH_STREAM, WATCHING
from prefect_videodb.watching.models import StreamWatch, Watch, WatchOptions
from prefect_videodb.watching.run import ARTIFACT, WatchRun
from prefect_videodb.watching.telling import markdown, publish
from prefect_videodb.watching.wanted import Wanted, index_name

_LONGEST_MESSAGE = 2000


def _run_name() -> str:
    given = this_run.parameters
    source = label_of_source(given.get("source"))
    return one_line(f"watch {given.get('name') or source or given.get('rtstream_id') or 'a stream'}")[:200]


def clear_what_is_left(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Stop what belongs to a run whose process is gone, or that failed before it looked after its stream."""
    credentials = flow_run.parameters.get("credentials", "default")
    if not can_be_loaded(credentials):
        get_logger().info("%s %s: its own process stops its stream", flow.name, state.name)
        return
    if state.is_failed() and not may_have_stream(flow_run):  # after a crash or a cancellation it is looked for anyway
        return
    account = load_credentials(credentials)
    stop_streams_of(account, str(flow_run.id))
    if rtstream_id := _stream_of(flow_run):
        try_to_clear(account, rtstream_id, str(flow_run.id))
    with get_client(sync_client=True) as prefect:
        show_ended(prefect, flow_run, f"the run is {state.name}", [])


def _stream_of(flow_run: FlowRun) -> str | None:
    if adopted := flow_run.parameters.get("rtstream_id"):
        return str(adopted)
    try:
        with get_client(sync_client=True) as client:
            flow_run = client.read_flow_run(flow_run.id)  # what a hook is given is older than the labels
    except (PrefectException, httpx.HTTPError) as error:
        get_logger().warning("Prefect could not be asked for the run's stream: %s", error)
    return remembered(flow_run).get("rtstream_id")


def go_on_or_clear(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Reschedule a run whose process died, or stop what belongs to it when it may not go on."""
    if recover_crashed(flow_run.id) is Recovery.GIVEN_UP:
        clear_what_is_left(flow, flow_run, state)


@without_secrets
@on_time(OnTime(ends_at=planned_end, at_end=stop_at_end))
@flow(
    name=WATCH_STREAM,
    persist_result=True,  # whoever started the run gets the result, not only whoever looks at the UI
    flow_run_name=_run_name,
    on_failure=[clear_what_is_left],
    on_crashed=[go_on_or_clear],
    on_cancellation=[clear_what_is_left],
)
def watch_stream(
    watches: Annotated[list[Watch], Field(min_length=1, max_length=50)],
    source: Annotated[RTStreamSource | SourceName | None, BeforeValidator(no_inline_block)] = None,
    rtstream_id: Annotated[str | None, Field(min_length=1, max_length=200)] = None,
    webhook: Annotated[AlertWebhook | str, BeforeValidator(no_inline_block)] = "default",
    credentials: Annotated[VideoDBCredentials | str, BeforeValidator(no_inline_block)] = "default",
    end_time: AwareDatetime | None = None,
    look_every_minutes: Annotated[float, Field(gt=0, le=24 * 60)] = 5.0,
    name: Annotated[str | None, Field(max_length=200)] = None,
    options: WatchOptions = WatchOptions(),  # noqa: B008 - the form shows it, and nothing changes it
) -> StreamWatch:
    """Watch a live stream, and have each alert start its follow-up.

    Connects the source, or adopts a stream that is there. Makes sure that live index, event and alert of each watch
    exist exactly once, and looks now and then whether they still run: what stopped is started again, and told. It
    goes on until the end time, or until the run is cancelled. However it ends, what it made is stopped; a stream that
    it adopted is left running.

    Args:
        watches: What to watch for, and which route of the webhook its alerts take.
        source: What to connect: an RTStreamSource block, its name, or a URL without a password or stream key.
        rtstream_id: A stream to adopt instead, rts-…: it is neither started nor stopped. When it is stopped, the watch
            is over.
        webhook: Where alerts come in: an AlertWebhook block, or its name.
        credentials: The VideoDB account: a VideoDBCredentials block, or its name.
        end_time: When to end, with its time zone; never when left empty. A run of a deployment that begins after it
            ends as `Skipped`, with no result.
        look_every_minutes: How often to look whether everything still runs.
        name: What the watch is called; the source's or stream's name when left empty.
        options: What may be different from one watch to the next; the defaults suit a camera that is always on.

    Returns:
        What was watched, from when to when, and what was amiss meanwhile.

    Raises:
        ConfigurationError: a parameter cannot be used; the message says what to give.
        SourceError: the source could not be ingested when the watch began.
        VideoDBError: the service refused or failed when the watch began; later that is told, and tried again.
    """
    if (source is None) == (rtstream_id is None):
        raise ConfigurationError("give either a source to connect, or the rtstream_id of a stream to adopt")
    run_id = str(this_run.get_id())
    alerts = load_webhook(webhook)
    with Memory.of(run_id) as memory, showing_times_in(zone_of_run(memory, end_time)):
        known = memory.recall("rtstream_id")
        account = load_credentials(credentials, known)
        # Once it is connected, nothing more is needed of the source: its block may be deleted.
        found = None if source is None or known else load_source(source)
        server = server_of_run(memory, has_begun=memory.recall("watch_start") is not None)
        wanted = [
            Wanted(watch, index_name(watch, run_id, server), alerts.callback_url(watch.route, UUID(run_id)))
            for watch in watches
        ]
        every = timedelta(minutes=look_every_minutes)
        run = WatchRun(run_id, server, account, found, alerts, wanted, every, options, memory)
        try:
            return _watch(run, name, rtstream_id, end_time)
        except Skipped as reason:
            title = name or (found.name if found else "a stream")
            return cast("StreamWatch", skip(memory, "watch", title, reason))  # Prefect takes the state


def _watch(run: WatchRun, name: str | None, rtstream_id: str | None, end_time: datetime | None) -> StreamWatch:
    with clearing(run.account, run.id) as place, stopping(run.account, run.id) as custody:
        watch = _begin(run, name, rtstream_id, end_time, custody, place)
        watch.ended_by = _keep_watching(run, watch)
        watch.end = datetime.now(UTC)
        stop_watching(run.account, watch.rtstream_id, run.id)
        place.is_cleared = True
        if not watch.adopted:
            stop_rtstream(run.account, watch.rtstream_id)
            # A `connect` that was thought lost may have made another stream since.
            stop_streams_of(run.account, run.id)
        custody.is_stopped = True
    publish(markdown(watch, is_over=True, until=""), watch.name)
    return watch


def _begin(
    run: WatchRun,
    name: str | None,
    rtstream_id: str | None,
    end_time: datetime | None,
    custody: Custody,
    place: Place,
) -> StreamWatch:
    """Connect or adopt, or find what an earlier execution of this run did."""
    start = run.moment("watch_start")
    if start is None:
        start = datetime.now(UTC)
        if end_time:
            refuse_past_end(run.memory, start, end_time)
        if rtstream_id and get_rtstream(run.account, rtstream_id).status == STOPPED:
            raise ConfigurationError(f"stream {rtstream_id} is stopped: start it, or give the source to connect")
        _write_down(run, start, end_time)
    title = one_line(name or (run.source.name if run.source else "") or run.memory.recall("stream_name") or "")
    if rtstream_id is None:
        custody.may_run = True
        title = title or "a stream"
        if known := run.memory.recall("rtstream_id"):
            custody.was_seen = True
            place.rtstream_id = known
        elif run.source:
            called = stream_name(title, run.id, run.server)
            stream = ensure_rtstream(run.account, run.source, called, run.options.collection_id)
            custody.was_seen = True
            place.rtstream_id = stream.id
            run.memory.remember(rtstream_id=stream.id, stream_name=title)
    else:
        place.rtstream_id = rtstream_id
        if not title:
            title = one_line(get_rtstream(run.account, rtstream_id).name or "") or "a stream"
            run.memory.remember(stream_name=title)
    return StreamWatch(
        name=title,
        rtstream_id=str(place.rtstream_id),
        adopted=rtstream_id is not None,
        start=start,
        end=start,
        ended_by="end time",
        watches=[one.watch for one in run.wanted],
        troubles=run.troubles,
    )


def _write_down(run: WatchRun, start: datetime, end_time: datetime | None) -> None:
    """Say that this run is a watch, before anything is billed: a recording's stream is stopped after a day.

    Raises:
        httpx.HTTPError, PrefectException: Prefect is away, so nothing can be watched yet.
    """
    labels = label(**{KIND: WATCH, SERVER: run.server or "", "watch_start": start.isoformat()})
    run.memory.prefect.update_flow_run_labels(UUID(run.id), labels)
    if end_time:
        run.memory.remember_window(Window(start=start, end=end_time.astimezone(UTC)))


def _keep_watching(run: WatchRun, watch: StreamWatch) -> Literal["end time", "stream stopped"]:
    """Look, and look again, until the end; tell which it was. Parks between the looks where it can."""
    while True:
        end = run.planned_end()
        if end and end <= datetime.now(UTC):
            return "end time"
        run.promise()
        if not look_after(run, watch):
            return "stream stopped"
        next_look = datetime.now(UTC) + run.every
        _wait(run, watch, min(next_look, end) if end else next_look)
        run.memory.refresh()


def _wait(run: WatchRun, watch: StreamWatch, until: datetime) -> None:
    """Leave this execution until the next look, where a worker begins another; else wait here."""
    message = f"Watching {watch.name}, next look at {clock(until)}"
    message = ". ".join([message, *_about(run), *watch.amiss])[:_LONGEST_MESSAGE]
    wait_until(until, run.memory, run.id, message, WATCHING, hold_process=run.options.hold_process)


def _about(run: WatchRun) -> Iterator[str]:
    """Return what else the state of a run that waits tells: its end, and its artifact, for which the UI has no tab."""
    end = run.planned_end()
    yield f"Ends at {clock(end)}" if end else "Ends when the run is cancelled"
    if artifact_id := run.memory.recall(ARTIFACT):
        yield f"Artifact: {artifact_url(artifact_id) or artifact_id}"
