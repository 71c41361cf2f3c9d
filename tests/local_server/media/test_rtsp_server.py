"""The looping RTSP server: any client, any number of them, and none that harms the others."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import threading
import time
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Self

import av
import pytest

from prefect_videodb.local_server.media.errors import BadMedia
from prefect_videodb.local_server.media.rtp import LoopedMedia
from prefect_videodb.local_server.media.rtsp_server import LoopingRTSPServer
from prefect_videodb.local_server.media.sample import sample_meeting
from tools import timecode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOOP_S = 64.0


def watch(url: str, pictures: int, transport: str = "tcp") -> list[float]:
    """Decode so many pictures; return where in the meeting each is."""
    with av.open(url, options={"rtsp_transport": transport}, timeout=(60, 60)) as source:
        times: list[float] = []
        for frame in source.decode(video=0):
            times.append(timecode.read(frame))
            if len(times) == pictures:
                break
        return times


def steps(times: list[float]) -> list[float]:
    return [(after - before + LOOP_S / 2) % LOOP_S - LOOP_S / 2 for before, after in pairwise(times)]


class Client:
    """A client that says what it is told to, byte by byte."""

    def __init__(self, url: str) -> None:
        host, port = re.findall(r"//([^:/]+):(\d+)", url)[0]
        self.url = url
        self.socket = socket.create_connection((host, int(port)), timeout=60)
        self.sequence = 0

    def ask(self, method: str, url: str | None = None, **headers: str) -> str:
        self.sequence += 1
        lines = [f"{method} {url or self.url} RTSP/1.0", f"CSeq: {self.sequence}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        return self.say(("\r\n".join(lines) + "\r\n\r\n").encode())

    def say(self, data: bytes) -> str:
        """Send bytes; return the first line of the answer, or nothing when the server hung up."""
        with suppress(ConnectionError):
            self.socket.sendall(data)
            self.answer = self.socket.recv(65536).decode(errors="replace")
            return self.answer.partition("\r\n")[0]
        return ""

    def set_up(self, track: int = 0, transport: str = "RTP/AVP/TCP;unicast;interleaved=0-1") -> str:
        line = self.ask("SETUP", f"{self.url}/track{track}", Transport=transport)
        self.session = "".join(re.findall(r"Session: (\w+)", self.answer))
        return line

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def is_alive(server: LoopingRTSPServer) -> bool:
    with Client(server.url) as client:
        return client.ask("OPTIONS") == "RTSP/1.0 200 OK"


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_pictures_arrive_in_order_over_either_transport(meeting: LoopingRTSPServer, transport: str) -> None:
    times = watch(meeting.url, 45, transport)
    assert all(-1e-6 < step < 0.1 + 1e-6 for step in steps(times))


def test_the_loop_goes_on_from_its_end_with_time_stamps_that_never_go_back(cut: Callable) -> None:
    with (
        LoopingRTSPServer(cut("two.mp4", 2)) as server,
        av.open(server.url, options={"rtsp_transport": "tcp"}, timeout=(60, 60)) as source,
    ):
        seen: dict[str, list[float]] = {"video": [], "audio": []}
        for packet in source.demux():
            if packet.dts is not None:
                seen[packet.stream.type].append(float(packet.dts * packet.time_base))
            if seen["video"] and seen["video"][-1] > 6.5:
                break
    for kind, usual_s in (("video", 1 / 30), ("audio", 1024 / 48_000)):
        gaps = [after - before for before, after in pairwise(seen[kind])]
        assert gaps, kind
        assert min(gaps) > 0
        # At the seam the shorter of the two tracks waits for the longer.
        assert max(gaps) < usual_s + 0.05
    assert seen["audio"][-1] == pytest.approx(seen["video"][-1], abs=0.5)


def test_who_comes_later_joins_in_the_middle_where_everybody_is(meeting: LoopingRTSPServer) -> None:
    first = watch(meeting.url, 3)[0]
    second = watch(meeting.url, 3)[0]
    assert 0 < (second - first) % LOOP_S < LOOP_S / 2
    assert 0 <= meeting.position_s() < LOOP_S


def test_many_clients_see_the_same_at_once(meeting: LoopingRTSPServer) -> None:
    results: list[list[float]] = []
    threads = [threading.Thread(target=lambda: results.append(watch(meeting.url, 30))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert all(-1e-6 < step < 0.1 + 1e-6 for times in results for step in steps(times))


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="ffprobe is not installed")
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_ffprobe_finds_both_tracks(meeting: LoopingRTSPServer, transport: str) -> None:
    command = ["ffprobe", "-v", "error", "-rtsp_transport", transport, "-show_entries", "stream=codec_name,width"]
    probed = subprocess.run(
        [*command, "-of", "csv=p=0", meeting.url], capture_output=True, text=True, check=True, timeout=90
    )
    assert probed.stdout.split() == ["h264,1280", "aac"]


def test_a_client_that_takes_nothing_is_dropped_and_the_others_go_on(tmp_path: Path) -> None:
    heavy = tmp_path / "heavy.mp4"
    with av.open(str(heavy), "w") as out:
        video = out.add_stream("libx264", rate=30, options={"qp": "0", "preset": "ultrafast", "bf": "0"})
        video.width, video.height, video.pix_fmt = 640, 480, "yuv420p"
        for _ in range(30):
            frame = av.VideoFrame(640, 480, "yuv420p")
            for plane in frame.planes:
                plane.update(os.urandom(plane.buffer_size))
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    with LoopingRTSPServer(heavy) as server, Client(server.url) as lazy:
        lazy.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        assert lazy.set_up() == "RTSP/1.0 200 OK"
        lazy.ask("PLAY", Session=lazy.session)
        deadline = time.monotonic() + 90
        while server.clients:
            assert time.monotonic() < deadline, "the client is still there"
            time.sleep(0.05)
        assert is_alive(server)


def test_a_client_that_dies_in_the_middle_leaves_nothing(meeting: LoopingRTSPServer) -> None:
    with Client(meeting.url) as client:
        client.set_up()
        client.ask("PLAY", Session=client.session)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    deadline = time.monotonic() + 60
    while meeting.clients:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert is_alive(meeting)


def test_a_polite_session_ends_with_teardown(meeting: LoopingRTSPServer) -> None:
    with Client(meeting.url) as client:
        assert client.ask("OPTIONS") == "RTSP/1.0 200 OK"
        assert "DESCRIBE" in client.answer
        assert client.ask("DESCRIBE", Accept="application/sdp") == "RTSP/1.0 200 OK"
        assert "H264/90000" in client.answer
        assert "MPEG4-GENERIC/48000/1" in client.answer
        assert client.set_up(1) == "RTSP/1.0 200 OK"
        assert client.ask("GET_PARAMETER", Session=client.session) == "RTSP/1.0 200 OK"
        assert client.ask("TEARDOWN", Session=client.session) == "RTSP/1.0 200 OK"
        assert client.socket.recv(1) == b""


@pytest.mark.parametrize(
    "bytes_said",
    [
        b"\x00" * 20_000,
        b"OPTIONS * RTSP/1.0\r\nX: " + b"a" * 20_000,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"OPTIONS *\r\n\r\n",
        b"OPTIONS * RTSP/1.0\r\nno colon here\r\n\r\n",
        b"OPTIONS * RTSP/1.0\r\n\r\n",
        b"OPTIONS * RTSP/1.0\r\nCSeq: 1\x0b2\r\n\r\n",
        b"OPTIONS * RTSP/1.0\r\nCSeq: -1\r\n\r\n",
        b"OPTIONS * RTSP/1.0\r\nCSeq: 99999999999999999999\r\n\r\n",
        b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 999999999999\r\n\r\n",
        b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nContent-Length: -5\r\n\r\n",
        b"\xff\xfe\xfd * RTSP/1.0\r\nCSeq: 1\r\n\r\n",
    ],
)
def test_hostile_bytes_are_refused_without_harm(meeting: LoopingRTSPServer, bytes_said: bytes) -> None:
    with Client(meeting.url) as client:
        assert client.say(bytes_said) in {"RTSP/1.0 400 Bad Request", ""}
        with suppress(ConnectionError):
            assert client.socket.recv(1) == b""
    assert is_alive(meeting)


def test_requests_out_of_order_or_place_are_refused(meeting: LoopingRTSPServer) -> None:
    with Client(meeting.url) as client:
        assert client.ask("PLAY") == "RTSP/1.0 454 Session Not Found"
        assert client.ask("TEARDOWN", Session="made-up") == "RTSP/1.0 454 Session Not Found"
        assert client.ask("RECORD") == "RTSP/1.0 405 Method Not Allowed"
        assert client.ask("DESCRIBE", "rtsp://127.0.0.1/other") == "RTSP/1.0 404 Not Found"
        assert client.ask("DESCRIBE", "rtsp://[/meeting") == "RTSP/1.0 400 Bad Request"
        assert client.ask("SETUP", f"{meeting.url}/track9", Transport="RTP/AVP/TCP") == "RTSP/1.0 404 Not Found"
        assert client.ask("SETUP", meeting.url, Transport="RTP/AVP/TCP").startswith("RTSP/1.0 455")
        for transport in (
            "",
            "RTP/AVP;multicast",
            "RTP/AVP;unicast;client_port=22-23",
            "RTP/AVP;unicast;client_port=70000-70001",
            "RTP/AVP;unicast;client_port=x-y",
            "RTP/AVP/TCP;interleaved=400-401",
            "MAGIC",
        ):
            assert client.set_up(0, transport) == "RTSP/1.0 461 Unsupported Transport", transport
        assert client.set_up() == "RTSP/1.0 200 OK"
        assert client.ask("PLAY", Session="stolen") == "RTSP/1.0 454 Session Not Found"
    assert is_alive(meeting)


def test_requests_may_come_in_pieces_and_together(meeting: LoopingRTSPServer) -> None:
    with Client(meeting.url) as client:
        for byte in b"OPTIONS * RTSP/1.0\r\nCSeq: 7\r\n\r":
            client.socket.sendall(bytes([byte]))
        both = b"\n$\x01\x00\x04ABCDOPTIONS * RTSP/1.0\r\nCSeq: 8\r\nContent-Length: 3\r\n\r\nxyz"
        assert client.say(both) == "RTSP/1.0 200 OK"
        while "CSeq: 8" not in client.answer:
            client.answer += client.socket.recv(4096).decode()
        assert client.answer.index("CSeq: 7") < client.answer.index("CSeq: 8")


def test_closing_ends_every_connection_and_frees_the_port() -> None:
    with LoopingRTSPServer(sample_meeting(), path="room/one") as server:
        assert server.url.endswith("/room/one")
        client = Client(server.url)
        assert client.ask("OPTIONS") == "RTSP/1.0 200 OK"
    with client, suppress(ConnectionError):
        assert client.socket.recv(1) == b""
    server.close()
    port = int(re.findall(r":(\d+)/", server.url)[0])
    with socket.create_server(("127.0.0.1", port)):
        pass
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(f"rtsp-server-{port}")]


@pytest.mark.parametrize("content", [None, b"", b"no media" * 100])
def test_what_is_no_media_cannot_be_served(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadMedia, match=r"x\.mp4"):
        LoopingRTSPServer(path)


def test_other_codecs_than_h264_and_aac_are_refused(cut: Callable) -> None:
    with pytest.raises(BadMedia, match="only an mp4"):
        LoopingRTSPServer(cut("short.ts", 3))


def test_numbers_and_time_stamps_go_on_from_loop_to_loop() -> None:
    media = LoopedMedia(sample_meeting())
    for number, track in enumerate(media.tracks):
        units = [unit for unit in media.units if unit.track == number]
        last = list(media.packets(0, units[-1]))[-1]
        first = next(media.packets(1, units[0]))
        sequences = [int.from_bytes(packet[2:4], "big") for packet in (last, first)]
        assert (sequences[0] + 1) % 65_536 == sequences[1]
        ticks = [int.from_bytes(packet[4:8], "big") for packet in (last, first)]
        assert 0 < (ticks[1] - ticks[0]) / track.clock < 0.05
    assert media.position(0.0) == (0, 0)
    assert media.position(media.period_s - 1e-4) == (1, 0)
    assert media.position(2 * media.period_s)[0] == 2
