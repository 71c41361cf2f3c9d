"""The artifact that a person reads after an alert."""

from prefect.artifacts import create_markdown_artifact

from prefect_videodb._showing import only_showing
from prefect_videodb.following.models import FollowUp, Line
from prefect_videodb.recording.archive import place
from prefect_videodb.recording.text import LONGEST_WORD_OF_A_TITLE, clock, escape, link

_LONGEST_TEXT = 4000
_MOST_LINES = 200


def publish(follow_up: FollowUp, not_notified: list[str]) -> None:
    """Show the report in the UI. What only shows must not fail a follow-up: when Prefect is away, the log says so."""
    with only_showing("The report"):
        create_markdown_artifact(
            markdown(follow_up, not_notified),
            key="alert-follow-up",
            description=f"Alert {escape(follow_up.label[:200])}",
        )


def markdown(follow_up: FollowUp, not_notified: list[str]) -> str:
    """Write an alert up: the player link, the facts, what was said and seen around it, what is missing."""
    lines = [f"# {escape(follow_up.label[:200], LONGEST_WORD_OF_A_TITLE)}", ""]
    if follow_up.clip.player_url:
        lines += [link("▶ Play the clip", follow_up.clip.player_url), ""]
    if follow_up.explanation:
        lines += [f"> {escape(follow_up.explanation[:_LONGEST_TEXT])}", ""]
    lines += [
        *_facts(follow_up),
        "",
        *_lines("What was said", follow_up.said),
        *_lines("What the index told", follow_up.seen),
    ]
    if follow_up.missing:
        lines += ["## What is missing", "", *(f"- {escape(text)}" for text in follow_up.missing), ""]
    return "\n".join([*lines, *_notifications(follow_up, not_notified)])


def _facts(follow_up: FollowUp) -> list[str]:
    facts = {
        "confidence": None if follow_up.confidence is None else f"{follow_up.confidence:.2f}",
        "told": clock(follow_up.told_at) if follow_up.told_at else None,
        "clip from": clock(follow_up.window.start) if follow_up.window else None,
        "clip to": clock(follow_up.window.end) if follow_up.window else None,
        "stream": escape(follow_up.rtstream_id) if follow_up.rtstream_id else None,
        "file": link("download", follow_up.file_url) if follow_up.file_url else None,
        "archived": place(follow_up.archived) if follow_up.archived else None,
    }
    return [f"- {name}: {fact}" for name, fact in facts.items() if fact is not None]


def _lines(title: str, lines: list[Line]) -> list[str]:
    if not lines:
        return []
    rows = [f"- {clock(line.at)}: {escape(line.text[:_LONGEST_TEXT])}" for line in lines[:_MOST_LINES]]
    return [f"## {title}", "", *rows, ""]


def _notifications(follow_up: FollowUp, not_notified: list[str]) -> list[str]:
    lines = [f"- {escape(name)} was notified" for name in follow_up.notified]
    lines += [f"- **{escape(text)}**" for text in not_notified]
    return ["## Notifications", "", *lines] if lines else []
