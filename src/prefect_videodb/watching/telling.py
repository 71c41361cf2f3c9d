"""Tell people what happened to a watch: in the log, as an event to hang automations on, in an artifact."""

import hashlib

from prefect.artifacts import create_markdown_artifact
from prefect.events import emit_event

from prefect_videodb._logging import get_logger
from prefect_videodb._showing import only_showing
from prefect_videodb.recording.showing import WATCH
from prefect_videodb.recording.text import LONGEST_WORD_OF_A_TITLE, clock, escape, plain
from prefect_videodb.watching.models import StreamWatch, Trouble, Watch


def tell(trouble: Trouble, *, rtstream_id: str, name: str, flow_run_id: str) -> None:
    """Log a trouble, and emit it as the event `videodb.watch.trouble` of the stream."""
    get_logger().warning("The %s %s: %s", trouble.part.value, trouble.found, trouble.done)
    emit_event(
        event="videodb.watch.trouble",
        resource={"prefect.resource.id": f"videodb.rtstream.{rtstream_id}", "prefect.resource.name": plain(name, 200)},
        related=[{"prefect.resource.id": f"prefect.flow-run.{flow_run_id}", "prefect.resource.role": "watch"}],
        payload=trouble.model_dump(mode="json"),
    )


def digest(text: str) -> str:
    """Tell whether an artifact is what was shown before, in few letters."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def publish(text: str, name: str) -> str | None:
    """Show the artifact, and return its id; None when Prefect is away: what only shows must not end a watch."""
    with only_showing("The watch"):
        return str(create_markdown_artifact(text, key=WATCH, description=f"Watch of {escape(name)}"))
    return None


def markdown(watch: StreamWatch, *, is_over: bool, until: str) -> str:
    """Write a watch up: what is watched for, and what was not as it should be."""
    stream = f"Stream {escape(watch.rtstream_id)}" + (", adopted: it is left running" if watch.adopted else "")
    if is_over:
        time = f"Watched from {clock(watch.start)} to {clock(watch.end)} ({watch.ended_by})."
    else:
        time = f"Watched since {clock(watch.start)}, until {until}. Cancel the run to end it."
    lines = [
        f"# {escape(watch.name, LONGEST_WORD_OF_A_TITLE)}",
        "",
        time,
        "",
        f"{stream}.",
        "",
        *_watches(watch.watches),
        "",
    ]
    return "\n".join([*lines, *_amiss(watch.amiss, is_over=is_over), *_troubles(watch.troubles)])


def _amiss(amiss: list[str], *, is_over: bool) -> list[str]:
    if not amiss:
        return []
    return [f"## Not in order {'at the end' if is_over else 'now'}", "", *(f"- {escape(one)}" for one in amiss), ""]


def _watches(watches: list[Watch]) -> list[str]:
    return [
        f"- **{escape(one.label)}**: {escape(one.prompt)} "
        f"({one.kind}, every {one.batch_s:g} s, route {escape(one.route)})"
        for one in watches
    ]


def _troubles(troubles: list[Trouble]) -> list[str]:
    if not troubles:
        return ["Nothing was amiss."]
    return [
        "## What was amiss",
        "",
        *(f"- {_trouble(trouble)}" for trouble in reversed(troubles)),
        "",
        "In between, something may have gone unnoticed.",
    ]


def _trouble(trouble: Trouble) -> str:
    done = f"; {escape(trouble.done)}" if trouble.done else ""
    since = f" (in order until {clock(trouble.since)})" if trouble.since else ""
    return f"{clock(trouble.at)}: the {trouble.part.value} {escape(trouble.found)}{done}{since}"
