"""Stop what was left running, and look after recordings that wait without a process."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import httpx
from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.events import emit_event
from prefect.exceptions import PrefectException
from prefect.settings import PREFECT_UI_URL
from prefect.states import Crashed
from pydantic import BaseModel, BeforeValidator, Field

from prefect_videodb._logging import get_logger
from prefect_videodb.archiving.models import ARCHIVE_RECORDING
from prefect_videodb.blocks import VideoDBCredentials
from prefect_videodb.client import Client, streams
from prefect_videodb.errors import NotFound, VideoDBError
from prefect_videodb.following.models import FOLLOW_UP_ALERT
from prefect_videodb.recording.crashes import go_on, may_go_on
from prefect_videodb.recording.endings import is_exported_when_cancelled, request_export
from prefect_videodb.recording.inputs import load_credentials, no_inline_block
from prefect_videodb.recording.memory import label, planned_window, remembered
from prefect_videodb.recording.orphans import RECORD_MEETING, Finding, Verdict, findings, parked_runs
from prefect_videodb.recording.parking import schedule
from prefect_videodb.recording.silence import silent_runs
from prefect_videodb.recording.stream import ERROR
from prefect_videodb.recording.text import clock, escape, link
from prefect_videodb.tasks.streams import STOPPED, stop
from prefect_videodb.watching.ending import clear
from prefect_videodb.watching.leftovers import Leftover, leftovers
from prefect_videodb.watching.life import WATCH_STREAM, is_watch


class StreamReport(BaseModel):
    """A stream that a recording made and that was running, and what became of it."""

    rtstream_id: str
    name: str
    flow_run_id: str
    flow_run_name: str | None = None
    until: datetime | None = None
    minutes: float
    cost: float | None = None
    verdict: Verdict
    reason: str
    video_id: str | None = Field(default=None, description="What was recorded, where it was exported.")
    trouble: str | None = None


@flow(name="stop-orphaned-streams", retries=0)
def stop_orphaned_streams(
    credentials: Annotated[VideoDBCredentials | str, BeforeValidator(no_inline_block)] = "default",
    dry_run: bool = False,
    grace_minutes: Annotated[float, Field(ge=0, le=24 * 60)] = 10.0,
    cost_per_minute: Annotated[float | None, Field(ge=0)] = None,
    export: bool = True,
) -> list[StreamReport]:
    """Stop every stream that a recording made and that nobody looks after any more.

    Knows our streams by their name and asks Prefect for their runs. A stream is stopped when its run was deleted, has
    ended, crashed too often, is long past its end, or has been recording for a day. A run that crashed and may go on
    is scheduled again instead, as is one that nobody executes though it is said to run. A parked recording whose
    stream was stopped or lost is woken. Streams that no recording made are never touched; when Prefect cannot be asked,
    none is. A watch may go on for ever; one that is gone has its stream stopped, and the live indexes that it left on
    a stream that it had adopted.

    Args:
        credentials: The VideoDB account: a VideoDBCredentials block, or its name.
        dry_run: Look and report only; stop nothing, wake nothing.
        grace_minutes: How long after its planned end a recording may run.
        cost_per_minute: What a minute costs, to report what was spent so far; minutes only when left empty.
        export: Make a permanent video of what an orphaned stream recorded.

    Returns:
        What is recording, and what was stopped.

    Raises:
        VideoDBError: the service cannot be asked, or a stream could not be stopped.
    """
    account = load_credentials(credentials)
    now = datetime.now(UTC)
    with get_client(sync_client=True) as prefect, account.get_client() as client:
        if not dry_run:
            _revive(prefect, now)
        found = list(findings(client, prefect, now, timedelta(minutes=grace_minutes)))
        not_cleared: list[str] = []
        reports = [_report(finding, now, cost_per_minute) for finding in found]
        if not dry_run:
            for finding, report in zip(found, reports, strict=True):
                _look_after(client, prefect, finding, report, export=export)
            _wake(client, prefect)
            not_cleared = _clear_leftovers(client, prefect, now, timedelta(minutes=grace_minutes))
    create_markdown_artifact(
        _table(reports, dry_run=dry_run), key="videodb-recordings", description="What is recording"
    )
    troubles = [f"{report.rtstream_id}: {report.trouble}" for report in reports if report.trouble]
    if troubles := troubles + not_cleared:
        raise VideoDBError("not everything could be looked after: " + "; ".join(troubles))
    return reports


def _revive(prefect: SyncPrefectClient, now: datetime) -> None:
    """Schedule again what is said to be executed and is not: its worker was killed with it, so nobody noticed."""
    for run, reason in silent_runs(prefect, [RECORD_MEETING, WATCH_STREAM, FOLLOW_UP_ALERT, ARCHIVE_RECORDING], now):
        get_logger().warning("Run %s is executed by nobody: %s", run.name, reason)
        try:
            if may_go_on(run):
                go_on(prefect, run)
            else:  # then its stream is stopped below
                prefect.set_flow_run_state(run.id, Crashed(message=f"Executed by nobody: {reason}"), force=True)
        except (PrefectException, httpx.HTTPError, RuntimeError) as error:
            get_logger().error("Run %s could not be scheduled again: %s", run.name, error)


def _report(finding: Finding, now: datetime, cost_per_minute: float | None) -> StreamReport:
    minutes = round(finding.minutes(now), 1)
    return StreamReport(
        rtstream_id=finding.stream.id,
        name=finding.stream.name or "",
        flow_run_id=str(finding.run_id),
        flow_run_name=finding.run.name if finding.run else None,
        until=finding.window.end if finding.window else None,
        minutes=minutes,
        cost=None if cost_per_minute is None else round(minutes * cost_per_minute, 2),
        verdict=finding.verdict,
        reason=finding.reason,
    )


def _look_after(
    client: Client, prefect: SyncPrefectClient, finding: Finding, report: StreamReport, *, export: bool
) -> None:
    """Do what is to be done about one stream; trouble with it must not keep the others from being looked after."""
    try:
        if finding.verdict is Verdict.GO_ON and finding.run:
            go_on(prefect, finding.run)
        elif finding.verdict is Verdict.STOP:
            _tell(finding)
            stop(client, finding.stream.id)
            get_logger().warning("Stopped stream %s: %s", finding.stream.id, finding.reason)
            clear(client, finding.stream.id, str(finding.run_id))
            if export and _wants_export(finding.run):
                report.video_id = request_export(client, finding.stream.id)
    except (VideoDBError, PrefectException, httpx.HTTPError, RuntimeError) as error:
        get_logger().error("Stream %s could not be looked after: %s", finding.stream.id, error)
        report.trouble = f"{type(error).__name__}: {error}"


def _wants_export(run: FlowRun | None) -> bool:
    """Say whether what was recorded is to be kept: somebody who cancels may have said that it is not."""
    if run is None:
        return True
    if is_watch(remembered(run)):
        return False  # nobody wants the video of a camera's weeks
    cancelled = run.state is not None and (run.state.is_cancelled() or run.state.is_cancelling())
    return not cancelled or is_exported_when_cancelled(run)


def _tell(finding: Finding) -> None:
    """Emit an event that people can hang automations on."""
    emit_event(
        event="videodb.stream.orphaned",
        resource={
            "prefect.resource.id": f"videodb.rtstream.{finding.stream.id}",
            "prefect.resource.name": finding.stream.name or finding.stream.id,
        },
        related=[
            {"prefect.resource.id": f"prefect.flow-run.{finding.run_id}", "prefect.resource.role": "recording"},
        ],
        payload={"reason": finding.reason},
    )


def _clear_leftovers(client: Client, prefect: SyncPrefectClient, now: datetime, grace: timedelta) -> list[str]:
    """Stop the indexes that watches left on streams that are not theirs. Gives what could not be done."""
    troubles = []
    for leftover in leftovers(client, prefect, now, grace):
        try:
            _clear_leftover(client, prefect, leftover)
        except (VideoDBError, PrefectException, httpx.HTTPError, RuntimeError) as error:
            get_logger().error("The indexes left on stream %s could not be stopped: %s", leftover.rtstream_id, error)
            troubles.append(f"{leftover.rtstream_id}: {type(error).__name__}: {error}")
    return troubles


def _clear_leftover(client: Client, prefect: SyncPrefectClient, leftover: Leftover) -> None:
    if leftover.verdict is Verdict.GO_ON and leftover.run:
        go_on(prefect, leftover.run)
        return
    clear(client, leftover.rtstream_id, str(leftover.run_id))
    get_logger().warning(
        "Stopped the live indexes of run %s on stream %s: %s", leftover.run_id, leftover.rtstream_id, leftover.reason
    )


def _wake(client: Client, prefect: SyncPrefectClient) -> None:
    """Wake the parked recordings whose stream no longer records: stopped by somebody, or given up by the service."""
    now = datetime.now(UTC)
    for run in parked_runs(prefect):
        known = remembered(run)
        window = planned_window(known)
        if window is None or window.end <= now or "rtstream_id" not in known:
            continue
        try:
            status = client.send(streams.get(known["rtstream_id"])).status
        except NotFound:
            continue  # of another account
        if status == STOPPED:
            prefect.update_flow_run_labels(run.id, label(window_end=now.isoformat(), ended_early="yes"))
        elif status != ERROR:
            continue
        get_logger().warning("Recording %s goes on now: its stream is %s", run.name, status)
        schedule(prefect, run.id, now, f"Its stream is {status}")


def _table(reports: list[StreamReport], *, dry_run: bool) -> str:
    if not reports:
        return "Nothing is recording."
    rows = [_row(report, dry_run=dry_run) for report in reports]
    return "\n".join(["| stream | run | until | minutes | cost | |", "| --- | --- | --- | --- | --- | --- |", *rows])


def _row(report: StreamReport, *, dry_run: bool) -> str:
    until = clock(report.until) if report.until else ""
    cost = "" if report.cost is None else f"{report.cost:.2f}"
    done = _done(report, dry_run=dry_run)
    cells = [escape(report.name), _run_link(report), until, f"{report.minutes:.1f}", cost, done]
    return f"| {' | '.join(cells)} |"


def _run_link(report: StreamReport) -> str:
    name = report.flow_run_name or "deleted"
    base = PREFECT_UI_URL.value()
    return link(name, f"{base}/runs/flow-run/{report.flow_run_id}") if base and report.flow_run_name else escape(name)


def _done(report: StreamReport, *, dry_run: bool) -> str:
    if report.verdict is Verdict.RECORDING:
        return "recording" + (f" ({report.reason})" if report.reason else "")
    done = {Verdict.STOP: "stopped", Verdict.GO_ON: "scheduled again"}[report.verdict]
    text = f"{'would be ' if dry_run else ''}**{done}**: {report.reason}"
    if report.trouble:
        text = f"**not looked after**: {escape(report.trouble)}"
    return text + (f", video {report.video_id}" if report.video_id else "")
