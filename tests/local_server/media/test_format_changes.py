"""A source that changes its format under an open connection costs no more than the moment of the change."""

from __future__ import annotations

import struct
from fractions import Fraction
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

import av
import pytest
from av.filter import Graph

from prefect_videodb.local_server.media.export import export_mp4
from prefect_videodb.local_server.media.recorder import RecorderState
from tests.support.media import Scene, join_scenes, make_scene
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


def shown_at(path: Path, at_s: float, box: tuple[int, int]) -> float:
    """Return the time code of an export's picture at a second, scaled back from the size that it has in there."""
    with av.open(str(path)) as media:
        frame = next(frame for frame in media.decode(video=0) if (frame.time or 0.0) >= at_s - 1e-3)
    return timecode.read(unboxed(frame, *box))


def unboxed(frame: av.VideoFrame, width: int, height: int) -> av.VideoFrame:
    """Cut a picture of this size out of the middle of a frame of another shape, where it lies between black bars."""
    scale = min(Fraction(frame.width, width), Fraction(frame.height, height))
    inner = [round(side * scale / 2) * 2 for side in (width, height)]
    graph = Graph()
    steps = [graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1000))]
    steps += [graph.add("crop", f"{inner[0]}:{inner[1]}"), graph.add("scale", f"{width}:{height}:flags=neighbor")]
    graph.link_nodes(*steps, graph.add("buffersink")).configure()
    graph.push(frame)
    cut = graph.pull()
    assert isinstance(cut, av.VideoFrame)
    return cut


def frequency(path: Path, start_s: float, end_s: float) -> float:
    """Return how often a second the sound of a file crosses zero upwards."""
    crossings, before = 0, 0
    with av.open(str(path)) as media:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=48_000)
        for frame in media.decode(audio=0):
            if not start_s <= (frame.time or 0.0) < end_s:
                continue
            frame.pts = None
            for part in resampler.resample(frame):
                for (value,) in struct.iter_unpack("<h", bytes(part.planes[0])[: 2 * part.samples]):
                    # With a little hysteresis: coding leaves ripples.
                    now = 1 if value > 2000 else -1 if value < -2000 else before
                    crossings += before < 0 < now
                    before = now
    return crossings / (end_s - start_s)


@pytest.mark.parametrize("suffix", [".flv", ".ts"])
@pytest.mark.parametrize("clock", ["continuous", "restarting"])
def test_new_parameter_sets(record: Callable, tmp_path: Path, suffix: str, clock: str) -> None:
    """Another profile, size and frame rate: each is a run of its own, and the export shows all of them."""
    source = join_scenes(tmp_path / f"source{suffix}", PICTURES, restarts=clock == "restarting")
    watched = record(str(source))
    assert watched.wait_for_end()[0] is RecorderState.STOPPED
    runs = decode_runs(watched.segments)
    assert [codes[0] for codes in runs] == [0.0, 3.0, 6.0, 9.0]
    assert [len(codes) for codes in runs] == [75, 75, 75, 30]
    for earlier, later in pairwise(watched.segments):
        assert later.wall_start == pytest.approx(earlier.wall_end, abs=0.5)
    facts = export_mp4(watched.segments, tmp_path / "export.mp4")
    assert facts.duration_s == pytest.approx(12.0, abs=0.3)
    for at_s, box in ((1.5, (320, 180)), (4.5, (320, 180)), (7.5, (640, 360)), (10.5, (320, 240))):
        assert shown_at(tmp_path / "export.mp4", at_s, box) == pytest.approx(at_s, abs=0.15)
    assert frequency(tmp_path / "export.mp4", 1, 11) == pytest.approx(440, rel=0.05)


@pytest.mark.parametrize(("suffix", "wraps_at_s", "lost"), [(".ts", 2**33 / 90_000, 0), (".flv", 2**31 / 1000, 25)])
def test_time_stamps_that_wrap(record: Callable, tmp_path: Path, suffix: str, wraps_at_s: float, lost: int) -> None:
    """MPEG-TS's wrap once a day and cost nothing; FLV's, every 25 days, a keyframe interval at most."""
    source = make_scene(tmp_path / f"source{suffix}", Scene(seconds=10.0), starts_s=wraps_at_s - 5.0)
    watched = record(str(source))
    assert watched.wait_for_end()[0] is RecorderState.STOPPED
    assert sum(map(len, decode_runs(watched.segments))) >= 250 - lost
    facts = export_mp4(watched.segments, tmp_path / "export.mp4")
    assert facts.duration_s == pytest.approx(10.0, abs=0.3 + lost / 25)
    assert shown_at(tmp_path / "export.mp4", 4.5, (320, 180)) == pytest.approx(4.5, abs=0.15)
    assert shown_at(tmp_path / "export.mp4", 8.0, (320, 180)) == pytest.approx(8.0 + lost / 25, abs=0.15)


@pytest.mark.parametrize("suffix", [".flv", ".ts"])
def test_new_sound_format(record: Callable, tmp_path: Path, suffix: str) -> None:
    """Another sampling rate or number of channels: no picture is lost, and the tone stays as high as it was."""
    source = join_scenes(tmp_path / f"source{suffix}", SOUNDS)
    watched = record(str(source))
    assert watched.wait_for_end()[0] is RecorderState.STOPPED
    runs = decode_runs(watched.segments)
    assert len(runs) == 3
    assert sum(map(len, runs)) == 225
    facts = export_mp4(watched.segments, tmp_path / "export.mp4")
    assert facts.duration_s == pytest.approx(9.0, abs=0.3)
    for start_s in (1, 4, 7):
        assert frequency(tmp_path / "export.mp4", start_s, start_s + 1.5) == pytest.approx(440, rel=0.05)


@pytest.mark.parametrize(
    "scene",
    [
        Scene(pix_fmt="yuv420p10le", profile="high10"),
        Scene(pix_fmt="yuv444p", profile="high444"),
        Scene(pix_fmt="yuv422p", profile="high422"),
        Scene(options=(("x264-params", "interlaced=1"),)),
        Scene(width=352, height=288, aspect=Fraction(16, 11)),
        Scene(codec="libx265", profile=""),
    ],
    ids=["10-bit", "4:4:4", "4:2:2", "interlaced", "anamorphic", "hevc"],
)
def test_browser_support(record: Callable, tmp_path: Path, scene: Scene) -> None:
    """What browsers do not play is encoded, as a run of its own between two that are copied."""
    source = join_scenes(tmp_path / "source.ts", [Scene(), scene]) if scene.codec == "libx264" else None
    if source is None:
        source = make_scene(tmp_path / "source.mkv", scene)
    watched = record(str(source))
    assert watched.wait_for_end()[0] is RecorderState.STOPPED
    export_mp4(watched.segments, tmp_path / "export.mp4")
    for path in (*(segment.path for segment in watched.segments), tmp_path / "export.mp4"):
        with av.open(str(path)) as media:
            stream = media.streams.video[0]
            assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
            assert not any(frame.interlaced_frame for frame in media.decode(video=0))
    assert sum(map(len, decode_runs(watched.segments))) >= round(sum(s.duration_s for s in watched.segments) * 25) - 2


@pytest.mark.parametrize("turn", ["rotated 90", "rotated 180", "rotated 270", "mirrored"])
def test_display_matrix(record: Callable, tmp_path: Path, turn: str) -> None:
    """A film of a phone is shown upright, in the export and in the segments."""
    flat = make_scene(tmp_path / "flat.mp4", Scene(seconds=2.5))
    source = tmp_path / "turned.mp4"
    source.write_bytes(turned(flat.read_bytes(), turn))
    watched = record(str(source))
    assert watched.wait_for_end()[0] is RecorderState.STOPPED
    export_mp4(watched.segments, tmp_path / "export.mp4")
    for path in (watched.segments[0].path, tmp_path / "export.mp4"):
        with av.open(str(path)) as media:
            frame = next(media.decode(video=0))
            assert frame.rotation == 0
            # The light corner was at the top left.
            corner = {"rotated 90": "top right", "rotated 180": "bottom right", "rotated 270": "bottom left"}
            assert light_corner(frame) == corner.get(turn, "top right")
            assert (frame.width > frame.height) == (turn in {"rotated 180", "mirrored"})


def turned(mp4: bytes, turn: str) -> bytes:
    """Write a display matrix into the header of the file's only film."""
    one, none = 1 << 16, 0
    matrix = {
        "rotated 90": (none, one, -one, none),
        "rotated 180": (-one, none, none, -one),
        "rotated 270": (none, -one, one, none),
        "mirrored": (-one, none, none, one),
    }[turn]
    a, b, c, d = matrix
    straight = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, 1 << 30)
    at = mp4.index(straight, mp4.index(b"tkhd"))
    return mp4[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + mp4[at + len(straight) :]


def light_corner(frame: av.VideoFrame) -> str:
    """Return in which corner the lightest square of a picture lies."""
    grey = frame.reformat(format="gray")
    data, line = bytes(grey.planes[0]), grey.planes[0].line_size

    def level(x: int, y: int) -> int:
        return data[y * line + x]

    right, bottom = frame.width - 5, frame.height - 5
    corners = {"top left": (4, 4), "top right": (right, 4), "bottom left": (4, bottom), "bottom right": (right, bottom)}
    return max(corners, key=lambda name: level(*corners[name]))
