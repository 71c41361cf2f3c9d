"""The recorder against real sources: live, pushed, finite, dying, frozen, hostile; and against a full disk."""

from __future__ import annotations

import functools
import json
import signal
import socket
import subprocess
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import pytest

from prefect_videodb.local_server.media.errors import BadMedia, DiskFull, SourceUnreachable
from prefect_videodb.local_server.media.export import probe
from prefect_videodb.local_server.media.recorder import Recorder, RecorderState
from prefect_videodb.local_server.media.rtsp_server import LoopingRTSPServer
from prefect_videodb.local_server.media.sample import sample_meeting
from prefect_videodb.local_server.media.segments import playlist
from tests.local_server.media.conftest import wait_for
from tests.support.media import Scene, make_scene
from tests.support.processes import free_port
from tests.support.rtsp_proxy import RTSPProxy
from tools import timecode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prefect_videodb.local_server.media.segments import Segment

LOOP_S = 64.0


def steps(times: list[float]) -> list[float]:
    """How far each picture is behind the one before, round the end of the loop."""
    return [(after - before + LOOP_S / 2) % LOOP_S - LOOP_S / 2 for before, after in pairwise(times)]


def assert_no_picture_is_missing(times: list[float]) -> None:
    """The strip counts tenths, three pictures each: no step is longer than one of them, and none goes back."""
    assert times
    assert all(-1e-6 < step < 0.1 + 1e-6 for step in steps(times)), times


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A web server and the folder that it serves."""
    folder = tmp_path / "web"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", folder
    server.shutdown()
    thread.join()
    server.server_close()


# Live sources.


def test_a_live_stream_becomes_whole_segments_of_two_seconds_without_a_gap(
    meeting: LoopingRTSPServer, record: Callable, pictures: Callable
) -> None:
    before = time.time()
    watched = record(meeting.url)
    watched.wait_for_segments(4)
    segments = watched.stop()
    assert [state for state, _ in watched.states] == ["connecting", "connected", "stopped"]
    assert [segment.duration_s for segment in segments[:-1]] == pytest.approx([2.0] * (len(segments) - 1))
    assert all(segment.has_video and segment.has_audio and segment.run == 0 for segment in segments[:-1])
    assert_no_picture_is_missing([at for segment in segments for at in pictures(segment.path)])
    assert all(after.wall_start == pytest.approx(early.wall_end) for early, after in pairwise(segments))
    assert before <= segments[0].wall_start
    assert segments[-1].wall_end <= time.time() + 0.5


def test_the_wall_clock_of_a_recording_is_that_of_the_source(
    meeting: LoopingRTSPServer, record: Callable, pictures: Callable
) -> None:
    """Opening takes seconds in which media waits; its times must be those at which it was sent."""
    watched = record(meeting.url)
    watched.wait_for_segments(2)
    now, position_s = time.time(), meeting.position_s()
    segment = watched.segments[0]
    shown_s = pictures(segment.path)[0]
    sent_at = now - (position_s - shown_s) % LOOP_S
    # Half a second is what a busy machine may take to hand a packet on.
    assert segment.wall_start == pytest.approx(sent_at, abs=1.0)


def test_each_segment_begins_with_a_keyframe_and_plays_alone(meeting: LoopingRTSPServer, record: Callable) -> None:
    watched = record(meeting.url)
    watched.wait_for_segments(3)
    for segment in watched.stop():
        with av.open(str(segment.path)) as media:
            assert next(packet for packet in media.demux(video=0)).is_keyframe
        with av.open(str(segment.path)) as media:
            first = next(iter(media.decode(video=0)))
            assert first.key_frame
        assert probe(segment.path).has_audio == segment.has_audio


def test_stopping_twice_or_before_the_start_is_no_error(meeting: LoopingRTSPServer, tmp_path: Path) -> None:
    recorder = Recorder(
        meeting.url,
        tmp_path,
        media_types=frozenset({"video"}),
        on_segment=lambda _: None,
        on_state=lambda *_: None,
    )
    recorder.stop()
    recorder.start()
    recorder.stop(60)
    recorder.stop()


@pytest.mark.parametrize("kind", ["video", "audio"])
def test_only_the_wanted_tracks_are_kept(meeting: LoopingRTSPServer, record: Callable, kind: str) -> None:
    watched = record(meeting.url, frozenset({kind}))
    watched.wait_for_segments(2)
    segment = watched.stop()[0]
    assert (segment.has_video, segment.has_audio) == (kind == "video", kind == "audio")
    facts = probe(segment.path)
    assert (facts.has_video, facts.has_audio) == (kind == "video", kind == "audio")
    assert facts.duration_s == pytest.approx(2.0, abs=0.3)


@pytest.mark.parametrize(("kind", "missing"), [("video", "audio"), ("audio", "video")])
def test_a_source_without_a_wanted_track_is_recorded_and_the_message_says_what_is_missing(
    record: Callable, cut: Callable, kind: str, missing: str
) -> None:
    with LoopingRTSPServer(cut(f"{kind}.mp4", 8, kind)) as server:
        watched = record(server.url)
        watched.wait_for_segments(2)
        watched.stop()
    assert f"no {missing}" in watched.wait_for_state(RecorderState.CONNECTED)
    assert all(
        (segment.has_video, segment.has_audio) == (kind == "video", kind == "audio") for segment in watched.segments
    )


def test_a_source_with_none_of_the_wanted_tracks_is_bad_media(record: Callable, cut: Callable) -> None:
    watched = record(str(cut("video.mp4", 8, "video")), frozenset({"audio"}))
    state, message = watched.wait_for_end()
    assert state is RecorderState.FAILED
    assert "wanted: audio" in message
    assert isinstance(watched.recorder.error, BadMedia)


# Sources that die, freeze, come back.


def test_a_killed_source_leaves_the_recording_so_far_playable_and_is_recorded_again_when_it_is_back(
    record: Callable, run: Callable, pictures: Callable
) -> None:
    port = free_port()
    publisher = run("publisher.py", sample_meeting(), port)
    watched = record(publisher.read_line())
    watched.wait_for_segments(2)
    publisher.kill()
    watched.wait_for_state(RecorderState.RECONNECTING)
    before = list(watched.segments)
    assert_no_picture_is_missing([at for segment in before for at in pictures(segment.path)])
    run("publisher.py", sample_meeting(), port)
    watched.wait_for_segments(len(before) + 2)
    segments = watched.stop()
    assert {segment.run for segment in before} == {0}
    again = segments[len(before) :]
    assert {segment.run for segment in again} == {1}
    assert again[0].wall_start >= before[-1].wall_end
    assert [state for state, _ in watched.states].count(RecorderState.CONNECTED) == 2
    whole = watched.folder / "all.m3u8"
    whole.write_text(playlist(segments, lambda segment: segment.path.name))
    assert len(pictures(whole)) == sum(len(pictures(segment.path)) for segment in segments)


def test_a_frozen_source_is_left_and_recorded_again_when_it_goes_on(
    record: Callable, run: Callable, pictures: Callable
) -> None:
    publisher = run("publisher.py", sample_meeting(), 0)
    watched = record(publisher.read_line())
    watched.wait_for_segments(1)
    publisher.send_signal(signal.SIGSTOP)
    message = watched.wait_for_state(RecorderState.RECONNECTING)
    assert "sends nothing" in message
    frozen = len(watched.segments)
    publisher.send_signal(signal.SIGCONT)
    watched.wait_for_segments(frozen + 2)
    for segment in watched.stop():
        assert_no_picture_is_missing(pictures(segment.path))
    assert watched.segments[-1].run > watched.segments[0].run


def test_a_source_that_is_not_up_yet_is_waited_for(record: Callable, run: Callable) -> None:
    port = free_port()
    watched = record(f"rtsp://127.0.0.1:{port}/meeting")
    assert "Connection refused" in watched.wait_for_state(RecorderState.RECONNECTING)
    run("publisher.py", sample_meeting(), port)
    watched.wait_for_segments(1)
    assert watched.segments[0].run == 0


@pytest.mark.parametrize("how", ["461", "400", "500", "hang up", "silence"])
def test_udp_where_tcp_is_refused(meeting: LoopingRTSPServer, record: Callable, pictures: Callable, how: str) -> None:
    with RTSPProxy(meeting.url, refuses=frozenset({"tcp"}), how=how) as camera:
        watched = record(camera.url)
        watched.wait_for_segments(2)
        segments = watched.stop()
    assert all(segment.has_video and segment.has_audio for segment in segments[:-1])
    assert_no_picture_is_missing([at for segment in segments for at in pictures(segment.path)])


def test_neither_tcp_nor_udp(meeting: LoopingRTSPServer, record: Callable) -> None:
    with RTSPProxy(meeting.url, refuses=frozenset({"tcp", "udp"})) as camera:
        watched = record(camera.url)
        wait_for(lambda: any("neither TCP nor UDP" in message for _, message in watched.states), "the refusal of both")
        watched.stop()
    assert not watched.segments
    assert watched.state is RecorderState.STOPPED


def test_tcp_stays_the_rule(record: Callable, run: Callable) -> None:
    """Nobody there is no refusal of TCP: who comes later is asked for it first."""
    port = free_port()
    watched = record(f"rtsp://127.0.0.1:{port}/meeting")
    watched.wait_for_state(RecorderState.RECONNECTING)
    run("publisher.py", sample_meeting(), port)
    watched.wait_for_segments(1)
    watched.stop()
    assert not any("UDP" in message for _, message in watched.states)


def test_a_wrong_path_is_said_to_be_missing(meeting: LoopingRTSPServer, record: Callable) -> None:
    watched = record(meeting.url.replace("meeting", "nowhere"))
    assert "404" in watched.wait_for_state(RecorderState.RECONNECTING)


def test_garbage_instead_of_rtsp_does_no_harm_and_gives_up_nothing_but_time(record: Callable) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        done = threading.Event()

        def talk() -> None:
            while not done.is_set():
                try:
                    client, _ = server.accept()
                except TimeoutError:
                    continue
                with client:
                    client.settimeout(5.0)
                    client.recv(4096)
                    client.sendall(bytes(range(256)) * 64 + b"\r\n\r\n")

        thread = threading.Thread(target=talk)
        thread.start()
        watched = record(f"rtsp://127.0.0.1:{server.getsockname()[1]}/x")
        watched.wait_for_state(RecorderState.RECONNECTING)
        watched.stop()
        done.set()
        thread.join()
    assert not watched.segments


# Sources that publish to us.


def test_a_stream_that_is_pushed_over_rtmp_is_recorded_again_and_again(
    record: Callable, run: Callable, pictures: Callable
) -> None:
    url = f"rtmp://127.0.0.1:{free_port()}/live/secret-key"
    watched = record(f"{url}?listen=1")
    for length_s in (5.0, 3.0):
        assert run("push.py", sample_meeting(), url, length_s).wait() == 0
    watched.wait_for_segments(4)
    watched.stop()
    runs = {segment.run for segment in watched.segments}
    assert runs == {0, 1}
    for number, length_s in ((0, 5.0), (1, 3.0)):
        times = [at for segment in watched.segments if segment.run == number for at in pictures(segment.path)]
        assert_no_picture_is_missing(times)
        assert times[0] == 0.0
        assert times[-1] == pytest.approx(length_s, abs=0.3)


def test_waiting_for_a_publisher_ends_at_once_when_it_is_stopped(record: Callable) -> None:
    port = free_port()
    watched = record(f"rtmp://127.0.0.1:{port}/live/key?listen=1")
    watched.wait_for_state(RecorderState.CONNECTING)
    watched.stop()
    assert watched.state is RecorderState.STOPPED
    with socket.create_server(("127.0.0.1", port)):
        pass


# Sources with an end.


def test_a_file_is_played_at_its_own_pace_and_then_the_source_has_ended(
    record: Callable, cut: Callable, pictures: Callable
) -> None:
    began = time.monotonic()
    watched = record(f"file://{cut('short.mp4', 5)}")
    state, message = watched.wait_for_end()
    assert time.monotonic() - began > 4.0
    assert state is RecorderState.STOPPED
    assert "has ended" in message
    times = [at for segment in watched.segments for at in pictures(segment.path)]
    assert len(times) == 150
    assert (times[0], times[-1]) == (0.0, pytest.approx(4.9))
    assert sum(segment.duration_s for segment in watched.segments) == pytest.approx(5.0, abs=0.05)


@pytest.mark.parametrize("name", ["short.mp4", "short.ts"])
def test_a_file_on_a_web_server_is_recorded_to_its_end(
    record: Callable, cut: Callable, pictures: Callable, web: tuple[str, Path], name: str
) -> None:
    address, folder = web
    (folder / name).write_bytes(cut(name, 5).read_bytes())
    watched = record(f"{address}/{name}?token=hush")
    state, message = watched.wait_for_end()
    assert state is RecorderState.STOPPED
    assert "hush" not in message
    assert len([at for segment in watched.segments for at in pictures(segment.path)]) == 150


def test_a_finished_hls_playlist_is_recorded_to_its_end(
    record: Callable, cut: Callable, pictures: Callable, web: tuple[str, Path]
) -> None:
    address, folder = web
    with av.open(str(cut("short.mp4", 5))) as source:
        out = av.open(str(folder / "live.m3u8"), "w", format="hls", options={"hls_time": "1", "hls_list_size": "0"})
        with out:
            places = {stream.index: out.add_stream_from_template(stream) for stream in source.streams}
            for packet in source.demux(*source.streams):
                if packet.dts is not None:
                    packet.stream = places[packet.stream_index]
                    out.mux(packet)
    watched = record(f"{address}/live.m3u8")
    state, _ = watched.wait_for_end()
    assert state is RecorderState.STOPPED
    assert len([at for segment in watched.segments for at in pictures(segment.path)]) == 150


class LivePlaylist(BaseHTTPRequestHandler):
    """A live playlist of segments that are there already: five of them, by the clock."""

    folder: Path
    began: float

    def do_GET(self) -> None:
        name = self.path.strip("/")
        if name == "live.m3u8":
            last = min(int((time.time() - self.began) / 2), 29)
            lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:2", f"#EXT-X-MEDIA-SEQUENCE:{last - 5}"]
            for number in range(last - 5, last):
                date = datetime.fromtimestamp(self.began + 2 * number, UTC).isoformat(timespec="milliseconds")
                lines += [f"#EXT-X-PROGRAM-DATE-TIME:{date}", "#EXTINF:2.0,", f"s{number}.ts"]
            content = ("\n".join(lines) + "\n").encode()
        else:
            content = (self.folder / name).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


def test_program_date_time(record: Callable, tmp_path: Path) -> None:
    """The wall clock of a live HLS source is that of its playlist, not of the moment in which it is received."""
    whole = make_scene(tmp_path / "whole.mp4", Scene(seconds=60, fps=10, gop=10))
    command = ["ffmpeg", "-v", "error", "-i", whole, "-c", "copy", "-f", "segment", "-segment_time", "2"]
    subprocess.run([*command, tmp_path / "s%d.ts"], check=True)
    handler = type("Handler", (LivePlaylist,), {"folder": tmp_path, "began": time.time() - 20.3})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        watched = record(f"http://127.0.0.1:{server.server_address[1]}/live.m3u8")
        watched.wait_for_segments(3)
        watched.stop()
        server.shutdown()
        thread.join()
    assert len(watched.segments) >= 3
    for segment in watched.segments[:3]:
        with av.open(str(segment.path)) as media:
            shown_s = timecode.read(next(media.decode(video=0)))
        assert segment.wall_start == pytest.approx(handler.began + shown_s, abs=1.0)


def test_a_web_playlist_cannot_have_files_of_this_machine_recorded(
    record: Callable, cut: Callable, web: tuple[str, Path]
) -> None:
    address, folder = web
    local = cut("short.ts", 5)
    (folder / "evil.m3u8").write_text(
        f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile://{local}\n#EXT-X-ENDLIST\n"
    )
    watched = record(f"{address}/evil.m3u8")
    wait = watched.wait_for_end()
    assert wait[0] is RecorderState.FAILED
    assert not watched.segments


def test_what_no_browser_plays_is_encoded(record: Callable, tmp_path: Path) -> None:
    source = tmp_path / "old.mkv"
    with av.open(str(source), "w") as out:
        video = out.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 320, 240, "yuv420p"
        audio = out.add_stream("mp2", rate=44_100, layout="stereo")
        for index in range(125):
            out.mux(video.encode(av.VideoFrame(320, 240, "yuv420p")))
            sound = av.AudioFrame("s16", "stereo", 1764)
            sound.planes[0].update(bytes(index % 256 for index in range(sound.planes[0].buffer_size)))
            sound.sample_rate, sound.pts = 44_100, index * 1764
            out.mux(audio.encode(sound))
        out.mux(video.encode(None))
        out.mux(audio.encode(None))
    watched = record(str(source))
    assert watched.wait_for_end()[0] is RecorderState.STOPPED
    frames = 0
    for segment in watched.segments:
        with av.open(str(segment.path)) as media:
            assert [stream.codec_context.name for stream in media.streams] == ["h264", "aac"]
            frames += sum(1 for _ in media.decode(video=0))
    assert frames == 125
    assert [segment.duration_s for segment in watched.segments] == pytest.approx([2.0, 2.0, 1.0], abs=0.1)


# What is no media at all.


@pytest.mark.parametrize(
    ("content", "error"), [(b"", BadMedia), (b"no media at all" * 1000, BadMedia), (None, SourceUnreachable)]
)
def test_a_file_that_is_none_fails_at_once(
    record: Callable, tmp_path: Path, content: bytes | None, error: type[Exception]
) -> None:
    source = tmp_path / "source.mp4"
    if content is not None:
        source.write_bytes(content)
    watched = record(str(source))
    state, message = watched.wait_for_end()
    assert state is RecorderState.FAILED
    assert "source.mp4" in message
    assert isinstance(watched.recorder.error, error)
    assert not watched.segments


def test_a_truncated_mp4_with_its_index_at_the_end_is_bad_media(
    record: Callable, cut: Callable, tmp_path: Path
) -> None:
    whole = cut("late-index.mp4", 5).read_bytes()
    source = tmp_path / "cut-off.mp4"
    source.write_bytes(whole[: len(whole) // 2])
    watched = record(str(source))
    assert watched.wait_for_end()[0] is RecorderState.FAILED
    assert isinstance(watched.recorder.error, BadMedia)


def test_a_truncated_mp4_with_its_index_at_the_front_is_recorded_as_far_as_it_goes(
    record: Callable, tmp_path: Path, pictures: Callable
) -> None:
    source = tmp_path / "cut-off.mp4"
    whole = sample_meeting().read_bytes()
    source.write_bytes(whole[: len(whole) // 12])
    watched = record(str(source))
    assert watched.wait_for_end()[0] is RecorderState.STOPPED
    times = [at for segment in watched.segments for at in pictures(segment.path)]
    assert times[0] == 0.0
    assert 0.5 < times[-1] < LOOP_S / 2


@pytest.mark.parametrize(
    "url",
    [
        "concat:/etc/passwd|/etc/shadow",
        "ftp://127.0.0.1/x.mp4",
        "subfile,,start,0,end,9,,:/etc/passwd",
        "data://text/plain,x",
        "rtsp://",
        "rtsp://host:port/x",
        "http://[::1/x",
        "a\x00b",
    ],
)
def test_an_address_of_another_kind_is_refused_or_at_most_a_file_that_does_not_exist(url: str, tmp_path: Path) -> None:
    states: list[RecorderState] = []
    try:
        recorder = Recorder(
            url,
            tmp_path,
            media_types=frozenset({"video"}),
            on_segment=lambda _: None,
            on_state=lambda state, _: states.append(state),
        )
    except BadMedia:
        return
    recorder.start()
    recorder.stop(60)
    assert states[-1] is RecorderState.FAILED
    assert isinstance(recorder.error, SourceUnreachable)


def test_no_message_tells_a_secret_of_the_address(record: Callable, meeting: LoopingRTSPServer) -> None:
    port = free_port()
    secret = "hush-hush"
    watched = [
        record(f"rtsp://{secret}:{secret}@127.0.0.1:{port}/x?token={secret}", name="a"),
        record(f"rtmp://127.0.0.1:{port}/live/{secret}", name="b"),
        record(f"http://{secret}@127.0.0.1:{port}/x.m3u8?token={secret}", name="c"),
        record(meeting.url.replace("rtsp://", f"rtsp://user:{secret}@") + f"?key={secret}", name="d"),
    ]
    for each in watched[:3]:
        each.wait_for_state(RecorderState.RECONNECTING)
    watched[3].wait_for_state(RecorderState.CONNECTED)
    for each in watched:
        each.stop()
        assert secret not in repr(each.states)
        assert secret not in repr(vars(each.recorder))


# Disks and deaths.


def test_an_almost_full_disk_ends_the_recording_before_it_is_full(record: Callable, meeting: LoopingRTSPServer) -> None:
    watched = record(meeting.url, min_free_bytes=1 << 62)
    state, message = watched.wait_for_end()
    assert state is RecorderState.FAILED
    assert "disk" in message
    assert isinstance(watched.recorder.error, DiskFull)
    assert list(watched.folder.iterdir()) == []


def test_a_disk_that_takes_no_more_ends_the_recording_and_keeps_what_there_is(
    run: Callable, meeting: LoopingRTSPServer, tmp_path: Path, pictures: Callable
) -> None:
    """A limit on the size of files stands for the disk: each segment must stay below it, one does not."""
    recording = run("record.py", meeting.url, tmp_path, 66_000)
    said = [json.loads(line) for line in iter(recording.read_line, "")]
    assert said[-1] == {"error": "DiskFull"}
    assert said[-2]["state"] == "failed"
    kept = [Path(line["segment"]) for line in said if "segment" in line]
    assert sorted(tmp_path.iterdir()) == kept
    for path in kept:
        assert_no_picture_is_missing(pictures(path))


def test_a_recorder_that_is_killed_leaves_every_announced_segment_whole(
    run: Callable, meeting: LoopingRTSPServer, tmp_path: Path, pictures: Callable, record: Callable
) -> None:
    folder = tmp_path / "recording"
    recording = run("record.py", meeting.url, folder)
    announced: list[dict[str, Any]] = []
    while len(announced) < 3:
        line = json.loads(recording.read_line())
        if "segment" in line:
            announced.append(line)
    recording.kill()
    assert_no_picture_is_missing([at for line in announced for at in pictures(Path(line["segment"]))])
    for line in announced:
        assert len(pictures(Path(line["segment"]))) == round(line["duration_s"] * 30)
    # The next recorder of the same folder clears away what was not finished.
    watched = record(meeting.url, first_run=1)
    watched.wait_for_segments(1)
    watched.stop()
    assert not list(folder.glob("*.part"))
    assert all(Path(line["segment"]).exists() for line in announced)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_broken_listener_ends_the_recording_as_failed(meeting: LoopingRTSPServer, tmp_path: Path) -> None:
    states: list[RecorderState] = []

    def break_down(segment: Segment) -> None:
        raise ZeroDivisionError(segment.path.name)

    recorder = Recorder(
        meeting.url,
        tmp_path,
        media_types=frozenset({"video"}),
        on_segment=break_down,
        on_state=lambda state, _: states.append(state),
    )
    recorder.start()
    deadline = time.monotonic() + 60
    while RecorderState.FAILED not in states:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    recorder.stop(60)
