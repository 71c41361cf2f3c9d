"""An export holds every picture of its recording, in one file that plays anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import av
import pytest
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream

from prefect_videodb.local_server.media.clips import segment_file
from prefect_videodb.local_server.media.errors import BadMedia
from prefect_videodb.local_server.media.export import export_mp4, probe
from prefect_videodb.local_server.media.pictures import keyframe
from prefect_videodb.local_server.media.sample import sample_meeting
from tests.support.media import Scene, make_scene

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prefect_videodb.local_server.media.rtsp_server import LoopingRTSPServer
    from prefect_videodb.local_server.media.segments import Segment


@pytest.fixture
def segments(cut: Callable, tmp_path: Path) -> list[Segment]:
    """Nine seconds of the meeting, as a recording."""
    return segment_file(cut("nine.mp4", 9), tmp_path / "segments")


def test_an_export_holds_every_second_of_a_live_recording(
    meeting: LoopingRTSPServer, record: Callable, pictures: Callable, tmp_path: Path
) -> None:
    watched = record(meeting.url)
    watched.wait_for_segments(4)
    segments = watched.stop()
    progress: list[float] = []
    facts = export_mp4(segments, tmp_path / "export.mp4", on_progress=progress.append)
    recorded = [at for segment in segments for at in pictures(segment.path)]
    assert pictures(tmp_path / "export.mp4") == recorded
    assert facts.duration_s == pytest.approx(sum(segment.duration_s for segment in segments), abs=0.1)
    assert (facts.width, facts.height, facts.has_video, facts.has_audio) == (1280, 720, True, True)
    assert progress == sorted(progress)
    assert progress[-1] == pytest.approx(1.0)


def test_sound_and_pictures_stay_together(segments: list[Segment], tmp_path: Path) -> None:
    """A packet of sound is as far from the pictures around it as in the file it came from."""
    export_mp4(segments, tmp_path / "export.mp4")

    def stamps(path: Path, kind: str) -> list[tuple[float, int]]:
        with av.open(str(path)) as media:
            return [
                (round(float(packet.pts * packet.time_base), 2), packet.size)
                for packet in media.demux(**{kind: 0})
                if packet.pts is not None and 1 <= packet.pts * packet.time_base < 8
            ]

    assert stamps(tmp_path / "export.mp4", "audio") == stamps(sample_meeting(), "audio")
    assert [at for at, _ in stamps(tmp_path / "export.mp4", "video")] == [
        at for at, _ in stamps(sample_meeting(), "video")
    ]


def test_an_export_can_be_played_while_it_is_loaded(segments: list[Segment], tmp_path: Path) -> None:
    export_mp4(segments, tmp_path / "export.mp4")
    content = (tmp_path / "export.mp4").read_bytes()
    assert 0 < content.find(b"moov") < content.find(b"mdat")


def test_an_export_that_is_repeated_replaces_what_a_killed_one_left(segments: list[Segment], tmp_path: Path) -> None:
    target = tmp_path / "export.mp4"
    target.write_bytes(b"old")
    (tmp_path / "export.mp4.part").write_bytes(b"rest")
    first = export_mp4(segments, target)
    assert export_mp4(segments, target) == first == probe(target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export.mp4", "segments"]


def test_sound_alone_becomes_an_audio_file(cut: Callable, tmp_path: Path) -> None:
    segments = segment_file(cut("sound.mp4", 6, "audio"), tmp_path / "segments")
    facts = export_mp4(segments, tmp_path / "export.m4a")
    assert (facts.has_video, facts.has_audio, facts.width) == (False, True, None)
    assert facts.duration_s == pytest.approx(6.0, abs=0.1)
    assert b"M4A " in (tmp_path / "export.m4a").read_bytes()[:64]


def test_runs_follow_each_other_without_a_hole(cut: Callable, tmp_path: Path, pictures: Callable) -> None:
    first = segment_file(cut("three.mp4", 3), tmp_path / "a")
    second = segment_file(cut("three.mp4", 3), tmp_path / "b")
    facts = export_mp4([*first, *second], tmp_path / "export.mp4")
    assert facts.duration_s == pytest.approx(6.0, abs=0.1)
    assert pictures(tmp_path / "export.mp4") == 2 * pictures(cut("three.mp4", 3))


def test_a_source_that_came_back_in_another_size_is_encoded_to_that_of_the_first(cut: Callable, tmp_path: Path) -> None:
    other = tmp_path / "other.mp4"
    with av.open(str(other), "w") as out:
        video = out.add_stream("libx264", rate=30)
        video.width, video.height, video.pix_fmt = 320, 240, "yuv420p"
        for _ in range(60):
            out.mux(video.encode(av.VideoFrame(320, 240, "yuv420p")))
        out.mux(video.encode(None))
    segments = [*segment_file(cut("three.mp4", 3), tmp_path / "a"), *segment_file(other, tmp_path / "b")]
    facts = export_mp4(segments, tmp_path / "export.mp4")
    assert (facts.width, facts.height, facts.has_audio, facts.missing) == (1280, 720, True, ())
    with av.open(str(tmp_path / "export.mp4")) as media:
        # Not stretched: black bars at both sides of what was 4 to 3.
        *_, last = media.decode(video=0)
        rows = bytes(last.reformat(16, 9, "gray", interpolation=Interpolation.AREA).planes[0])
        assert (rows[0], rows[15]) == pytest.approx((0, 0), abs=20)
    with av.open(str(tmp_path / "export.mp4")) as media:
        assert sum(1 for _ in media.decode(video=0)) == 90 + 60
    with av.open(str(tmp_path / "export.mp4")) as media:
        stream = media.streams.best("video")
        assert isinstance(stream, VideoStream)
        assert float(stream.duration * stream.time_base) == pytest.approx(5.0, abs=0.1)  # type: ignore[operator]


def test_nothing_recorded_is_nothing_to_export(tmp_path: Path) -> None:
    with pytest.raises(BadMedia, match="nothing was recorded"):
        export_mp4([], tmp_path / "export.mp4")


@pytest.mark.parametrize("damage", ["missing", "empty", "garbage", "truncated"])
@pytest.mark.parametrize("which", [0, 1, -1])
def test_damaged_segment(segments: list[Segment], tmp_path: Path, pictures: Callable, damage: str, which: int) -> None:
    """One that cannot be read costs its own seconds, and they are named."""
    bad = segments[which]
    expected = [at for segment in segments if segment is not bad for at in pictures(segment.path)]
    content = bad.path.read_bytes()
    bad.path.unlink()
    if damage != "missing":
        replaced = {"empty": b"", "garbage": b"garbage" * 5000, "truncated": content[: len(content) // 2 + 1]}
        bad.path.write_bytes(replaced[damage])
    facts = export_mp4(segments, tmp_path / "export.mp4")
    [(start, end)] = facts.missing
    assert end == pytest.approx(bad.wall_end)
    found = pictures(tmp_path / "export.mp4")
    if damage == "truncated":
        assert bad.wall_start < start < bad.wall_end
        assert len(expected) < len(found) < len(expected) + bad.duration_s * 30
    else:
        assert start == pytest.approx(bad.wall_start)
        assert found == expected
        assert facts.duration_s == pytest.approx(9.0 - bad.duration_s, abs=0.1)


def test_short_segment(tmp_path: Path) -> None:
    """One of two pictures is as good as any, whoever reads it."""
    source = make_scene(tmp_path / "source.mp4", Scene(seconds=2.04, sound_rate=None))
    segments = segment_file(source, tmp_path / "segments")
    assert segments[-1].duration_s < 0.1
    assert probe(segments[-1].path).has_video
    assert keyframe(segments[-1].path, 0.0).width == 320
    assert export_mp4(segments, tmp_path / "export.mp4").missing == ()


def test_nothing_readable(segments: list[Segment], tmp_path: Path) -> None:
    for segment in segments:
        segment.path.write_bytes(b"garbage")
    with pytest.raises(BadMedia, match="can be read"):
        export_mp4(segments, tmp_path / "export.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["segments"]


def test_an_export_that_is_cancelled_leaves_no_file(segments: list[Segment], tmp_path: Path) -> None:
    class Cancelled(Exception):
        """Stop."""

    def stop(_: float) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        export_mp4(segments, tmp_path / "export.mp4", on_progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["segments"]


@pytest.mark.parametrize("content", [b"", b"no media" * 100])
def test_what_is_no_media_cannot_be_probed(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.mp4").write_bytes(content)
    with pytest.raises(BadMedia, match=r"x\.mp4"):
        probe(tmp_path / "x.mp4")


def test_a_missing_file_cannot_be_probed(tmp_path: Path) -> None:
    with pytest.raises(BadMedia, match=r"x\.mp4"):
        probe(tmp_path / "x.mp4")
