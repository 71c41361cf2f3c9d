"""A recording that was interrupted is several videos: which, from when on, and what lies between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, unquote

from prefect_videodb.recording.memory import Memory
from prefect_videodb.recording.models import Window
from prefect_videodb.recording.text import as_moment

# A recording begins with a keyframe and ends with a whole segment: less is no gap worth telling.
_LEAST_GAP = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Part:
    """A video of what was recorded before an interruption: its id, when it began, how long it is where that is known.

    `stream_url` is told by the export alone where it is of sound.
    """

    video_id: str
    start: datetime
    length_s: float | None
    stream_url: str | None = None


def remember_part(memory: Memory, video_id: str, length_s: float | None, stream_url: str | None) -> None:
    """Write a part down. The same one twice, because a step was repeated, is one."""
    window = memory.recall_window()
    start = began_last(memory) or (window.start if window else datetime.now(UTC))
    length = "" if length_s is None else f"{length_s:g}"
    part = f"{video_id}|{start.isoformat()}|{length}|{quote(stream_url or '', safe=':/')}"
    known = (memory.recall("earlier_parts") or "").split()
    if video_id not in {text.partition("|")[0] for text in known}:
        memory.remember(earlier_parts=" ".join([*known, part]))


def earlier_parts(memory: Memory) -> list[Part]:
    """Give the parts that were written down, in the order of time."""
    return [read_part(text) for text in (memory.recall("earlier_parts") or "").split()]


def read_part(text: str) -> Part:
    """Read a part as it was written down; one of an earlier version has no link. Pure."""
    video_id, start, length, *link = text.split("|")
    url = unquote(link[0]) if link else ""
    return Part(video_id, datetime.fromisoformat(start), float(length) if length else None, url or None)


def began_last(memory: Memory) -> datetime | None:
    """Tell when the part began that is being recorded; None when it is the first, and began with the window."""
    return as_moment(memory.recall("part_began"))


def gaps(earlier: Sequence[Part], last_began: datetime | None, start: datetime | None = None) -> list[Window]:
    """Return the times of which there is no video: between the parts, and before the first one. Pure.

    Args:
        earlier: the parts before the last; after one of unknown length no gap is known.
        last_began: when the last part began; None where it did not, or began with the window.
        start: of the planned window; None where only what lies between the parts is asked for.
    """
    begins = [part.start for part in earlier]
    if last_began:
        begins.append(last_began)
    ends = [None if part.length_s is None else part.start + timedelta(seconds=part.length_s) for part in earlier]
    between = zip([start, *ends], begins, strict=False)
    return [Window(start=end, end=begin) for end, begin in between if end and begin - end >= _LEAST_GAP]
