"""A recording as a list of MPEG-TS segments, and the HLS playlist that plays some of them. Pure: opens no file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

MediaType = Literal["audio", "video"]
PlaylistType = Literal["VOD", "EVENT"]

# No segment of a recording is longer, so that the target duration of a playlist that grows can stay the same (RFC 8216,
# 6.2.1). It rounds to TARGET_S, and ten seconds between keyframes are common: x264 counts 250 pictures.
LONGEST_SEGMENT_S: Final = 10.45
TARGET_S: Final = 10
# How far behind the moment in which it is received a source may say that its media is.
MOST_LATENCY_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Segment:
    """One MPEG-TS file of a recording; the first picture in it is a keyframe, where one came in time."""

    path: Path
    wall_start: float
    """Unix seconds of its first frame."""
    duration_s: float
    run: int
    """Which uninterrupted piece of the stream it belongs to; a reconnect starts the next one."""
    has_video: bool
    """Whether it holds a keyframe."""
    has_audio: bool

    @property
    def wall_end(self) -> float:
        """Unix seconds of the moment after its last frame."""
        return self.wall_start + self.duration_s


def window(segments: Sequence[Segment], start: float, end: float) -> list[Segment]:
    """Return the segments that overlap the half-open window from `start` to `end`, both in unix seconds."""
    return [segment for segment in segments if segment.wall_start < end and segment.wall_end > start]


@dataclass(frozen=True, slots=True)
class Listing:
    """What a playlist lists at this moment."""

    segments: Sequence[Segment]
    type: PlaylistType | None = "VOD"
    """None for one that loses segments at its beginning; it never changes in the life of a playlist."""
    ended: bool = True
    """Whether nothing will be added any more."""
    sequence: int = 0
    """How many segments went before the first one."""
    discontinuities: int = 0
    """How many discontinuities went before the first segment, or before its own tag."""
    follows_another_run: bool = False
    """Whether the segment that went before the first was of another run."""


def playlist(listing: Listing | Sequence[Segment], uri: Callable[[Segment], str]) -> str:
    """Write the HLS playlist that plays these segments in this order; segments alone are a whole that never changes.

    `uri` names each segment for whoever reads the playlist. Each segment carries the wall clock of its first frame
    (`EXT-X-PROGRAM-DATE-TIME`); where the run changes the player is told that time stamps start anew
    (`EXT-X-DISCONTINUITY`). A playlist that grows keeps the rules of RFC 8216, 6.2.1 and 6.2.2, from one version to
    the next.
    """
    if not isinstance(listing, Listing):
        listing = Listing(listing)
    segments = listing.segments
    # RFC 8216: no segment, rounded to the nearest second, may be longer than the target.
    target_s = max(1, math.ceil(max((segment.duration_s for segment in segments), default=0.0)))
    if listing.type != "VOD":
        longest = max((math.floor(segment.duration_s + 0.5) for segment in segments), default=0)
        target_s = max(TARGET_S, longest)
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:3",
        f"#EXT-X-TARGETDURATION:{target_s}",
        f"#EXT-X-MEDIA-SEQUENCE:{listing.sequence}",
        *([f"#EXT-X-DISCONTINUITY-SEQUENCE:{listing.discontinuities}"] if listing.discontinuities else []),
        *([f"#EXT-X-PLAYLIST-TYPE:{listing.type}"] if listing.type else []),
    ]
    new_runs = [listing.follows_another_run, *(before.run != after.run for before, after in pairwise(segments))]
    for segment, starts_new_run in zip(segments, new_runs, strict=False):
        if starts_new_run:
            lines.append("#EXT-X-DISCONTINUITY")
        lines += [
            f"#EXT-X-PROGRAM-DATE-TIME:{_iso(segment.wall_start)}",
            f"#EXTINF:{segment.duration_s:.6f},",
            _one_line(uri(segment)),
        ]
    if listing.ended:
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
