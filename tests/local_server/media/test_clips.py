"""Clips and compilations show the right pictures, wherever they are cut."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import av
import pytest

from prefect_videodb.local_server.media.clips import Part, compile_parts, join_mp4, segment_file
from prefect_videodb.local_server.media.errors import BadMedia
from prefect_videodb.local_server.media.sample import sample_meeting
from prefect_videodb.local_server.media.segments import playlist
from tests.support.media import Scene, make_scene

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MEETING = sample_meeting()


@pytest.mark.parametrize(("start_s", "end_s"), [(0.0, 3.0), (2.5, 5.2), (10.0, 10.4), (33.9, 47.05), (62.0, 64.0)])
def test_a_clip_begins_within_a_keyframe_before_its_start_and_ends_exactly(
    tmp_path: Path, pictures: Callable, start_s: float, end_s: float
) -> None:
    segments = compile_parts([Part(MEETING, start_s, end_s)], tmp_path / "clip")
    times = [at for segment in segments for at in pictures(segment.path)]
    assert times[0] == int(start_s)
    assert times[-1] == pytest.approx(int((end_s - 1 / 30) * 10 + 1e-6) / 10)
    assert len(times) == round((end_s - int(start_s)) * 30 + 0.49)
    assert sum(segment.duration_s for segment in segments) == pytest.approx(end_s - int(start_s), abs=0.04)


def test_a_clip_has_the_sound_of_its_pictures(tmp_path: Path) -> None:
    facts = join_mp4(compile_parts([Part(MEETING, 34.0, 40.0)], tmp_path / "clip"), tmp_path / "clip.mp4")
    assert facts.duration_s == pytest.approx(6.0, abs=0.1)

    def sizes(path: Path, start_s: float, end_s: float) -> list[int]:
        with av.open(str(path)) as media:
            return [
                packet.size
                for packet in media.demux(audio=0)
                if packet.pts is not None and start_s <= packet.pts * packet.time_base < end_s
            ]

    assert sizes(tmp_path / "clip.mp4", 0.5, 5.5) == sizes(MEETING, 34.5, 39.5)


def test_parts_are_runs_of_their_own_and_overlaps_are_kept(tmp_path: Path, pictures: Callable) -> None:
    parts = [Part(MEETING, 20.0, 24.0), Part(MEETING, 22.0, 25.0), Part(MEETING, 5.0, 6.0)]
    segments = compile_parts(parts, tmp_path / "clip")
    shown = [
        [at for segment in run for at in pictures(segment.path)] for _, run in groupby(segments, lambda it: it.run)
    ]
    assert [(times[0], times[-1]) for times in shown] == [(20.0, 23.9), (22.0, 24.9), (5.0, 5.9)]
    assert segments[0].wall_start == 0.0
    assert segments[-1].wall_end == pytest.approx(8.0, abs=0.05)


def test_a_compilation_of_different_files_plays_as_one(tmp_path: Path, cut: Callable) -> None:
    other = tmp_path / "other.mp4"
    with av.open(str(other), "w") as out:
        video = out.add_stream("libx264", rate=25, options={"bf": "2"})
        video.width, video.height, video.pix_fmt = 640, 360, "yuv420p"
        for _ in range(75):
            out.mux(video.encode(av.VideoFrame(640, 360, "yuv420p")))
        out.mux(video.encode(None))
    parts = [Part(MEETING, 10.0, 12.0), Part(other, 0.0, 3.0), Part(cut("sound.mp4", 6, "audio"), 1.0, 3.0)]
    segments = compile_parts(parts, tmp_path / "clip")
    text = playlist(segments, lambda segment: segment.path.name)
    assert text.count("#EXT-X-DISCONTINUITY") == 2
    for segment in segments:
        with av.open(str(segment.path)) as media:
            assert segment.has_video == bool(media.streams.video)
            assert sum(1 for _ in media.decode(video=0) if True) > 0 if segment.has_video else segment.has_audio
    assert sum(segment.duration_s for segment in segments) == pytest.approx(7.0, abs=0.2)


def test_a_compilation_that_is_repeated_replaces_what_a_killed_one_left(tmp_path: Path) -> None:
    (tmp_path / "clip.part").mkdir()
    (tmp_path / "clip.part" / "rest.ts").write_bytes(b"rest")
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "old.ts").write_bytes(b"old")
    parts = [Part(MEETING, 1.0, 4.0)]
    first = compile_parts(parts, tmp_path / "clip")
    assert compile_parts(parts, tmp_path / "clip") == first
    assert [path.name for path in tmp_path.iterdir()] == ["clip"]
    assert sorted((tmp_path / "clip").iterdir()) == [segment.path for segment in first]


@pytest.mark.parametrize(("start_s", "end_s"), [(5.0, 5.0), (6.0, 5.0), (float("nan"), 5.0), (70.0, 80.0)])
def test_an_empty_part_is_refused_and_leaves_no_file(tmp_path: Path, start_s: float, end_s: float) -> None:
    with pytest.raises(BadMedia):
        compile_parts([Part(MEETING, 1.0, 2.0), Part(MEETING, start_s, end_s)], tmp_path / "clip")
    assert not list(tmp_path.iterdir())


def test_a_part_of_what_is_no_media_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_bytes(b"no media")
    with pytest.raises(BadMedia, match=r"x\.mp4"):
        compile_parts([Part(tmp_path / "x.mp4", 0.0, 1.0)], tmp_path / "clip")
    assert [path.name for path in tmp_path.iterdir()] == ["x.mp4"]


def test_nothing_cannot_be_compiled(tmp_path: Path) -> None:
    with pytest.raises(BadMedia, match="at least one"):
        compile_parts([], tmp_path / "clip")


def test_a_part_that_begins_before_the_file_or_ends_after_it_is_cut_to_it(tmp_path: Path, pictures: Callable) -> None:
    segments = compile_parts([Part(MEETING, 62.5, 100.0), Part(MEETING, -3.0, 1.0)], tmp_path / "clip")
    times = [at for segment in segments for at in pictures(segment.path)]
    assert (times[0], times[59], times[60], times[-1]) == (62.0, 63.9, 0.0, 0.9)


def test_a_whole_file_becomes_segments_of_two_seconds(tmp_path: Path, pictures: Callable) -> None:
    segments = segment_file(MEETING, tmp_path / "all")
    assert [segment.duration_s for segment in segments] == pytest.approx([2.0] * 32)
    whole = tmp_path / "all" / "all.m3u8"
    whole.write_text(playlist(segments, lambda segment: segment.path.name))
    assert pictures(whole) == pictures(MEETING)


def test_sound_goes_on_while_the_picture_stands_still(tmp_path: Path) -> None:
    """Somebody shares a screen on which nothing moves for a quarter of a minute: no new run, nothing is lost."""
    still = tmp_path / "still.mp4"
    with av.open(str(MEETING)) as source, av.open(str(still), "w") as out:
        places = {stream.index: out.add_stream_from_template(stream) for stream in source.streams}
        sounds = 0
        for packet in source.demux(*source.streams):
            at_s = 0.0 if packet.dts is None else float(packet.dts * packet.time_base)
            if packet.dts is None or at_s >= 20 or (packet.stream.type == "video" and 2 <= at_s < 17):
                continue
            sounds += packet.stream.type == "audio" and at_s >= 0
            packet.stream = places[packet.stream_index]
            out.mux(packet)
    segments = segment_file(still, tmp_path / "segments")
    assert {segment.run for segment in segments} == {0}
    assert sum(segment.duration_s for segment in segments) == pytest.approx(20.0, abs=0.05)
    kept = 0
    for segment in segments:
        with av.open(str(segment.path)) as media:
            kept += sum(1 for packet in media.demux(audio=0) if packet.size)
    assert kept == sounds


def test_no_keyframe_in_time(tmp_path: Path, pictures: Callable) -> None:
    """A source with one keyframe in 24 s: no segment is longer than a playlist may say, and no picture is lost."""
    source = make_scene(tmp_path / "source.mp4", Scene(seconds=24, fps=10, gop=10_000))
    segments = segment_file(source, tmp_path / "segments")
    assert [segment.duration_s for segment in segments] == pytest.approx([10.45, 10.45, 3.1], abs=0.05)
    assert [segment.has_video for segment in segments] == [True, False, False]
    assert {segment.run for segment in segments} == {0}
    join_mp4(segments, tmp_path / "export.mp4")
    assert pictures(tmp_path / "export.mp4") == pictures(source)


def test_sound_before_pictures(tmp_path: Path) -> None:
    """Sound alone is recorded too, when no picture comes for long; the pictures begin a run of their own."""
    whole = make_scene(tmp_path / "whole.mp4", Scene(seconds=18, fps=10, gop=10))
    source = tmp_path / "source.mp4"
    with av.open(str(whole)) as media, av.open(str(source), "w") as out:
        places = {stream.index: out.add_stream_from_template(stream) for stream in media.streams}
        for packet in media.demux():
            if packet.dts is None or (packet.stream.type == "video" and packet.dts * packet.time_base < 13):
                continue
            packet.stream = places[packet.stream_index]
            out.mux(packet)
    segments = segment_file(source, tmp_path / "segments")
    alone = [segment for segment in segments if segment.run == 0]
    assert not any(segment.has_video for segment in alone)
    assert sum(segment.duration_s for segment in alone) == pytest.approx(13.0, abs=0.2)
    assert all(segment.has_video and segment.has_audio for segment in segments if segment.run == 1)
    assert sum(segment.duration_s for segment in segments) == pytest.approx(18.0, abs=0.2)
