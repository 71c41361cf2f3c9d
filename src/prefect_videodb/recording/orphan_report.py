"""What is recording, and what was done about it, for people."""

from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel, Field

from prefect_videodb.recording.memory import remembered
from prefect_videodb.recording.orphans import Finding, Verdict
from prefect_videodb.recording.showing import ui_url
from prefect_videodb.recording.text import clock, escape, link
from prefect_videodb.recording.time_zones import ZONE, zone_named

_HEAD = ("| stream | account | run | until | minutes | cost | |", "| --- | --- | --- | --- | --- | --- | --- |")
_DONE = {Verdict.STOP: "stopped", Verdict.GO_ON: "scheduled again"}


class StreamReport(BaseModel):
    """A stream that a recording made and that was running, and what became of it."""

    rtstream_id: str
    name: str
    account: str = Field(default="", description="The VideoDBCredentials block that leads to it.")
    flow_run_id: str
    flow_run_name: str | None = None
    until: datetime | None = None
    time_zone: str | None = Field(default=None, description="In which the recording's times are shown.")
    minutes: float
    cost: float | None = None
    verdict: Verdict
    reason: str
    video_id: str | None = Field(default=None, description="What was recorded, where it was exported.")
    trouble: str | None = None


def report(finding: Finding, account: str, now: datetime, cost_per_minute: float | None) -> StreamReport:
    """Make the report of a stream to which nothing was done yet."""
    minutes = round(finding.minutes(now), 1)
    return StreamReport(
        rtstream_id=finding.stream.id,
        name=finding.stream.name or "",
        account=account,
        flow_run_id=str(finding.run_id),
        flow_run_name=finding.run.name if finding.run else None,
        until=finding.window.end if finding.window else None,
        time_zone=remembered(finding.run).get(ZONE) if finding.run else None,
        minutes=minutes,
        cost=None if cost_per_minute is None else round(minutes * cost_per_minute, 2),
        verdict=finding.verdict,
        reason=finding.reason,
    )


def table(reports: Sequence[StreamReport], troubles: Sequence[str], *, dry_run: bool) -> str:
    """Show the streams as a table, and below it what could not be looked after beside them. Markdown."""
    rows = [*_HEAD, *(_row(one, dry_run=dry_run) for one in reports)]
    shown = ["\n".join(rows)] if reports else [] if troubles else ["Nothing is recording."]
    return "\n\n".join([*shown, *(f"**Not looked after**: {escape(trouble)}" for trouble in troubles)])


def _row(report: StreamReport, *, dry_run: bool) -> str:
    until = clock(report.until, zone_named(report.time_zone)) if report.until else ""
    cost = "" if report.cost is None else f"{report.cost:.2f}"
    done = _done(report, dry_run=dry_run)
    minutes = f"{report.minutes:.1f}"
    cells = [escape(report.name), escape(report.account), _run_link(report), until, minutes, cost, done]
    return f"| {' | '.join(cells)} |"


def _run_link(report: StreamReport) -> str:
    if report.flow_run_name is None:
        return "not of this server" if report.verdict is Verdict.ELSEWHERE else "deleted"
    return link(report.flow_run_name, ui_url(f"runs/flow-run/{report.flow_run_id}"))


def _done(report: StreamReport, *, dry_run: bool) -> str:
    if report.trouble:
        text = f"**not looked after**: {escape(report.trouble)}"
    elif report.verdict in _DONE:
        text = f"{'would be ' if dry_run else ''}**{_DONE[report.verdict]}**: {escape(report.reason)}"
    else:
        text = report.verdict.value + (f" ({escape(report.reason)})" if report.reason else "")
    return text + (f", video {report.video_id}" if report.video_id else "")
