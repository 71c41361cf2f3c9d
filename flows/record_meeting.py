"""Record a meeting: connect, record, stop, export, index the spoken words, search, compile a clip."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, cast

from prefect import Flow, flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.runtime import flow_run as this_run
from pydantic import AwareDatetime, BeforeValidator, Field

from prefect_videodb._clock import counting_down
from prefect_videodb._logging import get_logger
from prefect_videodb.blocks import RTStreamSource, VideoDBCredentials
from prefect_videodb.client.models import Export, RTStream, Video
from prefect_videodb.durable.on_time import OnTime, on_time
from prefect_videodb.durable.recovery import Recovery, recover_crashed, will_recover
from prefect_videodb.errors import ConfigurationError, NotFound, SourceError
from prefect_videodb.recording.acts import connect_at_start, planned_end, stop_at_end
from prefect_videodb.recording.archive import archive_videos
from prefect_videodb.recording.endings import Requested, is_exported_when_cancelled, links_of, request_export
from prefect_videodb.recording.inputs import (
    LONGEST,
    Plan,
    SourceName,
    can_be_loaded,
    label_of_source,
    load_archive,
    load_credentials,
    load_source,
    no_inline_block,
    without_secrets,
)
from prefect_videodb.recording.lateness import (
    COUNTS_FROM,
    Skipped,
    as_text,
    overrun_s,
    skip,
    tell_overrun,
    when_it_counts_from,
)
from prefect_videodb.recording.liveness import outage_text
from prefect_videodb.recording.memory import Memory, may_have_stream
from prefect_videodb.recording.models import MOST_HITS, Hit, Links, MeetingRecording, RecordingOptions, Window
from prefect_videodb.recording.orphans import RECORD_MEETING
from prefect_videodb.recording.ownership import (
    Custody,
    find_streams_of,
    stop_streams_of,
    stopping,
    stream_name,
    streams_of,
)
from prefect_videodb.recording.parking import is_worth_parking, park
from prefect_videodb.recording.parts import began_last, earlier_parts, gaps, remember_part
from prefect_videodb.recording.report import publish
from prefect_videodb.recording.servers import SERVER, server_of_run
from prefect_videodb.recording.shots import as_shots, clip_parts, hits, in_order_of_time
from prefect_videodb.recording.showing import SHOWN, TITLE, Status, show, show_ended, show_over
from prefect_videodb.recording.steps import Steps
from prefect_videodb.recording.stream import (
    SourceMonitor,
    Watch,
    export_recording,
    is_audio,
    live_links,
    make_sure_it_ingests,
    playback_links,
    wait_for_room,
)
from prefect_videodb.recording.text import as_moment, clock, one_line
from prefect_videodb.recording.time_zones import current_zone, name_of, showing_times_in, zone_of_run
from prefect_videodb.recording.waiting import Progress, until_its_end, wait_out
from prefect_videodb.tasks import (
    compile_clip,
    ensure_rtstream,
    get_rtstream,
    get_video,
    index_spoken_words,
    search_video,
    stop_rtstream,
)
from prefect_videodb.tasks.streams import ERROR, STOPPED, made_at
from prefect_videodb.tasks.videos import DONE

# A recording begins with a keyframe and ends with a whole segment: so much is lost of any.
_USUAL_LOSS_S = 5.0
# What a run remembers of what its steps took.
_STEPS = "steps"
# Before this step nobody has seen that the source can be ingested.
_INGEST = "ingest"
_JUST_NOW = timedelta(minutes=1)


def _run_name() -> str:
    given = this_run.parameters
    return one_line(f"record {given.get('name') or label_of_source(given.get('source')) or 'a meeting'}")[:200]


def stop_what_is_left(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Stop the stream of a run whose process is gone, or that failed before it looked after its stream.

    A run that was called with a block that was never saved has no readable credentials left in Prefect: only its own
    process can stop its stream, and does.
    """
    videos: list[Requested] = []
    try:
        videos = _stop_and_export(flow, flow_run, state)
    finally:  # whatever became of the stream, nothing shows any more that it is recorded
        with get_client(sync_client=True) as prefect:
            show_ended(prefect, flow_run, f"the run is {state.name}", videos)


def _stop_and_export(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> list[Requested]:
    credentials = flow_run.parameters.get("credentials", "default")
    if not can_be_loaded(credentials):
        get_logger().info("%s %s: its own process stops its stream", flow.name, state.name)
        return []
    if state.is_failed() and not may_have_stream(flow_run):  # after a crash or a cancellation it is looked for anyway
        return []
    account = load_credentials(credentials)
    stop_streams_of(account, str(flow_run.id))
    is_cancelled = state.is_cancelling() or state.is_cancelled()
    if state.is_failed() or (is_cancelled and not is_exported_when_cancelled(flow_run)):
        return []
    # Its own process may have stopped it, and come no further. What is exported already is not exported again.
    with account.get_client() as client:
        asked_for = [request_export(client, stream) for stream in find_streams_of(client, str(flow_run.id))]
    return [video for video in asked_for if video]


def go_on_or_stop(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Reschedule a run whose process died, or stop its stream when it may not go on."""
    if recover_crashed(flow_run.id) is Recovery.GIVEN_UP:
        stop_what_is_left(flow, flow_run, state)


@without_secrets
@on_time(OnTime(at_start=connect_at_start, ends_at=planned_end, at_end=stop_at_end))
@flow(
    name=RECORD_MEETING,
    persist_result=True,  # whoever started the run gets the result, not only whoever looks at the UI
    flow_run_name=_run_name,
    on_failure=[stop_what_is_left],
    on_crashed=[go_on_or_stop],
    on_cancellation=[stop_what_is_left],
)
def record_meeting(
    source: Annotated[RTStreamSource | SourceName, BeforeValidator(no_inline_block)],
    credentials: Annotated[VideoDBCredentials | str, BeforeValidator(no_inline_block)] = "default",
    duration_minutes: Annotated[float | None, Field(gt=0, le=LONGEST / timedelta(minutes=1))] = None,
    end_time: AwareDatetime | None = None,
    name: Annotated[str | None, Field(max_length=200)] = None,
    queries: list[str] = ["action items and next steps"],  # noqa: B006 - the form shows it, and nothing changes it
    options: RecordingOptions = RecordingOptions(),  # noqa: B008 - the same
) -> MeetingRecording:
    """Record a meeting and find what matters in it.

    Connects the source, records until the end, stops, exports a permanent video, copies it into an archive where one is
    named, indexes the spoken words, searches them and compiles the hits into a clip. However it ends, the stream is
    stopped. A second execution of the same run finds what the first one did and goes on from there. Finding nothing,
    and hearing nothing, are results.

    Args:
        source: What to record: an RTStreamSource block, its name, or a URL without a password or stream key.
        credentials: The VideoDB account: a VideoDBCredentials block, or its name.
        duration_minutes: How long to record, counted from when the run is due, and for one that is started by hand from
            when its source is ingested. 60 when no end is given either.
        end_time: When to stop, with its time zone; counts more than a duration.
        name: What the recording is called; the source's name when left empty.
        queries: What to look for in what is said. The hits make the clip.
        options: What may be different from one recording to the next; the defaults suit a meeting.

    Returns:
        Ids, links, the window, the hits and the clip. A run of a deployment that begins too late ends as `Skipped`,
        with no result.

    Raises:
        ConfigurationError: a parameter cannot be used; the message says what to give.
        SourceError: the source could not be ingested, or delivered nothing.
        VideoDBError: the service refused or failed; see `prefect_videodb.errors`.
    """
    run_id = str(this_run.get_id())
    with Memory.of(run_id) as memory, showing_times_in(zone_of_run(memory, end_time)):
        account = load_credentials(credentials, memory.recall("rtstream_id"))
        known = memory.recall(TITLE) if memory.recall("rtstream_id") else None
        if not known:  # once it is connected, nothing more is needed of the source: its block may be deleted
            source = load_source(source)
        run = _Run(run_id, account, source, options, Steps.from_text(memory.recall(_STEPS)), memory)
        plan = Plan.of(known or name or run.source.name, duration_minutes, end_time)
        try:
            with stopping(account, run_id, goes_on=lambda: will_recover(memory.read_run)) as custody:
                rtstream_id = _connect(run, plan, custody)
                window = _record(run, plan, rtstream_id)
                _stop(run, rtstream_id)
                custody.is_stopped = True
        except Skipped as reason:
            return cast("MeetingRecording", skip(memory, "recording", plan.title, reason))  # Prefect takes the state
        return _harvest(run, plan, rtstream_id, window, queries)


@dataclass(frozen=True, slots=True)
class _Run:
    """One execution of the flow: for whom, of what, and what it remembers."""

    id: str
    account: VideoDBCredentials
    given_source: RTStreamSource | str
    options: RecordingOptions
    steps: Steps
    memory: Memory

    @property
    def source(self) -> RTStreamSource:
        """The source, for who connects it.

        Raises:
            ConfigurationError: there is no such block.
        """
        return load_source(self.given_source)

    def remember_window(self, window: Window) -> None:
        """Write down the planned window, and what was spent until now."""
        self.memory.note(**{_STEPS: self.steps.as_text()})
        self.memory.remember_window(window)

    def planned_end(self) -> datetime:
        """Give the end of the window, which somebody may have moved."""
        self.memory.refresh()
        window = self.memory.recall_window()
        return window.end if window else datetime.now(UTC)

    def recorded_part(self, window: Window) -> Window:
        """Return the part of the window that is being recorded: all of it, or from when the source came (again)."""
        return Window(start=began_last(self.memory) or window.start, end=window.end)

    @property
    def job_timeout_s(self) -> float:
        return self.options.job_timeout_minutes * 60

    @property
    def parks(self) -> bool:
        return self.memory.is_of_deployment and not self.options.hold_process


def _connect(run: _Run, plan: Plan, custody: Custody) -> str:
    """Connect, or find what an earlier execution of this run connected. Gives the stream's id."""
    if known := run.memory.recall("rtstream_id"):
        custody.may_run = custody.was_seen = True
        _keep_window(run, plan, as_moment(run.memory.recall("asked_at")))
        return known
    made = _made_earlier(run)
    custody.may_run = made is not None
    if made is None:
        _prepare(run, plan)
    with run.steps.step("connect"):
        if made:
            _keep_window(run, plan, as_moment(run.memory.recall("asked_at") or made.created_at) or datetime.now(UTC))
        custody.may_run = True
        # Whatever the meeting was called when it was made: somebody may have renamed the source since.
        name = made.name if made and made.name else stream_name(plan.title, run.id, run.memory.recall(SERVER))
        stream = ensure_rtstream(run.account, run.source, name, run.options.collection_id)
        custody.was_seen = True
    run.memory.remember(rtstream_id=stream.id)
    return stream.id


def _prepare(run: _Run, plan: Plan) -> None:
    """Refuse what cannot be recorded, write down that a stream is asked for, and wait until there is room."""
    now = datetime.now(UTC)
    # A meeting that is over is refused, or skipped, before anything is billed.
    counts_from = when_it_counts_from(run.memory, now, plan, run.options.when_late)
    source = run.source
    if not source.store:  # so is one of which nothing would be left
        raise ConfigurationError(
            f"the RTStreamSource block of {source.name!r} has *Store* switched off: there would be nothing to "
            "export after the meeting. Switch it on"
        )
    if run.options.archive:
        load_archive(run.options.archive)  # so is an archive that is not there
    server = server_of_run(run.memory, has_begun=run.memory.recall("asked_at") is not None)
    known = {SERVER: server or "", TITLE: plan.title, COUNTS_FROM: as_text(counts_from)}
    run.memory.remember(**known, asked_at=now.isoformat())
    if run.options.most_streams:
        wait_for_room(run.account, run.options.most_streams, run.options.start_timeout_s)
        now = datetime.now(UTC)
        counts_from = when_it_counts_from(run.memory, now, plan, run.options.when_late)
        run.memory.remember(**{COUNTS_FROM: as_text(counts_from)}, asked_at=now.isoformat())


def _keep_window(run: _Run, plan: Plan, began: datetime | None) -> None:
    """Plan the window of a stream whose execution was killed after it connected and before it wrote the window down."""
    if began and run.memory.recall_window() is None:
        _plan_window(run, plan, began)


def _plan_window(run: _Run, plan: Plan, began: datetime) -> Window:
    """Plan the window of a recording that began then, and write it down."""
    window = plan.window(as_moment(run.memory.recall(COUNTS_FROM)) or began)
    if (began - window.start).total_seconds() > _USUAL_LOSS_S:
        get_logger().warning("Recording %s begins late: it was due at %s", plan.title, clock(window.start))
        run.memory.note(part_began=began.isoformat())
    run.remember_window(window)
    return window


def _made_earlier(run: _Run) -> RTStream | None:
    """Give the stream of an earlier execution that was killed right after it connected; None when there is none.

    Where Prefect knows nothing of it, because it was away or its database was restored, the service does.
    """
    made = streams_of(run.account, run.id)
    return min(made, key=made_at, default=None)


def _record(run: _Run, plan: Plan, rtstream_id: str) -> Window:
    """Record until the planned end, or until somebody stops the stream. Gives the window that was recorded."""
    window = run.memory.recall_window()
    while window is None or window.end > datetime.now(UTC):
        if window is None or _is_beginning(run, window):
            window = _begin_to_record(run, plan, rtstream_id, window)
        elif not _goes_on_recording(run, plan.title, rtstream_id, window):
            break
        get_logger().info("Recording %s until %s", plan.title, clock(window.end))
        status = _wait_out(run, window, plan.title, rtstream_id)
        window = run.memory.recall_window() or window
        if status == STOPPED:
            window = Window(start=window.start, end=datetime.now(UTC))
            run.memory.remember(ended_early="yes")
            run.remember_window(window)
    run.steps.spent_s["record"] = round((window.end - window.start).total_seconds(), 3)  # over all executions
    return window


def _is_beginning(run: _Run, window: Window) -> bool:
    """Whether nobody has seen yet that the source is ingested: the stream was connected just now, whoever did it.

    One that was connected earlier may have recorded something: that is kept before it is started again.
    """
    return _INGEST not in run.steps.spent_s and datetime.now(UTC) - window.start < _JUST_NOW


def _begin_to_record(run: _Run, plan: Plan, rtstream_id: str, window: Window | None) -> Window:
    """Make sure that the source is ingested, and return the window, which was planned when it was connected, or is now.

    Raises:
        SourceError: the source cannot be ingested.
    """
    began = datetime.now(UTC)
    with run.steps.step(_INGEST):
        make_sure_it_ingests(run.account, rtstream_id, counting_down(_longest_start_s(run, plan, window)))
    now = datetime.now(UTC)
    if window is None:
        return _plan_window(run, plan, now)
    if (now - began).total_seconds() > _USUAL_LOSS_S:
        run.memory.note(part_began=now.isoformat())
    window = run.memory.recall_window() or window
    run.remember_window(window)
    return window


def _longest_start_s(run: _Run, plan: Plan, window: Window | None) -> float:
    """Return for how long a source that cannot be ingested yet is tried, in seconds."""
    counts_from = as_moment(run.memory.recall(COUNTS_FROM))
    planned = window or (plan.window(counts_from) if counts_from else None)
    if planned is None:
        return run.options.start_timeout_s
    return min(run.options.start_timeout_s, (planned.end - datetime.now(UTC)).total_seconds())


def _wait_out(run: _Run, window: Window, title: str, rtstream_id: str) -> str | None:
    """Wait for the end: parked in Prefect where that can be. Gives the stream's status when that cut the wait short."""
    progress = None if run.memory.recall(SHOWN) else Progress(window, title)

    def can_park(window: Window) -> bool:
        return run.parks and is_worth_parking(window.end)

    def park_where_that_can_be(window: Window) -> None:
        if can_park(window):
            park(run.memory, run.id, window, Status.of_this_run(run.memory, title, window).message())

    def show_outage() -> None:
        if progress:
            progress.trouble = outage_text(run.memory.known)

    source = SourceMonitor(run.memory, title, show_outage)
    if can_park(window):
        # Nobody looks at a parked recording for minutes: so first it is seen that something arrives.
        found = source.wait_for_first_sign(run.account, rtstream_id, run.recorded_part(window))
        if found.status in {STOPPED, ERROR}:
            return found.status
        run.memory.refresh()  # somebody may have moved the end meanwhile
        window = run.memory.recall_window() or window
    if can_park(window):
        _show(run, window, title, rtstream_id)
        park_where_that_can_be(window)
    show_outage()
    watch = Watch(run.account, rtstream_id, source, run.recorded_part(window).start)
    with run.steps.step("record", since=window.start):
        wait_out(window, watch.is_lost, run.planned_end, park_where_that_can_be, progress)
    return watch.lost_as


def _show(run: _Run, window: Window, title: str, rtstream_id: str) -> None:
    """Show what is recorded while the run waits, with a link to the live picture where there is one."""
    run.memory.note(**{_STEPS: run.steps.as_text()})
    with run.account.get_client() as client:
        live = live_links(client, rtstream_id, window, title)
    show(run.memory, window, title, live)


def _goes_on_recording(run: _Run, title: str, rtstream_id: str, window: Window) -> bool:
    """Make sure in the middle of a recording that it goes on, and say whether it does.

    What was recorded before the stream was stopped or lost is kept: a stream that is started again begins another
    recording. A source that does not come back until the end ends the recording: what there is is exported.
    """
    status = get_rtstream(run.account, rtstream_id).status
    if run.planned_end() <= datetime.now(UTC):
        return False  # meanwhile: somebody may have stopped it at its end
    if status in {STOPPED, ERROR}:
        _keep_what_was_recorded(run, title, rtstream_id)
    try:
        with run.steps.step(_INGEST):
            make_sure_it_ingests(run.account, rtstream_id, until_its_end(window, run.planned_end))
    except SourceError as lost:
        get_logger().warning("The source did not come back: %s", lost)
        return False
    if status in {STOPPED, ERROR}:
        run.memory.remember(part_began=datetime.now(UTC).isoformat())
    return True


def _keep_what_was_recorded(run: _Run, title: str, rtstream_id: str) -> None:
    try:
        part = export_recording(run.account, rtstream_id, f"{title} (earlier part)", run.job_timeout_s)
    except SourceError as nothing:
        get_logger().info("There is no earlier part to keep: %s", nothing)
        return
    length_s, url = part.duration, None
    if is_audio(part.video_id):
        url = part.stream_url
    elif length_s is None and (video := _video(run, part.video_id)):
        length_s = video.length
    remember_part(run.memory, part.video_id, length_s, url)


def _video(run: _Run, video_id: str) -> Video | None:
    """Read a video that was exported; None where the service has no video of that id: then it is sound alone."""
    try:
        return get_video(run.account, video_id, run.options.collection_id)
    except NotFound as missing:
        get_logger().warning("What was exported is taken for sound alone: %s", missing)
        return None


def _stop(run: _Run, rtstream_id: str) -> None:
    with run.steps.step("stop"):
        stop_rtstream(run.account, rtstream_id)
        # A `connect` that was thought lost may have made another stream since.
        stop_streams_of(run.account, run.id)


def _harvest(run: _Run, plan: Plan, rtstream_id: str, window: Window, queries: list[str]) -> MeetingRecording:
    """Make of the stopped stream what the recording leaves behind."""
    recording = _export(run, plan.title, rtstream_id, window)
    recording.ended_early = run.memory.recall("ended_early") is not None
    tell_overrun(run.memory, recording)
    if run.options.archive:
        with run.steps.step("archive"):
            urls = {part.video_id: part.stream_url for part in earlier_parts(run.memory) if part.stream_url}
            if recording.media == "audio" and recording.video.stream_url:
                urls[recording.video_id] = recording.video.stream_url
            archive_videos(run.account, run.options, recording, urls)
    try:
        if recording.media == "video":  # there is no spoken-word index of a recording that is only sound
            _search(run, recording, [query for query in map(one_line, queries) if query])
    finally:  # the video is there, whatever becomes of the search
        recording.steps_s = run.steps.spent_s
        publish(recording)
        show_over(run.memory.prefect, run.memory.run.id, recording)
    return recording


def _export(run: _Run, title: str, rtstream_id: str, window: Window) -> MeetingRecording:
    with run.steps.step("playback link"):
        playback = playback_links(run.account, rtstream_id, window, title)
    with run.steps.step("export"):
        if known := run.memory.recall("video_id"):
            export = Export(video_id=known)
        else:
            export = export_recording(run.account, rtstream_id, title, run.job_timeout_s)
    # What was recorded decides, whatever was asked for. Of sound alone, only the export itself tells the links.
    video = None if is_audio(export.video_id) else _video(run, export.video_id)
    if video and not known:
        run.memory.remember(video_id=export.video_id)
    recording = MeetingRecording(
        name=title,
        rtstream_id=rtstream_id,
        video_id=export.video_id,
        media="video" if video else "audio",
        window=window,
        time_zone=name_of(current_zone()),
        playback=playback,
        video=links_of(export),
        video_length_s=export.duration,
    )
    if video:
        # A repeated export may lack links and length; the video itself has them.
        recording.video = Links(stream_url=video.stream_url, player_url=video.player_url)
        recording.video_length_s = video.length
    recorded = run.recorded_part(window)
    recording.overrun_s = overrun_s(recorded.start, recording.video_length_s, recorded.end)
    lacking_s = (window.end - window.start).total_seconds() - (recording.video_length_s or math.inf)
    lacking_s += recording.overrun_s
    recording.missing_s = round(lacking_s, 1) if lacking_s > _USUAL_LOSS_S else 0.0
    earlier = [part for part in earlier_parts(run.memory) if part.video_id != recording.video_id]
    recording.earlier_video_ids = [part.video_id for part in earlier]
    recording.missing = gaps(earlier, began_last(run.memory), window.start)
    return recording


def _search(run: _Run, recording: MeetingRecording, queries: Sequence[str]) -> None:
    """Find the queries in what is said, and make a clip of what was found. Silence is a result, as is no hit."""
    options = run.options
    if not queries:
        return
    window_s: float | None = None
    if recording.overrun_s and recording.video_length_s:
        window_s = recording.video_length_s - recording.overrun_s
    with run.steps.step("index"):
        index = index_spoken_words(
            run.account, recording.video_id, language_code=options.language_code, timeout_s=run.job_timeout_s
        )
    if index.status != DONE:
        recording.spoken_words = "none"
        return
    recording.spoken_words = "indexed"
    with run.steps.step("search"):
        found: list[Hit] = []
        for query in dict.fromkeys(queries):
            result = search_video(
                run.account,
                recording.video_id,
                query,
                search_type=options.search_type,
                result_threshold=options.hits_per_query if window_s is None else MOST_HITS,
                score_threshold=options.score_threshold,
            )
            found += hits(query, result, window_s)[: options.hits_per_query]
    recording.hits = in_order_of_time(found)
    recording.clip_parts = clip_parts(
        recording.hits,
        pad_before_s=options.pad_before_s,
        pad_after_s=options.pad_after_s,
        video_length_s=recording.video_length_s if window_s is None else window_s,
    )
    if recording.clip_parts:
        with run.steps.step("clip"):
            recording.clip = _clip(run, recording)


def _clip(run: _Run, recording: MeetingRecording) -> Links:
    """Compile the clip, once in the life of this run."""
    parts = as_shots(recording.clip_parts, video_id=recording.video_id, collection_id=run.options.collection_id)
    of = "; ".join(f"{part.start}-{part.end}" for part in parts)
    if run.memory.recall("clip_of") == of and (player_url := run.memory.recall("clip_player_url")):
        return Links(stream_url=run.memory.recall("clip_stream_url"), player_url=player_url)
    clip = compile_clip(run.account, parts, run.options.collection_id, timeout_s=run.job_timeout_s)
    if clip.stream_url and clip.player_url:
        run.memory.remember(clip_of=of, clip_stream_url=clip.stream_url, clip_player_url=clip.player_url)
    return Links(stream_url=clip.stream_url, player_url=clip.player_url)
