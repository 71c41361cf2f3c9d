"""A source that changes its format under an open connection costs no more than the moment of the change."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import av
import pytest
from av.video.stream import VideoStream

from prefect_videodb.local_server.media.export import export_mp4
from prefect_videodb.local_server.media.recorder import RecorderState
from tests.support.media import Scene, join_scenes
from tools import timecode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prefect_videodb.local_server.media.segments import Segment

PICTURES = [
    Scene(profile="baseline"),
    Scene(profile="high", options=(("x264-params", "cabac=1:8x8dct=1"),)),
    Scene(width=640, height=360, profile="main"),
    Scene(width=320, height=240, fps=10, gop=10),
]
SOUNDS = [
    Scene(sound_rate=44_100),
    Scene(sound_rate=48_000, channels=2),
    Scene(sound_rate=22_050),
]


def decode_runs(segments: list[Segment]) -> list[list[float]]:
    """Decode each run by itself; return the time codes of its pictures."""
    runs = []
    for _, run in groupby(segments, lambda segment: segment.run):
        codes: list[float] = []
        for segment in run:
            with av.open(str(segment.path)) as media:
                codes += [timecode.read(frame) for frame in media.decode(video=0)]
        runs.append(codes)
    return runs


@pytest.mark.parametrize("suffix", [".flv", ".ts"])
@pytest.mark.parametrize("restarts", [False, True], ids=["continuous", "restarting"])
def test_new_parameter_sets_begin_a_run(
    record: Callable, tmp_path: Path, pictures: Callable, suffix: str, restarts: bool
) -> None:
    source = join_scenes(tmp_path / f"source{suffix}", PICTURES, restarts=restarts)
    watched = record(str(source))
    assert watched.wait_for_end()[0] is RecorderState.STOPPED
    runs = decode_runs(watched.segments)
    assert [codes[0] for codes in runs] == [0.0, 3.0, 6.0, 9.0]
    assert [len(codes) for codes in runs] == [75, 75, 75, 30]
    for earlier, later in zip(watched.segments, watched.segments[1:], strict=False):
        assert later.wall_start == pytest.approx(earlier.wall_end, abs=0.5)
    facts = export_mp4(watched.segments, tmp_path / "export.mp4")
    assert facts.duration_s == pytest.approx(12.0, abs=0.3)
