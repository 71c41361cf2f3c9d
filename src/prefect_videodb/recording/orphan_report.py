"""What is recording, and what was done about it, for people."""

from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel, Field

from prefect_videodb.recording.memory import remembered
from prefect_videodb.recording.orphans import Finding, Verdict
from prefect_videodb.recording.ownership import title_in
from prefect_videodb.recording.showing import ui_url
from prefect_videodb.recording.text import clock, escape, link, one_line
from prefect_videodb.recording.time_zones import ZONE, zone_named
from prefect_videodb.redact import truncate

# Prefect's UI never breaks a line of a table, and hides what is wider than about 80 letters: the rest is in a list.
_HEAD = ("| recording | | until | minutes | cost |", "| --- | --- | --- | --- | --- |")
_LONGEST_TITLE = 24
_DONE = {Verdict.STOP: "stopped", Verdict.GO_ON: "rescheduled"}
_WOULD_BE_DONE = {Verdict.STOP: "would stop", Verdict.GO_ON: "would reschedule"}
_AS_IT_IS = {Verdict.RECORDING: "recording", Verdict.ELSEWHERE: "elsewhere"}
# What needs a person comes first.
_ORDER = (Verdict.STOP, Verdict.GO_ON, Verdict.RECORDING, Verdict.ELSEWHERE)


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
    """Show the streams as a table, and below it the details and what could not be looked after. Markdown."""
    ordered = sorted(reports, key=lambda one: (one.trouble is None, _ORDER.index(one.verdict)))
    failures = [f"**Not looked after**: {escape(trouble)}" for trouble in troubles]
    if not ordered:
        return "\n\n".join(failures) or "Nothing is recording."
    rows = [*_HEAD, *(_row(one, dry_run=dry_run) for one in ordered)]
    details = [f"- {_details(one, dry_run=dry_run)}" for one in ordered]
    return "\n\n".join(["\n".join(rows), *failures, "\n".join(details)])


def _row(report: StreamReport, *, dry_run: bool) -> str:
    until = clock(report.until, zone_named(report.time_zone), short=True) if report.until else ""
    cost = "" if report.cost is None else f"{report.cost:.2f}"
    return f"| {' | '.join([_title(report), _done(report, dry_run=dry_run), until, f'{report.minutes:.1f}', cost])} |"


def _title(report: StreamReport) -> str:
    """Return what the recording is called, with a link to its run."""
    title = truncate(one_line(title_in(report.name) or report.rtstream_id), _LONGEST_TITLE)
    has_page = report.flow_run_name is not None
    return link(title, ui_url(f"runs/flow-run/{report.flow_run_id}") if has_page else None)


def _done(report: StreamReport, *, dry_run: bool) -> str:
    if report.trouble is not None:
        return "**failed**"
    done = (_WOULD_BE_DONE if dry_run else _DONE).get(report.verdict)
    return f"**{done}**" if done else _AS_IT_IS[report.verdict]


def _details(report: StreamReport, *, dry_run: bool) -> str:
    why = report.trouble or report.reason
    run = report.flow_run_name or ("not of this server" if report.verdict is Verdict.ELSEWHERE else "deleted")
    facts = [f"run {escape(run)}", f"stream {escape(report.rtstream_id)}"]
    facts += [f"account {escape(report.account)}"] if report.account else []
    facts += [f"video {escape(report.video_id)}"] if report.video_id else []
    text = f"{escape(title_in(report.name) or '')}: {_done(report, dry_run=dry_run)}" + (
        f", {escape(why)}" if why else ""
    )
    return f"{text} ({', '.join(facts)})"
