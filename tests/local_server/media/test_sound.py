"""The sound that recognisers get: of the right length, at the right time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import av
import pytest

from prefect_videodb.local_server.media.clips import Part as PartOf
from prefect_videodb.local_server.media.clips import compile_parts, segment_file
from prefect_videodb.local_server.media.errors import BadMedia
from prefect_videodb.local_server.media.export import export_mp4
from prefect_videodb.local_server.media.sample import sample_meeting
from prefect_videodb.local_server.media.sound import pcm

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECOND = 32_000


def test_the_whole_sound_comes_in_chunks_of_at_most_a_second() -> None:
    chunks = list(pcm(sample_meeting()))
    assert all(0 < len(chunk) <= SECOND and len(chunk) % 2 == 0 for chunk in chunks)
    assert sum(map(len, chunks)) == pytest.approx(64 * SECOND, abs=SECOND // 20)


@pytest.mark.parametrize(("start_s", "end_s"), [(0.0, 1.0), (0.3, 2.8), (10.0, 13.25), (33.333, 40.0), (60.0, 63.0)])
def test_a_window_is_exactly_that_part_of_the_whole(start_s: float, end_s: float) -> None:
    whole = memoryview(b"".join(pcm(sample_meeting()))).cast("h")
    part = memoryview(b"".join(pcm(sample_meeting(), start_s=start_s, end_s=end_s))).cast("h")
    first, last = round(start_s * 16_000), round(end_s * 16_000)
    assert len(part) == last - first
    # Resampling begins elsewhere, so samples differ by rounding; the same moment must sound the same.
    middle = len(part) // 2
    wrong = [
        sum(abs(part[middle + i] - whole[first + middle + i + shift]) for i in range(2000)) for shift in (-8, 0, 8)
    ]
    assert wrong[1] == min(wrong)


def test_a_window_behind_the_end_is_silent() -> None:
    assert list(pcm(sample_meeting(), start_s=100.0, end_s=101.0)) == []


def test_a_file_without_sound_yields_nothing(cut: Callable) -> None:
    assert list(pcm(cut("pictures.mp4", 4, "video"))) == []


def test_a_segment_has_its_own_sound(tmp_path: Path) -> None:
    segments = segment_file(sample_meeting(), tmp_path / "segments")
    length = sum(len(chunk) for chunk in pcm(segments[7].path))
    assert length == pytest.approx(2 * SECOND, abs=SECOND // 10)


def test_a_hole_in_the_sound_is_silence_and_what_follows_stays_in_its_place(tmp_path: Path) -> None:
    """The sound is cut out of the middle; the moment after it must still be at its time."""
    holed = tmp_path / "holed.mp4"
    with av.open(str(sample_meeting())) as source, av.open(str(holed), "w") as out:
        places = {stream.index: out.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux(*source.streams):
            at_s = 0.0 if packet.dts is None else float(packet.dts * packet.time_base)
            if packet.dts is None or at_s > 12 or (packet.stream.type == "audio" and 3.0 < at_s < 8.0):
                continue
            packet.stream = places[packet.stream_index]
            out.mux(packet)
    whole = memoryview(b"".join(pcm(sample_meeting()))).cast("h")
    sound = memoryview(b"".join(pcm(holed))).cast("h")
    assert len(sound) == pytest.approx(12 * 16_000, abs=2000)
    assert max(abs(sample) for sample in sound[int(3.2 * 16_000) : int(7.8 * 16_000)]) == 0
    loud = slice(int(9.0 * 16_000), int(11.5 * 16_000))
    wrong = sum(abs(one - other) for one, other in zip(sound[loud], whole[loud], strict=True))
    assert wrong < sum(abs(sample) for sample in whole[loud]) / 2


def test_sound_and_export_have_the_same_clock(tmp_path: Path) -> None:
    """A sentence found at some second of the sound is at that second of the exported file."""
    segments = compile_parts([PartOf(sample_meeting(), 30.0, 45.0)], tmp_path / "part")
    export_mp4(segments, tmp_path / "export.mp4")
    exported = memoryview(b"".join(pcm(tmp_path / "export.mp4"))).cast("h")
    original = memoryview(b"".join(pcm(sample_meeting(), start_s=30.0, end_s=45.0))).cast("h")
    loud = range(5 * 16_000, 9 * 16_000, 7)
    wrong = {shift: sum(abs(exported[i + shift] - original[i]) for i in loud) for shift in (-800, -160, 0, 160, 800)}
    assert wrong[0] == min(wrong.values())


@pytest.mark.parametrize("content", [None, b"", b"no media at all" * 100])
def test_the_sound_of_what_is_no_media_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadMedia, match=r"x\.mp4"):
        list(pcm(path))
