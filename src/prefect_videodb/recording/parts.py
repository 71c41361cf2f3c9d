"""A recording that was interrupted is several videos: which, from when on, and what lies between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from prefect_videodb.recording.memory import Memory
from prefect_videodb.recording.models import Window
from prefect_videodb.recording.text import as_moment

# A recording begins with a keyframe and ends with a whole segment: less is no gap worth telling.
_LEAST_GAP = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Part:
    """A video of what was recorded before an interruption: its id, when it began, how long it is."""

    video_id: str
    start: datetime
    length_s: float


def remember_part(memory: Memory, video_id: str, length_s: float) -> None:
    """Write a part down. The same one twice, because a step was repeated, is one."""
    window = memory.recall_window()
    start = began_last(memory) or (window.start if window else datetime.now(UTC))
    part = f"{video_id}|{start.isoformat()}|{length_s:g}"
    known = (memory.recall("earlier_parts") or "").split()
    if video_id not in {text.partition("|")[0] for text in known}:
        memory.remember(earlier_parts=" ".join([*known, part]))


def earlier_parts(memory: Memory) -> list[Part]:
    """Give the parts that were written down, in the order of time."""
    texts = [text.split("|") for text in (memory.recall("earlier_parts") or "").split()]
    return [Part(video_id, datetime.fromisoformat(start), float(length)) for video_id, start, length in texts]


def began_last(memory: Memory) -> datetime | None:
    """Tell when the part began that is being recorded; None when it is the first."""
    return as_moment(memory.recall("part_began"))


def gaps(earlier: Sequence[Part], last_began: datetime | None) -> list[Window]:
    """Give the times between the parts, of which there is no video. Pure."""
    begins = [part.start for part in earlier[1:]]
    if last_began:
        begins.append(last_began)
    ends = [part.start + timedelta(seconds=part.length_s) for part in earlier]
    between = zip(ends, begins, strict=False)
    return [Window(start=end, end=begin) for end, begin in between if begin - end >= _LEAST_GAP]
