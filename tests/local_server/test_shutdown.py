"""SIGTERM ends the server within ten seconds, whatever it does at that moment."""

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect as websocket

from prefect_videodb.local_server import LocalServer
from tests.local_server.conftest import KEY, Api, wait_until
from tests.local_server.test_command import Running, run_server
from tests.support.processes import free_port

# Ten by the contract; the rest is for a machine that does other work beside.
ENDS_WITHIN_S = 10.0 + 10.0


@dataclass(frozen=True)
class Scene:
    """A server in a process of its own, and what a state needs beside it."""

    server: Running
    api: Api
    sample_url: str
    stack: ExitStack


@contextmanager
def silent_peer(greeting: bytes = b"") -> Iterator[tuple[int, threading.Event]]:
    """Accept every connection and say no more than a greeting; yields the port, and an event set by a connection."""
    came = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as stack:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return  # the block ended
                stack.enter_context(connection)
                connection.sendall(greeting)
                came.set()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1], came
        listener.shutdown(socket.SHUT_RDWR)


def _connect(scene: Scene, url: str) -> str:
    return scene.api.connect(url)


def idle(_: Scene) -> None:
    """Nothing runs."""


def websocket_open(scene: Scene) -> None:
    """A reader is connected, and reads nothing."""
    url = scene.api.data("GET", "/collection/default/websocket")["websocket_url"]
    assert "connection_id" in str(scene.stack.enter_context(websocket(url)).recv())


def rtsp_source_silent(scene: Scene) -> None:
    """The source takes the connection and never answers."""
    port, came = scene.stack.enter_context(silent_peer())
    _connect(scene, f"rtsp://127.0.0.1:{port}/camera")
    assert came.wait(60)


def http_source_silent(scene: Scene) -> None:
    """The source answers with a head and no body."""
    port, came = scene.stack.enter_context(silent_peer(b"HTTP/1.1 200 OK\r\ncontent-type: video/mp2t\r\n\r\n"))
    _connect(scene, f"http://127.0.0.1:{port}/live.ts")
    assert came.wait(60)


def rtmp_source_silent(scene: Scene) -> None:
    """The source takes the connection and never answers."""
    port, came = scene.stack.enter_context(silent_peer())
    _connect(scene, f"rtmp://127.0.0.1:{port}/app/key")
    assert came.wait(60)


def publisher_awaited(scene: Scene) -> None:
    """A source that is to come has not come."""
    _connect(scene, f"rtmp://127.0.0.1:{free_port()}/app/key?listen=1")
    time.sleep(1)


def publisher_silent(scene: Scene) -> None:
    """A publisher connected, and says nothing."""
    port = free_port()
    _connect(scene, f"rtmp://127.0.0.1:{port}/app/key?listen=1")

    def publish() -> bool:
        try:
            scene.stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        except OSError:
            return False
        return True

    wait_until(publish)


def stop_under_way(scene: Scene) -> None:
    """A stop waits for a source that hangs."""
    rtsp_source_silent(scene)
    stream_id = scene.api.data("GET", "/rtstream")["results"][0]["id"]
    _in_background(scene, "PATCH", f"/rtstream/{stream_id}/status", json={"action": "stop"})
    wait_until(lambda: scene.api.data("GET", f"/rtstream/{stream_id}")["status"] == "stopped")


def meeting_recorded(scene: Scene) -> None:
    """A bot is in a meeting, and a capture session runs."""
    scene.api.data("POST", "/collection/default/meeting/record", json={"meeting_url": "https://example.com/m"})


def stream_analysed(scene: Scene) -> None:
    """A stream is recorded, listened to and looked at."""
    stream_id = scene.api.connect(scene.sample_url, enable_transcript=True)
    for kind, config in (("time", {"time": 2}), ("transcript", {"segmenter": "word"})):
        body = {"extraction_type": kind, "extraction_config": config}
        scene.api.data("POST", f"/rtstream/{stream_id}/index/scene", json=body)
    since = time.time() - 60
    wait_until(lambda: scene.api.recorded_s(stream_id, since) >= 4)


def speech_recognized(scene: Scene) -> None:
    """The spoken words of a video are being indexed."""
    since = time.time()
    stream_id = scene.api.connect(scene.sample_url)
    wait_until(lambda: scene.api.recorded_s(stream_id, since) >= 10)
    scene.api.stop(stream_id)
    video_id = scene.api.data("POST", f"/rtstream/{stream_id}/export", json={})["video_id"]
    body = {"index_type": "spoken_word", "force": True}
    _in_background(scene, "POST", f"/video/{video_id}/index", json=body)
    path = f"/video/{video_id}/index?index_type=spoken_word"
    wait_until(lambda: scene.api.get(path).json().get("status") == "processing")


def receiver_hangs(scene: Scene, greeting: bytes = b"") -> None:
    """Somebody takes a webhook and does not answer."""
    port, came = scene.stack.enter_context(silent_peer(greeting))
    body = {"end_user_id": "u", "callback_url": f"http://127.0.0.1:{port}/hook"}
    session = scene.api.data("POST", "/collection/default/capture/session", json=body)["session_id"]
    channel = {"channel_id": "screen", "name": "Screen", "type": "video", "store": False}
    scene.api.data("POST", "/capture/session/start", json={"session_id": session, "channels": [channel]})
    assert came.wait(60)


def receiver_drips(scene: Scene) -> None:
    """Somebody takes a webhook and never ends the head of the answer."""
    receiver_hangs(scene, b"HTTP/1.1 200 OK\r\nx-header: ")


def reader_of_the_sample(scene: Scene) -> None:
    """An RTSP client is connected, and says nothing."""
    host, _, port = scene.sample_url.removeprefix("rtsp://").partition("/")[0].partition(":")
    scene.stack.enter_context(socket.create_connection((host, int(port))))


def half_a_request(scene: Scene) -> None:
    """A caller sent half a head, another one half a body."""
    address = httpx.URL(scene.server.base_url)
    for sent in (
        b"GET / HTTP/1.1\r\nHost: ",
        b"POST /rtstream HTTP/1.1\r\nHost: localhost\r\nx-access-token: %b\r\nContent-Length: 100\r\n\r\n{"
        % KEY.encode(),
    ):
        connection = scene.stack.enter_context(socket.create_connection((address.host, address.port or 0)))
        connection.sendall(sent)
    time.sleep(0.5)


def _in_background(scene: Scene, method: str, path: str, **arguments: Any) -> None:
    def ask() -> None:
        try:
            with Api(scene.server.base_url) as api:
                api.request(method, path, **arguments)
        except httpx.TransportError:
            return  # the server ended before it answered

    asking = threading.Thread(target=ask)
    asking.start()
    scene.stack.callback(asking.join)


STATES: list[Callable[[Scene], None]] = [
    idle,
    websocket_open,
    rtsp_source_silent,
    http_source_silent,
    rtmp_source_silent,
    publisher_awaited,
    publisher_silent,
    stop_under_way,
    meeting_recorded,
    stream_analysed,
    speech_recognized,
    receiver_hangs,
    receiver_drips,
    reader_of_the_sample,
    half_a_request,
]


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_graceful_shutdown(state: Callable[[Scene], None], data: Path) -> None:
    with run_server(data, "--key", KEY) as server, Api(server.base_url) as api, ExitStack() as stack:
        scene = Scene(server, api, server.output.split()[-1], stack)
        state(scene)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(ENDS_WITHIN_S) == 0
    # What it left can be taken over.
    with LocalServer(data, sample=False):
        pass


def test_lost_signal_wakeup() -> None:
    """A signal whose handler in C ran in another thread, or just before the main thread began to wait, is not lost."""
    code = """
import os, signal, threading
from prefect_videodb.local_server.__main__ import stop_on_signal

stop = stop_on_signal()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # of this thread: another one takes the signal
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
print(stop.wait(60))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert ended.stdout.strip() == "True"
