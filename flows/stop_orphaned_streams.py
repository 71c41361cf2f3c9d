"""Stop what was left running, and look after recordings that wait without a process."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, cast
from uuid import UUID

import httpx
from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.events import emit_event
from prefect.exceptions import PrefectException
from prefect.runtime import flow_run as this_run
from prefect.states import Completed
from pydantic import BeforeValidator, Field

from prefect_videodb._logging import get_logger
from prefect_videodb.blocks import VideoDBCredentials
from prefect_videodb.client import Client, streams
from prefect_videodb.client.models import RTStream
from prefect_videodb.durable.recovery import (
    Death,
    StaleRun,
    read_unchanged,
    recover,
    recover_all,
    schedule_unchanged,
)
from prefect_videodb.errors import VideoDBError
from prefect_videodb.flows.recover_dead_runs import RECOVERED_FLOWS
from prefect_videodb.recording.abandoned import abandoned_runs, end_abandoned
from prefect_videodb.recording.accounts import Account, accounts
from prefect_videodb.recording.endings import is_exported_when_cancelled, request_export
from prefect_videodb.recording.inputs import no_inline_block, without_secrets
from prefect_videodb.recording.memory import label, planned_window, remembered
from prefect_videodb.recording.orphan_report import StreamReport, report, table
from prefect_videodb.recording.orphans import (
    DEPLOYMENT_DELETED,
    Finding,
    Verdict,
    findings,
    is_over,
    parked_runs,
)
from prefect_videodb.recording.ownership import is_elsewhere, owner
from prefect_videodb.recording.parked_sources import changed_sources, tell_parked
from prefect_videodb.recording.parking import LATE, PARKED, is_parked
from prefect_videodb.recording.repeats import INCOMPLETE, was_told_before
from prefect_videodb.recording.servers import this_server
from prefect_videodb.recording.showing import show_ended
from prefect_videodb.recording.text import clock, plain
from prefect_videodb.tasks.streams import ERROR, STOPPED, all_streams, stop
from prefect_videodb.watching.ending import clear
from prefect_videodb.watching.leftovers import Leftover, leftovers
from prefect_videodb.watching.life import is_watch

# What is executed again so soon finds out by itself how its stream is.
_SOON = timedelta(seconds=30)
_WHAT_TO_DO = (
    "Search, clip and report follow when one does: see that a worker runs, and that neither its work pool nor its "
    "queue is paused or deleted"
)
# Longer ones are made all the same; their runs tell that they are being made.
_WAIT_FOR_VIDEOS_S = 60.0
_TROUBLE = (VideoDBError, PrefectException, httpx.HTTPError, RuntimeError)


def _run_name() -> str:
    return f"look after streams at {clock(this_run.get_scheduled_start_time())}"


@without_secrets
@flow(name="stop-orphaned-streams", retries=0, flow_run_name=_run_name)
def stop_orphaned_streams(
    credentials: Annotated[VideoDBCredentials | str | None, BeforeValidator(no_inline_block)] = None,
    dry_run: bool = False,
    grace_minutes: Annotated[float, Field(ge=0, le=24 * 60)] = 10.0,
    cost_per_minute: Annotated[float | None, Field(ge=0)] = None,
    export: bool = True,
) -> list[StreamReport]:
    """Stop every stream that a recording made and that nobody looks after any more.

    Knows our streams by their name and asks Prefect for their runs. A stream is stopped when its run was deleted, has
    ended, crashed too often, is long past its end, or has been recording for a day. What waits for a worker though its
    deployment was deleted is ended, and exported, at its planned end. A run that crashed and may go on
    is scheduled again instead, whether it has a stream or not, as is one that nobody executes though it is said to run.
    A parked recording whose stream was stopped or lost is woken; one whose source delivers nothing is told, once, and
    told again when it delivers. Streams that no recording made are never touched, nor
    are those of another Prefect server; when Prefect cannot be asked, none is. A watch may go on for ever; one that is
    gone has its stream stopped, and the live indexes that it left on a stream that it had adopted.

    Args:
        credentials: The VideoDB account: a VideoDBCredentials block, or its name. All that are saved when left empty.
        dry_run: Look and report only; stop nothing, wake nothing.
        grace_minutes: How long after its planned end a recording may run.
        cost_per_minute: What a minute costs, to report what was spent so far; minutes only when left empty.
        export: Make a permanent video of what an orphaned stream recorded.

    Returns:
        What is recording, and what was stopped.

    Raises:
        VideoDBError: an account cannot be asked, or a stream could not be stopped; everything else is looked after.
            Later runs of the deployment that find the very same end `Incomplete`, with the same message.
    """
    with get_client(sync_client=True) as prefect:
        found, troubles = accounts(credentials, prefect)
        grace = timedelta(minutes=grace_minutes)
        look = _Look(prefect, this_server(prefect), grace, cost_per_minute, troubles, dry_run=dry_run, export=export)
        look.recover()
        look.find_abandoned()
        for account in found:
            look.look_after(account)
        if credentials is None:
            look.end_those_without_stream()
    create_markdown_artifact(
        table(look.reports, look.troubles, dry_run=dry_run), key="videodb-recordings", description="What is recording"
    )
    if troubles := [*(f"{one.rtstream_id}: {one.trouble}" for one in look.reports if one.trouble), *look.troubles]:
        told = "not everything could be looked after: " + "; ".join(troubles)
        if was_told_before(str(this_run.get_id()), told):
            # It failed once for this reason. To fail every five minutes would hide the next one that fails.
            incomplete: State[Any] = Completed(name=INCOMPLETE, message=told, data=look.reports)
            return cast("list[StreamReport]", incomplete)  # Prefect takes the state, and gives a caller its data
        raise VideoDBError(told)
    return look.reports


@dataclass(frozen=True, slots=True)
class _Look:
    """One look at all accounts, and what was found. Trouble with one thing keeps nothing else from its turn."""

    prefect: SyncPrefectClient
    server: str | None
    grace: timedelta
    cost_per_minute: float | None
    troubles: list[str]
    dry_run: bool
    export: bool
    reports: list[StreamReport] = field(default_factory=list)
    being_made: list[tuple[Finding, StreamReport]] = field(default_factory=list)
    """What was stopped and has no video yet."""
    abandoned: dict[UUID, FlowRun] = field(default_factory=dict)
    """The parked runs whose deployment was deleted, until they are ended here."""

    def find_abandoned(self) -> None:
        """Find the runs that no worker will execute again."""
        with self._whatever_happens("runs whose deployment was deleted"):
            self.abandoned.update({run.id: run for run in abandoned_runs(self.prefect)})

    def end_those_without_stream(self) -> None:
        """End the abandoned runs whose stream is on none of the accounts, once all of them were asked."""
        for run in [] if self.dry_run or self.troubles else list(self.abandoned.values()):
            if is_over(run, datetime.now(UTC)):
                with self._whatever_happens(f"run {run.name}"):
                    end_abandoned(self.prefect, run, None, has_stream=False)

    def recover(self) -> None:
        """Reschedule the runs that nobody executes."""
        if not self.dry_run:
            with self._whatever_happens("runs that nobody executes"):
                recover_all(self.prefect, RECOVERED_FLOWS)

    def look_after(self, account: Account) -> None:
        """Look after the streams of one account."""
        with self._whatever_happens(f"account {account.name}"), account.credentials.get_client() as client:
            seen = {one.rtstream_id for one in self.reports}  # two keys may lead to one account
            found = [stream for stream in all_streams(client) if stream.id not in seen]
            with self._whatever_happens(f"account {account.name}"):
                for finding in findings(found, self.prefect, self.grace, self.server, self.abandoned):
                    self._report_and_act(client, account, finding)
                self._wait_for_videos(client)
            if self.dry_run:
                return
            with self._whatever_happens(f"account {account.name}"):
                parked = parked_runs(self.prefect)
                self._wake(client, found, parked)
                self._look_at_sources(client, found, parked)
            with self._whatever_happens(f"account {account.name}"):
                self._clear_leftovers(client, found)
            self._end_abandoned(client, found)

    @contextmanager
    def _whatever_happens(self, to: str) -> Iterator[None]:
        """Note what went wrong, and go on with the next."""
        try:
            yield
        except StaleRun as stale:
            get_logger().info("%s: %s", to, stale)
        except _TROUBLE as error:
            self.troubles.append(f"{to}: {type(error).__name__}: {error}")

    def _report_and_act(self, client: Client, account: Account, finding: Finding) -> None:
        told = report(finding, account.name, datetime.now(UTC), self.cost_per_minute)
        self.reports.append(told)
        if self.dry_run:
            return
        try:
            self._act(client, finding, told)
        except StaleRun as stale:
            told.verdict, told.reason = Verdict.RECORDING, str(stale)
        except _TROUBLE as error:
            get_logger().error("Stream %s could not be looked after: %s", finding.stream.id, error)
            told.trouble = f"{type(error).__name__}: {error}"

    def _act(self, client: Client, finding: Finding, told: StreamReport) -> None:
        if finding.verdict is Verdict.GO_ON and finding.run:
            recover(self.prefect, finding.run, Death(finding.reason))
        elif finding.verdict is Verdict.STOP:
            _tell(finding)
            stop(client, finding.stream.id)
            get_logger().warning("Stopped stream %s: %s", finding.stream.id, finding.reason)
            clear(client, finding.stream.id, str(finding.run_id))
            if finding.reason == DEPLOYMENT_DELETED:
                return  # exported, and ended, by `_end_abandoned`
            video = None
            if self.export and _wants_export(finding.run):
                video = request_export(client, finding.stream, wait_s=0.0)
                told.video_id = video.video_id if video else None
                if video and video.video_id is None:
                    self.being_made.append((finding, told))
            if finding.run:
                show_ended(self.prefect, finding.run, finding.reason, [video] if video else [])
                if is_parked(finding.run):
                    self._wait_for_worker(finding.run, finding.reason)

    def _wait_for_worker(self, run: FlowRun, reason: str) -> None:
        """Let a run whose stream is stopped show that it waits for a worker to finish it."""
        message = f"Its stream was stopped: {reason}, and no worker took the run. {_WHAT_TO_DO}"
        with self._whatever_happens(f"run {run.name}"):
            schedule_unchanged(self.prefect, run, datetime.now(UTC), message, LATE)

    def _wait_for_videos(self, client: Client) -> None:
        """Link the videos that were still being made, once everything that is billed is stopped."""
        deadline = time.monotonic() + _WAIT_FOR_VIDEOS_S
        while self.being_made:
            finding, told = self.being_made.pop()
            video = request_export(client, finding.stream, wait_s=max(0.0, deadline - time.monotonic()))
            if video and video.video_id:
                told.video_id = video.video_id
                if finding.run:
                    show_ended(self.prefect, finding.run, finding.reason, [video])

    def _wake(self, client: Client, found: list[RTStream], parked: list[FlowRun]) -> None:
        """Wake the parked recordings whose stream records no more: stopped by somebody, or given up by the service."""
        lost = {stream.id for stream in found if stream.status in {STOPPED, ERROR}}
        for run in parked:
            rtstream_id = remembered(run).get("rtstream_id")
            if rtstream_id in lost:
                with self._whatever_happens(f"run {run.name}"):
                    self._wake_run(client, run, rtstream_id)

    def _wake_run(self, client: Client, run: FlowRun, rtstream_id: str) -> None:
        run = read_unchanged(self.prefect, run)
        now = datetime.now(UTC)
        due = run.state.state_details.scheduled_time if run.state else None
        window = planned_window(remembered(run))
        if window is None or window.end <= now or due is None or due <= now + _SOON:
            return
        stream = client.send(streams.get(rtstream_id))
        if stream.status not in {STOPPED, ERROR} or is_elsewhere(stream.name, self.server):
            return
        if stream.status == STOPPED:
            self.prefect.update_flow_run_labels(run.id, label(window_end=now.isoformat(), ended_early="yes"))
        schedule_unchanged(self.prefect, run, now, f"Its stream is {stream.status}", PARKED)
        get_logger().warning("Recording %s goes on now: its stream is %s", run.name, stream.status)

    def _look_at_sources(self, client: Client, found: list[RTStream], parked: list[FlowRun]) -> None:
        """Report parked recordings whose source was lost, or came back: they hold no process that would notice."""
        for run, seen in changed_sources(client, found, parked, self.server):
            with self._whatever_happens(f"the source of run {run.name}"):
                tell_parked(self.prefect, client, run, seen)

    def _end_abandoned(self, client: Client, found: list[RTStream]) -> None:
        """Export what those recorded whose deployment was deleted, and end their runs."""
        streams_by_id = {stream.id: stream for stream in found}
        streams_by_run = {owner(stream.name): stream for stream in found}
        deadline = time.monotonic() + _WAIT_FOR_VIDEOS_S
        for run in list(self.abandoned.values()):
            stream = streams_by_run.get(run.id) or streams_by_id.get(run.parameters.get("rtstream_id") or "")
            if stream is None or not is_over(run, datetime.now(UTC)):
                continue
            del self.abandoned[run.id]  # what goes wrong is told, and tried again in the next pass
            if is_elsewhere(stream.name, self.server):
                continue
            with self._whatever_happens(f"run {run.name}"):
                if owner(stream.name) == run.id:
                    stop(client, stream.id)
                video = None
                if self.export and _wants_export(run):
                    left_s = max(0.0, deadline - time.monotonic())
                    video = request_export(client, stream, wait_s=left_s, raises=True)
                end_abandoned(self.prefect, run, video)
                for told in self.reports:
                    if video and told.rtstream_id == stream.id:
                        told.video_id = video.video_id

    def _clear_leftovers(self, client: Client, found: list[RTStream]) -> None:
        """Stop the indexes that watches left on streams that are not theirs."""
        for leftover in leftovers(client, found, self.prefect, self.grace, self.server, abandoned=self.abandoned):
            with self._whatever_happens(f"the indexes left on stream {leftover.rtstream_id}"):
                _clear_leftover(client, self.prefect, leftover)


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
            "prefect.resource.name": plain(finding.stream.name or finding.stream.id, 200),
        },
        related=[
            {"prefect.resource.id": f"prefect.flow-run.{finding.run_id}", "prefect.resource.role": "recording"},
        ],
        payload={"reason": finding.reason},
    )


def _clear_leftover(client: Client, prefect: SyncPrefectClient, leftover: Leftover) -> None:
    if leftover.verdict is Verdict.GO_ON and leftover.run:
        recover(prefect, leftover.run, Death(leftover.reason))
        return
    clear(client, leftover.rtstream_id, str(leftover.run_id))
    get_logger().warning(
        "Stopped the live indexes of run %s on stream %s: %s", leftover.run_id, leftover.rtstream_id, leftover.reason
    )
