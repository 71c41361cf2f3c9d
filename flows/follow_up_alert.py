"""Follow an alert up: wait for its clip, gather what there is about it, write it up, notify people."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from prefect import Flow, flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.runtime import flow_run as this_run
from pydantic import BeforeValidator, Field

from prefect_videodb._logging import get_logger
from prefect_videodb.blocks import VideoDBCredentials
from prefect_videodb.durable.recovery import Recovery, recover_crashed
from prefect_videodb.errors import InvalidRequest, NotFound, VideoDBError
from prefect_videodb.following.archive import archive_clip
from prefect_videodb.following.clip import clip_of
from prefect_videodb.following.models import AWAITING_CLIP, FOLLOW_UP_ALERT, FollowUp, FollowUpOptions, Line
from prefect_videodb.following.notifying import NotNotified, body, key, notify, subject
from prefect_videodb.following.report import publish
from prefect_videodb.recording.inputs import load_credentials, no_inline_block, without_secrets
from prefect_videodb.recording.memory import Memory
from prefect_videodb.recording.models import Links, Window
from prefect_videodb.recording.parking import wait_until
from prefect_videodb.recording.text import clock, one_line
from prefect_videodb.tasks import (
    download,
    generate_rtstream_stream,
    get_all_rtstream_scenes,
    get_rtstream_transcript,
    list_rtstream_scene_indexes,
)
from prefect_videodb.webhooks.alert import Alert, moment

_MOST_INDEXES = 10
_PAGE = 1000
_T = TypeVar("_T")


def _run_name() -> str:
    alert = this_run.parameters.get("alert")
    label = alert.label if isinstance(alert, Alert) else "an alert"
    return one_line(f"follow up {label}")[:200]


def go_on_after_a_crash(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Reschedule a run whose process died: an alert is not lost with it."""
    if recover_crashed(flow_run.id) is Recovery.GIVEN_UP:
        get_logger().error("%s %s and does not go on: its alert is not followed up", flow.name, state.name)


@without_secrets
@flow(name=FOLLOW_UP_ALERT, persist_result=True, flow_run_name=_run_name, on_crashed=[go_on_after_a_crash])
def follow_up_alert(
    alert: Alert,
    notification_blocks: Annotated[list[str], Field(max_length=20)] = [],  # noqa: B006 - the form shows it
    credentials: Annotated[VideoDBCredentials | str, BeforeValidator(no_inline_block)] = "default",
    options: FollowUpOptions = FollowUpOptions(),  # noqa: B008 - the form shows it, and nothing changes it
) -> FollowUp:
    """Follow an alert up.

    Waits until the clip can be complete, takes it with what came before and after, reads what was said and seen around
    it, writes it up as an artifact, and notifies people. What an alert lacks, or VideoDB does not give, is told in the
    report and does not keep people from being notified.

    Args:
        alert: What was told.
        notification_blocks: Prefect's notification blocks to tell it to, by type and name, as slack-webhook/alerts.
        credentials: The VideoDB account: a VideoDBCredentials block, or its name.
        options: What may be different from one follow-up to the next; the defaults suit most alerts.

    Returns:
        The facts, the clip, what was said and seen, and what is missing.

    Raises:
        NotNotified: the follow-up is done and written up, but a notification block did not take the notification, often
            as it was tried. Executed again, the run notifies only through the blocks that did not take it.
    """
    with Memory.of(str(this_run.get_id())) as memory:
        return _follow_up(alert, notification_blocks, credentials, options, memory)


def _follow_up(
    alert: Alert,
    notification_blocks: list[str],
    credentials: VideoDBCredentials | str,
    options: FollowUpOptions,
    memory: Memory,
) -> FollowUp:
    clip = clip_of(alert, options, datetime.now(UTC))
    if clip.ready_at:
        _wait(clip.ready_at, memory, hold_process=options.hold_process)
    follow_up = FollowUp(
        label=alert.label,
        explanation=alert.explanation,
        confidence=alert.confidence,
        told_at=alert.told_at,
        rtstream_id=alert.stream,
        window=clip.window,
        missing=list(clip.missing),
    )
    account = None
    try:
        account = load_credentials(credentials)
        _gather(follow_up, account, options)
    except VideoDBError as error:
        follow_up.missing.append(f"Not everything could be gathered: {error}")
    if not follow_up.clip.player_url:  # what the alert brought is better than nothing
        follow_up.clip = Links(stream_url=alert.stream_url, player_url=alert.player_url)
    failed = _notify(follow_up, notification_blocks, memory)
    if options.archive and account:  # people do not wait for it
        archive_clip(follow_up, account, options.archive)
    publish(follow_up, failed)
    if failed:
        raise NotNotified("; ".join(failed))
    return follow_up


def _wait(until: datetime, memory: Memory, *, hold_process: bool) -> None:
    """Wait until the clip can be complete: without a process, where a worker begins another and it is worth it."""
    message = f"The clip can be complete at {clock(until)}"
    wait_until(until, memory, str(this_run.get_id()), message, AWAITING_CLIP, hold_process=hold_process)


def _gather(follow_up: FollowUp, account: VideoDBCredentials, options: FollowUpOptions) -> None:
    """Add the clip, and what was said and seen in its window.

    Raises:
        VideoDBError: the service cannot be asked.
    """
    rtstream_id, window = follow_up.rtstream_id, follow_up.window
    if rtstream_id is None:
        follow_up.missing.append("The alert does not tell its stream, so there is no clip but its own.")
    if rtstream_id is None or window is None:
        return
    start, end = window.unix
    title = one_line(follow_up.label)[:200]
    playback = _given(lambda: generate_rtstream_stream(account, rtstream_id, start, end, player_title=title))
    if playback is None:
        follow_up.missing.append("VideoDB has nothing of the clip's window.")
    else:
        follow_up.clip = Links(stream_url=playback.stream_url, player_url=playback.player_url)
    if options.context:
        follow_up.said = _given(lambda: _said(account, rtstream_id, window)) or []
        follow_up.seen = _given(lambda: _seen(account, rtstream_id, window)) or []
    link = follow_up.clip.stream_url
    if options.make_file and link:
        follow_up.file_url = download(account, link, f"{title}.mp4").download_url


def _given(ask: Callable[[], _T]) -> _T | None:
    """Give what the service has; None where it says that there is none of it."""
    try:
        return ask()
    except (InvalidRequest, NotFound) as refusal:
        get_logger().info("There is none: %s", refusal)
        return None


def _said(account: VideoDBCredentials, rtstream_id: str, window: Window) -> list[Line]:
    start, end = window.unix
    page = get_rtstream_transcript(account, rtstream_id, page_size=_PAGE, start=start, end=end)
    return _lines([(record.start, record.text) for record in page.records])


def _seen(account: VideoDBCredentials, rtstream_id: str, window: Window) -> list[Line]:
    start, end = window.unix
    lines: list[Line] = []
    for index in list_rtstream_scene_indexes(account, rtstream_id)[:_MOST_INDEXES]:
        scenes = get_all_rtstream_scenes(account, rtstream_id, index.id, start=start, end=end)
        lines += _lines([(scene.start, scene.description) for scene in scenes])
    return sorted(lines, key=lambda line: line.at)


def _lines(told: list[tuple[float | None, str | None]]) -> list[Line]:
    found = [(moment(start), text) for start, text in told]
    return [Line(at=at, text=text) for at, text in found if at and text]


def _notify(follow_up: FollowUp, block_names: list[str], memory: Memory) -> list[str]:
    """Notify through each block once in the life of this run. Gives what went wrong, block by block."""
    failed: list[str] = []
    for name in dict.fromkeys(block_names):
        if memory.recall(key(name)) is None:
            state = notify(name, subject(follow_up), body(follow_up), return_state=True)
            if not state.is_completed():
                failed.append(f"{one_line(name)[:200]} was not notified: {state.message}")
                continue
            memory.remember(**{key(name): datetime.now(UTC).isoformat()})
        follow_up.notified.append(name)
    return failed
