"""A recording as a list of MPEG-TS segments, and the HLS playlist that plays some of them. Pure: opens no file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

MediaType = Literal["audio", "video"]


@dataclass(frozen=True, slots=True)
class Segment:
    """One MPEG-TS file of a recording; the first picture in it is a keyframe."""

    path: Path
    wall_start: float
    """Unix seconds of its first frame."""
    duration_s: float
    run: int
    """Which uninterrupted piece of the stream it belongs to; a reconnect starts the next one."""
    has_video: bool
    has_audio: bool

    @property
    def wall_end(self) -> float:
        """Unix seconds of the moment after its last frame."""
        return self.wall_start + self.duration_s


def window(segments: Sequence[Segment], start: float, end: float) -> list[Segment]:
    """Return the segments that overlap the half-open window from `start` to `end`, both in unix seconds."""
    return [segment for segment in segments if segment.wall_start < end and segment.wall_end > start]


def playlist(segments: Sequence[Segment], uri: Callable[[Segment], str], *, ended: bool = True) -> str:
    """Write the HLS playlist that plays these segments in this order.

    `uri` names each segment for whoever reads the playlist. A playlist that has not `ended` may grow: players load
    it again and again. Each segment carries the wall clock of its first frame (`EXT-X-PROGRAM-DATE-TIME`); where the
    run changes the player is told that time stamps start anew (`EXT-X-DISCONTINUITY`).
    """
    longest_s = max((segment.duration_s for segment in segments), default=0.0)
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:3",
        # RFC 8216: no segment, rounded to the nearest second, may be longer than the target.
        f"#EXT-X-TARGETDURATION:{max(1, math.ceil(longest_s))}",
        "#EXT-X-MEDIA-SEQUENCE:0",
        f"#EXT-X-PLAYLIST-TYPE:{'VOD' if ended else 'EVENT'}",
    ]
    new_runs = [False, *(before.run != after.run for before, after in pairwise(segments))]
    for segment, starts_new_run in zip(segments, new_runs, strict=False):
        if starts_new_run:
            lines.append("#EXT-X-DISCONTINUITY")
        lines += [
            f"#EXT-X-PROGRAM-DATE-TIME:{_iso(segment.wall_start)}",
            f"#EXTINF:{segment.duration_s:.6f},",
            _one_line(uri(segment)),
        ]
    if ended:
        lines.append("#EXT-X-ENDLIST")
    return "\n".join(lines) + "\n"


def _iso(wall: float) -> str:
    """Write unix seconds as players expect them: UTC to the millisecond."""
    moment = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=round(wall * 1000))
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _one_line(text: str) -> str:
    """Refuse a name that would write further lines into the playlist."""
    if not text or text.splitlines() != [text] or text.startswith("#"):
        message = f"a segment's URI must be one line that is no tag, not {text!r}"
        raise ValueError(message)
    return text
