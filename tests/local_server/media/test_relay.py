"""Publishers come and go with other settings behind a relay that keeps the recorder's connection.

A matrix of real publishers and changes: the suite tries some of them, `VIDEODB_SOAK=yes` (`make soak`) all.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from itertools import pairwise
from typing import TYPE_CHECKING

import av
import pytest

from prefect_videodb.local_server.media.export import export_mp4
from prefect_videodb.local_server.media.recorder import RecorderState
from tests.local_server.media.conftest import wait_for
from tests.local_server.media.test_format_changes import decode_runs, frequency, unboxed
from tests.support.browser import open_page
from tests.support.media import Scene, make_scene
from tests.support.rtmp_relay import running_rtmp_relay
from tools import timecode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FIRST = Scene(seconds=4, profile="baseline")
CHANGES = {
    "same": FIRST,
    "profile": Scene(seconds=4, profile="high", options=(("x264-params", "cabac=1:8x8dct=1"),)),
    "size": Scene(seconds=4, width=640, height=360),
    "shape": Scene(seconds=4, width=320, height=240),
    "frame rate": Scene(seconds=4, fps=10, gop=10),
    "sampling rate": Scene(seconds=4, sound_rate=44_100),
    "channels": Scene(seconds=4, channels=2),
    "without sound": Scene(seconds=4, sound_rate=None),
    "10 bit": Scene(seconds=4, pix_fmt="yuv420p10le", profile="high10"),
}
SOAK = bool(os.environ.get("VIDEODB_SOAK"))
ROWS = (
    [(program, [change]) for program in ("ffmpeg", "gstreamer") for change in CHANGES]
    if SOAK
    else [("ffmpeg", ["profile", "shape"]), ("gstreamer", ["without sound", "sampling rate"])]
)


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[str]:
    with running_rtmp_relay(tmp_path / "relay") as url:
        yield f"{url}/key"


def publish(program: str, media: Path, url: str, *, has_sound: bool) -> None:
    """Publish a file at its own pace, to its end."""
    if program == "ffmpeg":
        command = ["ffmpeg", "-v", "error", "-re", "-i", str(media), "-c", "copy", "-f", "flv", url]
    else:
        command = ["gst-launch-1.0", "-q", "filesrc", f"location={media}", "!", "qtdemux", "name=d"]
        command += ["d.video_0", "!", "queue", "!", "h264parse", "!", "m."]
        if has_sound:
            command += ["d.audio_0", "!", "queue", "!", "aacparse", "!", "m."]
        command += ["flvmux", "name=m", "streamable=true", "!", "rtmp2sink", f"location={url}", "sync=true"]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed: see tools/system-packages")
    subprocess.run(command, check=True, timeout=120)


@pytest.mark.parametrize(
    ("program", "changes"), ROWS, ids=lambda value: value if isinstance(value, str) else "+".join(value)
)
def test_publisher_change(record: Callable, tmp_path: Path, relay: str, program: str, changes: list[str]) -> None:
    scenes = [FIRST, *(CHANGES[change] for change in changes)]
    watched = record(relay)
    for number, scene in enumerate(scenes):
        media = make_scene(tmp_path / f"{number}.mp4", scene, shows_s=10.0 * number)
        publish(program, media, relay, has_sound=scene.sound_rate is not None)
        time.sleep(1)
    watched.stop()
    assert [state for state, _ in watched.states].count(RecorderState.CONNECTED) == 1
    runs = [codes for codes in decode_runs(watched.segments) if codes]
    for number, scene in enumerate(scenes):
        codes = [code for run in runs for code in run if 10 * number <= code < 10 * number + 9]
        # A second of what was published may be lost where it changes; nothing may be destroyed.
        assert len(codes) >= (scene.seconds - 1) * scene.fps
    for earlier, later in pairwise(watched.segments):
        assert later.wall_start >= earlier.wall_end - 0.01
    total_s = sum(segment.duration_s for segment in watched.segments)
    facts = export_mp4(watched.segments, tmp_path / "export.mp4")
    assert facts.duration_s == pytest.approx(total_s, abs=0.5)
    assert not facts.missing
    shown = read_all(tmp_path / "export.mp4", scenes)
    for number, scene in enumerate(scenes):
        assert sum(10 * number <= code < 10 * number + 9 for code in shown) >= (scene.seconds - 1) * scene.fps
    assert frequency(tmp_path / "export.mp4", 1, 3) == pytest.approx(440, rel=0.05)
    assert played_s(tmp_path / "export.mp4") == pytest.approx(facts.duration_s, abs=0.3)


def test_track_that_comes(record: Callable, tmp_path: Path, relay: str) -> None:
    """A publisher that comes back with sound is recorded with sound."""
    watched = record(relay)
    silent = make_scene(tmp_path / "silent.mp4", Scene(seconds=4, sound_rate=None))
    publish("ffmpeg", silent, relay, has_sound=False)
    loud = make_scene(tmp_path / "loud.mp4", Scene(seconds=12))
    publish("ffmpeg", loud, relay, has_sound=True)
    wait_for(lambda: any(segment.has_audio for segment in watched.segments), "sound")
    watched.stop()


def read_all(path: Path, scenes: list[Scene]) -> list[float]:
    """Read the time codes of an export's pictures, whatever size each had before."""
    boxes = {(scene.width, scene.height) for scene in scenes}
    codes = []
    with av.open(str(path)) as media:
        for frame in media.decode(video=0):
            for box in boxes:
                try:
                    codes.append(timecode.read(unboxed(frame, *box)))
                except timecode.NoTimecodeError:
                    continue
                break
    return codes


def played_s(path: Path) -> float:
    """Play a file in a browser to its end; return how long it said that it is."""
    with open_page() as page:
        page.goto(path.parent.as_uri())
        return float(
            page.evaluate(
                """source => new Promise((done, fail) => {
                    const video = document.createElement('video');
                    video.muted = true;
                    video.onended = () => done(video.duration);
                    video.onerror = () => fail(video.error.message);
                    video.src = source;
                    video.playbackRate = 4;
                    video.play();
                })""",
                path.as_uri(),
            )
        )
