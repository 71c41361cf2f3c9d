"""Real sources and real recorders for the tests of the media package."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import av
import pytest

from prefect_videodb.local_server.media.recorder import Recorder, RecorderState
from prefect_videodb.local_server.media.rtsp_server import LoopingRTSPServer
from prefect_videodb.local_server.media.sample import sample_meeting
from tools import timecode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prefect_videodb.local_server.media.segments import MediaType, Segment

SUPPORT = Path(__file__).resolve().parents[2] / "support"
PATIENCE_S = 90.0


def wait_for(is_so: Callable[[], object], what: str) -> None:
    """Wait until something is so; fail with its name when it takes absurdly long."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, f"waited {PATIENCE_S} s for {what}"
        time.sleep(0.02)


class Watched:
    """A recorder with all that it announced."""

    def __init__(self, url: str, folder: Path, kinds: frozenset[MediaType], **more: int) -> None:
        self.segments: list[Segment] = []
        self.states: list[tuple[RecorderState, str]] = []
        self.folder = folder
        self.recorder = Recorder(
            url,
            folder,
            media_types=kinds,
            on_segment=self.segments.append,
            on_state=lambda state, message: self.states.append((state, message)),
            **more,
        )
        self.recorder.start()

    @property
    def state(self) -> RecorderState | None:
        return self.states[-1][0] if self.states else None

    def wait_for_segments(self, count: int) -> None:
        wait_for(lambda: len(self.segments) >= count or self.is_over, f"{count} segments")
        assert len(self.segments) >= count, self.states

    def wait_for_state(self, state: RecorderState) -> str:
        wait_for(lambda: any(seen is state for seen, _ in self.states), f"the state {state}")
        return next(message for seen, message in self.states if seen is state)

    @property
    def is_over(self) -> bool:
        return self.state in {RecorderState.FAILED, RecorderState.STOPPED}

    def wait_for_end(self) -> tuple[RecorderState, str]:
        wait_for(lambda: self.is_over, "the end of the recording")
        self.recorder.stop(PATIENCE_S)
        return self.states[-1]

    def stop(self) -> list[Segment]:
        self.recorder.stop(PATIENCE_S)
        return self.segments


class Process:
    """A helper process of `tests/support`, spoken to over its standard streams."""

    def __init__(self, script: str, *arguments: object) -> None:
        command = [sys.executable, str(SUPPORT / script), *map(str, arguments)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def read_line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def wait(self) -> int:
        return self.process.wait(PATIENCE_S)

    def send_signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        with suppress(BrokenPipeError):
            self.process.communicate()


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Callable[..., Watched]]:
    """Start recorders; all of them are stopped at the end."""
    started: list[Watched] = []

    def start(
        url: str, kinds: frozenset[MediaType] = frozenset({"audio", "video"}), name: str = "recording", **more: int
    ) -> Watched:
        started.append(Watched(url, tmp_path / name, kinds, **more))
        return started[-1]

    yield start
    for watched in started:
        watched.recorder.stop(PATIENCE_S)
    assert not [thread for thread in threading.enumerate() if thread.name == "recorder"]


@pytest.fixture
def run() -> Iterator[Callable[..., Process]]:
    """Start helper processes; all of them are killed at the end."""
    started: list[Process] = []

    def start(script: str, *arguments: object) -> Process:
        started.append(Process(script, *arguments))
        return started[-1]

    yield start
    for process in started:
        process.kill()


@pytest.fixture
def meeting() -> Iterator[LoopingRTSPServer]:
    """The sample meeting, live over RTSP."""
    with LoopingRTSPServer(sample_meeting()) as server:
        yield server


@pytest.fixture(scope="session")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Cut the beginning of the sample meeting into a file of any container, with some of its tracks."""
    folder = tmp_path_factory.mktemp("cuts")

    def cut(name: str, seconds: float, *kinds: str) -> Path:
        target = folder / name
        if target.exists():
            return target
        # An mp4 has its index at the front, unless its name says that it comes late.
        options = {"movflags": "+faststart"} if target.suffix == ".mp4" and not name.startswith("late") else {}
        with av.open(str(sample_meeting())) as source, av.open(str(target), "w", options=options) as out:
            streams = [stream for stream in source.streams if stream.type in (kinds or ("video", "audio"))]
            places = {stream.index: out.add_stream_from_template(stream) for stream in streams}
            for packet in source.demux(*streams):
                if packet.dts is None or packet.dts * packet.time_base >= seconds:
                    continue
                packet.stream = places[packet.stream_index]
                out.mux(packet)
        return target

    return cut


@pytest.fixture(scope="session")
def pictures() -> Callable[[Path], list[float]]:
    """Read the position in the meeting from every picture of a file or playlist."""

    def read(path: Path) -> list[float]:
        with av.open(str(path)) as media:
            return [timecode.read(frame) for frame in media.decode(video=0)]

    return read
