"""A strict reader of HLS media playlists, written from RFC 8216: it refuses what players forgive."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime

_ONCE = {
    "EXT-X-VERSION": r"\d+",
    "EXT-X-TARGETDURATION": r"\d+",
    "EXT-X-MEDIA-SEQUENCE": r"\d+",
    "EXT-X-DISCONTINUITY-SEQUENCE": r"\d+",
    "EXT-X-PLAYLIST-TYPE": r"VOD|EVENT",
    "EXT-X-ENDLIST": r"",
}


@dataclass(frozen=True)
class Entry:
    """A media segment and all that applies to it."""

    uri: str
    duration_s: float
    date_time: datetime
    sequence: int
    discontinuity: int


@dataclass
class Playlist:
    """A media playlist."""

    entries: list[Entry] = field(default_factory=list)
    target_s: int = 0
    sequence: int = 0
    discontinuities: int = 0
    type: str | None = None
    ended: bool = False

    @property
    def duration_s(self) -> float:
        """How long it plays."""
        return sum(entry.duration_s for entry in self.entries)


def parse(text: str) -> Playlist:
    """Read a playlist; raise `AssertionError` where it breaks RFC 8216, sections 4.1 and 4.3."""
    assert text.endswith("\n"), "4.1: each line ends with a line feed"
    lines = text.split("\n")[:-1]
    assert lines[0] == "#EXTM3U", "4.3.1.1: the first line"
    found: dict[str, str] = {}
    result = Playlist()
    duration: float | None = None
    date_time: datetime | None = None
    discontinuity = 0
    for line in lines[1:]:
        assert line == line.strip(), line
        assert line, "no blank lines here"
        name, _, value = line[1:].partition(":") if line.startswith("#") else ("", "", "")
        if name in _ONCE:
            assert name not in found, f"{name} stands twice"
            assert re.fullmatch(_ONCE[name], value), line
            assert name in {"EXT-X-ENDLIST", "EXT-X-VERSION"} or not result.entries, f"{name} after the first segment"
            found[name] = value
            if name == "EXT-X-DISCONTINUITY-SEQUENCE":
                assert discontinuity == 0, "4.3.3.3: before any EXT-X-DISCONTINUITY"
                discontinuity = int(value)
        elif name == "EXTINF":
            assert duration is None, "two EXTINF for one segment"
            assert re.fullmatch(r"\d+(\.\d+)?,.*", value), line
            duration = float(value.partition(",")[0])
            assert duration > 0, line
        elif name == "EXT-X-PROGRAM-DATE-TIME":
            assert date_time is None, "two dates for one segment"
            date_time = datetime.fromisoformat(value)
            assert date_time.tzinfo is not None, line
        elif name == "EXT-X-DISCONTINUITY":
            discontinuity += 1
        else:
            assert not line.startswith("#"), f"not known here: {line}"
            assert duration is not None, "4.3.2.1: each segment has its EXTINF"
            assert date_time is not None, line
            number = int(found.get("EXT-X-MEDIA-SEQUENCE", "0")) + len(result.entries)
            result.entries.append(Entry(line, duration, date_time, number, discontinuity))
            duration = date_time = None
    assert duration is None, "an EXTINF without a segment"
    assert "EXT-X-TARGETDURATION" in found, "4.3.3.1: the target duration"
    assert int(found.get("EXT-X-VERSION", "1")) >= 3, "7: EXTINF with fractions"
    result.target_s = int(found["EXT-X-TARGETDURATION"])
    result.sequence = int(found.get("EXT-X-MEDIA-SEQUENCE", "0"))
    result.discontinuities = int(found.get("EXT-X-DISCONTINUITY-SEQUENCE", "0"))
    result.type = found.get("EXT-X-PLAYLIST-TYPE")
    result.ended = "EXT-X-ENDLIST" in found
    for entry in result.entries:
        assert int(entry.duration_s + 0.5) <= result.target_s, "4.3.3.1: rounded, none is longer than the target"
    assert result.type != "VOD" or result.ended, "4.3.3.5: nothing is added to VOD"
    return result


def check_update(before: Playlist, after: Playlist) -> None:
    """Raise `AssertionError` where a later version breaks RFC 8216, 6.2.1 or 6.2.2."""
    assert after.target_s == before.target_s, "6.2.1: the target duration is constant"
    assert after.type == before.type, "4.3.3.5: the type is constant"
    assert after.sequence >= before.sequence, "6.2.2: media sequence numbers never decrease"
    assert after.discontinuities >= before.discontinuities, "6.2.2: nor those of discontinuities"
    if before.ended:
        assert after == before, "6.2.1: what has ended does not change"
    old = {entry.sequence: entry for entry in before.entries}
    new = {entry.sequence: entry for entry in after.entries}
    for sequence in old.keys() & new.keys():
        assert old[sequence] == new[sequence], "6.2.1: a segment keeps its number, its discontinuity and its date"
    gone = old.keys() - new.keys()
    assert not gone or max(gone) < after.sequence, "6.2.2: removed in the order in which they appear"
    assert not (gone and before.type), "4.3.3.5: nothing is removed from EVENT or VOD"
    assert not old or after.sequence <= max(old) + 1 or not new, "no number is left out"
    if gone and not after.ended:
        assert after.duration_s >= 3 * after.target_s, "6.2.2: three target durations stay"
