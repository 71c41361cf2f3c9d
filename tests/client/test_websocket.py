"""The WebSocket connection: told its id, made anew when it is lost, closed when it is over."""

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from prefect_videodb.client import AsyncClient, Client, alerts, indexes, streams
from prefect_videodb.client.models import AlertFrame, Connected, Frame, TranscriptFrame
from prefect_videodb.client.websocket import AsyncWebSocketConnection, WebSocketConnection
from prefect_videodb.errors import AuthenticationError, NotConnected, UnexpectedAnswer
from prefect_videodb.local_server import LocalServer
from tests.support.certificates import make_authority
from tests.support.processes import free_port
from tests.support.recording_server import RecordingServer, envelope

KEY = "sk-websocket"


@pytest.fixture
def videodb(tmp_path: Path) -> Iterator[LocalServer]:
    with LocalServer(tmp_path / "videodb", api_key=KEY, sample=False) as server:
        yield server


@pytest.fixture
def client(videodb: LocalServer) -> Iterator[Client]:
    with Client(api_key=KEY, base_url=videodb.base_url) as client:
        yield client


def test_a_connection_is_told_its_id_before_anything_else(client: Client) -> None:
    with WebSocketConnection(client) as socket:
        connection_id = socket.connection_id
        [first] = list(socket.frames(duration_s=0.2))
    assert isinstance(first, Connected)
    assert first.connection_id == connection_id
    assert first.previous_id is None


@pytest.mark.parametrize(
    "url",
    [
        "ws://169.254.169.254/x",
        "ws://[fe80::1]/x",
        "ws://168.63.129.16/x",
        "ws://user:hunter22@127.0.0.1/x",
        "ws://[/x",
    ],
)
def test_address_inside_the_network_is_not_connected(url: str) -> None:
    with RecordingServer() as server, Client(api_key=KEY, base_url=server.url) as client:
        server.tell(envelope({"websocket_url": url}))
        with pytest.raises(UnexpectedAnswer) as caught:
            WebSocketConnection(client).connect()
        with pytest.raises(UnexpectedAnswer):
            asyncio.run(_connected_async(server.url))
    assert "hunter" not in str(caught.value)


async def _connected_async(base_url: str) -> None:
    async with AsyncClient(api_key=KEY, base_url=base_url) as client:
        await AsyncWebSocketConnection(client).connect()


def test_a_connection_that_was_never_made_has_no_id(client: Client) -> None:
    with pytest.raises(NotConnected, match="not connected"):
        _ = WebSocketConnection(client).connection_id


def test_two_connections_are_two(client: Client) -> None:
    with WebSocketConnection(client) as one, WebSocketConnection(client) as other:
        assert one.connection_id != other.connection_id


def test_a_connection_that_is_lost_is_made_anew_and_says_so(tmp_path: Path) -> None:
    port = free_port()
    frames: list[Frame] = []
    again = threading.Event()

    def listen(socket: WebSocketConnection) -> None:
        for frame in socket.frames():
            frames.append(frame)
            if len(frames) == 2:
                again.set()
                return

    def server() -> LocalServer:
        return LocalServer(tmp_path / "data", api_key=KEY, port=port, sample=False)

    with Client(api_key=KEY, base_url=f"http://127.0.0.1:{port}") as client:
        socket = WebSocketConnection(client)
        with server():
            first_id = socket.connect().connection_id
            thread = threading.Thread(target=listen, args=(socket,))
            thread.start()
        # Nobody listens for a moment: the tries in between fail.
        assert not again.wait(0.7)
        with server():
            assert again.wait(120)
            thread.join()
            socket.close()
    first, second = frames
    assert isinstance(first, Connected)
    assert isinstance(second, Connected)
    assert second.previous_id == first.connection_id == first_id
    assert second.connection_id not in {None, first_id}


def test_asyncio_has_the_same(tmp_path: Path) -> None:
    port = free_port()

    def server() -> LocalServer:
        return LocalServer(tmp_path / "data", api_key=KEY, port=port, sample=False)

    async def ids() -> list[tuple[str | None, str | None]]:
        async with AsyncClient(api_key=KEY, base_url=f"http://127.0.0.1:{port}") as client:
            running = server()
            running.__enter__()
            async with AsyncWebSocketConnection(client) as socket:
                found: list[tuple[str | None, str | None]] = []
                async for frame in socket.frames(duration_s=120):
                    assert isinstance(frame, Connected)
                    found.append((frame.connection_id, frame.previous_id))
                    if len(found) == 2:
                        break
                    await asyncio.to_thread(running.__exit__)
                    running = server()
                    await asyncio.to_thread(running.__enter__)
            await asyncio.to_thread(running.__exit__)
            return found

    first, second = asyncio.run(ids())
    assert first[1] is None
    assert second[1] == first[0] != second[0]


def test_frames_of_a_stream_come_typed_and_in_seconds(tmp_path: Path) -> None:
    with (
        LocalServer(tmp_path / "data", api_key=KEY) as server,
        Client(api_key=KEY, base_url=server.base_url) as client,
        WebSocketConnection(client) as socket,
    ):
        stream = client.send(
            streams.connect(
                server.sample_url,
                "Room",
                media_types=("audio", "video"),
                enable_transcript=True,
                ws_connection_id=socket.connection_id,
            )
        )
        index = client.send(indexes.visuals(stream.id, batch_config={"type": "time", "value": 2, "frame_count": 1}))
        event = client.send(alerts.create_event("product meeting", "shown"))
        client.send(
            alerts.create(stream.id, index.id, event.id, "http://127.0.0.1:9/", ws_connection_id=socket.connection_id)
        )
        kinds: dict[type[Frame], Frame] = {}
        for frame in socket.frames(duration_s=120):
            kinds.setdefault(type(frame), frame)
            if {TranscriptFrame, AlertFrame} <= set(kinds):
                break
        client.send(streams.stop(stream.id))
    alert, words = kinds[AlertFrame], kinds[TranscriptFrame]
    assert isinstance(alert, AlertFrame)
    assert isinstance(words, TranscriptFrame)
    assert alert.label == "shown"
    assert words.text
    for frame in (alert, words):
        assert frame.rtstream_id == stream.id
        assert frame.start is not None
        assert frame.end is not None
        assert 1_700_000_000 < frame.start < frame.end < 10_000_000_000


def test_a_wrong_key_is_not_tried_again(videodb: LocalServer) -> None:
    with Client(api_key="wrong", base_url=videodb.base_url) as client, pytest.raises(AuthenticationError):
        next(WebSocketConnection(client).frames())


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "ws://", "", None, "ws://[bad"])
def test_an_address_that_is_none_is_an_unexpected_answer(url: str | None) -> None:
    with (
        RecordingServer(lambda _request: envelope({"websocket_url": url})) as server,
        Client(api_key=KEY, base_url=server.url) as client,
        pytest.raises(UnexpectedAnswer, match="no address of a WebSocket"),
    ):
        WebSocketConnection(client).connect()


def test_wss_trusts_the_authority_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority, tls = make_authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))

    def greet(socket: ServerConnection) -> None:
        socket.send('{"connection_id": "c-1"}')
        with suppress(ConnectionClosed):
            socket.recv()

    async def connected_async(base_url: str) -> str:
        async with AsyncWebSocketConnection(AsyncClient(api_key=KEY, base_url=base_url)) as socket:
            return socket.connection_id

    with serve(greet, "127.0.0.1", 0, ssl=tls) as sockets, RecordingServer() as server:
        thread = threading.Thread(target=sockets.serve_forever)
        thread.start()
        server.tell(envelope({"websocket_url": f"wss://127.0.0.1:{sockets.socket.getsockname()[1]}/"}))
        with WebSocketConnection(Client(api_key=KEY, base_url=server.url)) as socket:
            assert socket.connection_id == "c-1"
        assert asyncio.run(connected_async(server.url)) == "c-1"
        sockets.shutdown()
        thread.join()


def test_the_address_never_shows(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    address = f"ws://127.0.0.1:{free_port()}/socket/secret-ticket"
    with (
        RecordingServer(lambda _request: envelope({"websocket_url": address})) as server,
        Client(api_key=KEY, base_url=server.url) as client,
        pytest.raises(NotConnected) as error,
    ):
        WebSocketConnection(client).connect()
    assert "secret-ticket" not in f"{error.value!r}{error.value}{caplog.text}"
