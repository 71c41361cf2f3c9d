"""What the network does to the client, and what it makes of it. Real sockets, loopback only."""

import asyncio
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from prefect_videodb.client import AsyncClient, Call, Client, Polling, streams, videos
from prefect_videodb.client.transport import close_connections, tls_context
from prefect_videodb.errors import AnswerLost, ConfigurationError, NotConnected, VideoDBError
from tests.client.conftest import KEY, Sender
from tests.support.certificates import make_authority
from tests.support.proxy import Proxy
from tests.support.recording_server import CUT, RecordingServer, Reply, Request, envelope

# A socket that is left to the garbage collector is a leak, though CPython closes it at once.
pytestmark = pytest.mark.filterwarnings("error::ResourceWarning")

Connect = Callable[..., Sender]
STREAM = envelope({"id": "rts-1"})
AT_ONCE = 32
# Labels that DNS allows in a name that is too long for it: no resolver is asked.
NO_SUCH_HOST = ".".join(["a" * 60] * 5)


def _creating() -> Call[Any]:
    return streams.connect("rtsp://127.0.0.1/live", "Board meeting")


def _repeatable() -> Call[Any]:
    return streams.get("rts-1")


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.005)


def _sockets() -> set[str]:
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the listing's own descriptor, closed since
            target = str(descriptor.readlink())
            if target.startswith("socket:"):
                found.add(target)
    return found


@contextmanager
def _free_port() -> Iterator[int]:
    """Give a port that is taken, so that nobody else gets it, and on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


# --- no connection --------------------------------------------------------------------------------------------------


def test_a_refused_connection_is_one_that_never_left(connect: Connect) -> None:
    with _free_port() as port:
        client = connect(f"http://127.0.0.1:{port}")
        for call in (_creating(), _repeatable()):
            with pytest.raises(NotConnected, match=f"cannot connect to http://127.0.0.1:{port}") as caught:
                client.send(call)
            assert caught.value.retry_is_safe


@pytest.mark.parametrize("host", [NO_SUCH_HOST, "a" * 64], ids=["name too long", "label too long"])
def test_a_host_that_cannot_be_is_refused(connect: Connect, host: str) -> None:
    with pytest.raises(ConfigurationError, match="has a host that is no name and no address"):
        connect(f"http://{host}:80")


def test_a_host_that_does_not_pick_up_is_no_connection(connect: Connect) -> None:
    with ExitStack() as stack:
        deaf = stack.enter_context(socket.socket())
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(8):  # fill its backlog: whoever comes now gets no answer to the first packet
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)  # noqa: FBT003 - the socket's own way to say it
            waiting.connect_ex(deaf.getsockname())

        with pytest.raises(NotConnected) as caught:
            connect(f"http://127.0.0.1:{deaf.getsockname()[1]}", timeout_s=0.3).send(_creating())

    assert caught.value.retry_is_safe


# --- no answer ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply",
    [
        CUT,
        Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n{"),
        Reply(raw=b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"suc'),
        Reply(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n0\r\n\r\n"),
        Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Le"),
        Reply(raw=b"SSH-2.0-OpenSSH_9.6\r\n"),
        Reply(raw=b"HTTP/1.1 hello\r\n\r\n"),
        Reply(raw=b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        Reply(raw=b"x" * 1_000_000),
        Reply(raw=b"HTTP/1.1 200 OK\r\n" + b"X-Flood: 1\r\n" * 200_000 + b"Content-Length: 2\r\n\r\n{}"),
    ],
    ids=["cut", "half a body", "half a chunk", "no chunk", "half a header", "SSH", "no status", "TLS", "x", "flood"],
)
def test_an_answer_that_does_not_come_whole_is_lost_and_nothing_is_repeated_by_itself(
    client: Sender, server: RecordingServer, reply: Reply
) -> None:
    for call, safe in ((_creating(), False), (_repeatable(), True)):
        server.requests.clear()
        server.tell(reply)

        with pytest.raises(AnswerLost) as caught:
            client.send(call)

        assert caught.value.retry_is_safe is safe
        assert [request.method for request in server.requests] == [call.method]
        assert len(str(caught.value)) < 1000
        server.tell(STREAM)
        assert client.send(_repeatable()).id == "rts-1"


def test_an_answer_that_takes_too_long_is_lost_and_nothing_is_repeated_by_itself(
    connect: Connect, server: RecordingServer
) -> None:
    gate = threading.Event()
    try:
        for call, safe in ((_creating(), False), (_repeatable(), True)):
            server.requests.clear()
            server.tell(Reply(STREAM.body, until=gate))

            with pytest.raises(AnswerLost) as caught:
                connect(server.url, timeout_s=0.5).send(call)

            assert caught.value.retry_is_safe is safe
            assert len(server.requests) == 1
    finally:
        gate.set()


def test_an_answer_that_came_too_late_is_not_taken_for_the_next_one(connect: Connect, server: RecordingServer) -> None:
    gate = threading.Event()
    late = connect(server.url, timeout_s=0.5)
    server.tell(Reply(envelope({"id": "late"}).body, until=gate))
    with pytest.raises(AnswerLost):
        late.send(_repeatable())
    gate.set()
    server.tell(envelope({"id": "in time"}))

    assert late.send(_repeatable()).id == "in time"


def test_a_call_that_is_cancelled_leaves_nothing_for_the_next_one(server: RecordingServer) -> None:
    gate = threading.Event()

    async def go() -> str:
        client = AsyncClient(api_key=KEY, base_url=server.url, timeout_s=60)
        server.tell(Reply(envelope({"id": "cancelled"}).body, until=gate))
        task = asyncio.create_task(client.send(_repeatable()))
        await asyncio.to_thread(_wait_for, lambda: bool(server.requests))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.set()
        server.tell(envelope({"id": "asked for"}))
        stream = await client.send(streams.get("rts-1"))
        await client.close()
        return stream.id

    try:
        assert asyncio.run(go()) == "asked for"
    finally:
        gate.set()


# --- connections ----------------------------------------------------------------------------------------------------


def test_connections_are_used_again(client: Sender, server: RecordingServer) -> None:
    server.tell(STREAM)

    for _ in range(20):
        client.send(_creating())

    assert (len(server.requests), server.connections) == (20, 1)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(STREAM.body, then_close=True),
        Reply(STREAM.body, headers={"Connection": "close"}, then_close=True),
        Reply(raw=b"HTTP/1.0 200 OK\r\n\r\n" + STREAM.body),
    ],
    ids=["unannounced", "announced", "HTTP/1.0"],
)
def test_a_server_that_closes_after_each_answer_is_no_error(
    client: Sender, server: RecordingServer, reply: Reply
) -> None:
    server.tell(reply)

    for number in range(1, 6):
        assert client.send(_creating()).id == "rts-1"
        _wait_for(lambda: server.open_connections == 0)
        assert (len(server.requests), server.connections) == (number, number)


def test_a_server_that_hangs_up_on_idle_connections_is_no_error(server: RecordingServer) -> None:
    server.tell(STREAM)
    client = Client(api_key=KEY, base_url=server.url, timeout_s=60)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(client.send, _creating()) for _ in range(AT_ONCE)]:
            done.result()
        server.hang_up()
        _wait_for(lambda: server.open_connections == 0)

    assert client.send(_creating()).id == "rts-1"
    assert len(server.requests) == AT_ONCE + 1


def test_many_threads_share_one_client_and_each_gets_its_own_answer(server: RecordingServer) -> None:
    server.answer = lambda request: envelope({"id": request.path.rpartition("/")[2]})
    client = Client(api_key=KEY, base_url=server.url, timeout_s=60)
    with ThreadPoolExecutor(AT_ONCE) as pool:

        def work(worker: int) -> list[str]:
            return [client.send(streams.get(f"rts-{worker}-{number}")).id for number in range(25)]

        found = list(pool.map(work, range(AT_ONCE)))

    assert found == [[f"rts-{worker}-{number}" for number in range(25)] for worker in range(AT_ONCE)]
    assert server.connections <= AT_ONCE


def test_many_tasks_share_one_client_and_each_gets_its_own_answer(server: RecordingServer) -> None:
    server.answer = lambda request: envelope({"id": request.path.rpartition("/")[2]})

    async def work(client: AsyncClient, worker: int) -> list[str]:
        return [(await client.send(streams.get(f"rts-{worker}-{number}"))).id for number in range(10)]

    async def go() -> list[list[str]]:
        async with AsyncClient(api_key=KEY, base_url=server.url, timeout_s=60) as client:
            return await asyncio.gather(*(work(client, worker) for worker in range(150)))

    assert asyncio.run(go()) == [[f"rts-{worker}-{number}" for number in range(10)] for worker in range(150)]


def test_no_socket_is_lost(connect: Connect, server: RecordingServer, other_server: RecordingServer) -> None:
    client = connect(server.url)
    before = _sockets()
    for reply in (STREAM, CUT, Reply(b"{}", 500), Reply(raw=b"garbage\r\n\r\n"), STREAM):
        server.tell(reply)
        with suppress(VideoDBError):
            client.send(_repeatable())
    server.tell(envelope({"output_url": other_server.url + "/r"}, status="processing"))
    other_server.tell(envelope({}, status="processing"), STREAM)
    assert client.send(_repeatable(), polling=Polling(interval_s=0.001)).id == "rts-1"
    _wait_for(lambda: server.open_connections + other_server.open_connections == 1)

    close_connections()

    _wait_for(lambda: server.open_connections == 0)
    assert _sockets() <= before


def test_clients_share_connections(server: RecordingServer) -> None:
    """One connection serves every client, account and time-out, one after the other."""
    server.tell(STREAM)
    for key, timeout_s in (("first", 60.0), ("second", 60.0), ("first", 5.0)):
        Client(api_key=key, base_url=server.url, timeout_s=timeout_s).send(_repeatable())
    asyncio.run(AsyncClient(api_key="third", base_url=server.url).send(_repeatable()))

    assert [request.headers["x-access-token"] for request in server.requests] == ["first", "second", "first", "third"]
    assert server.connections == 1


def test_async_client_belongs_to_no_loop(server: RecordingServer) -> None:
    server.tell(STREAM)
    client = AsyncClient(api_key=KEY, base_url=server.url)
    assert [asyncio.run(client.send(_repeatable())).id for _ in range(2)] == ["rts-1"] * 2
    asyncio.run(client.close())
    assert server.connections == 1


def test_pool_is_bounded(server: RecordingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Further threads wait for a connection; what did not get one in time was not sent."""
    monkeypatch.setattr("prefect_videodb.client.transport.MAX_CONNECTIONS", 4)
    gate = threading.Event()
    server.tell(Reply(STREAM.body, until=gate))
    client = Client(api_key=KEY, base_url=server.url, timeout_s=60)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        under_way = [pool.submit(client.send, _creating()) for _ in range(AT_ONCE)]
        try:
            _wait_for(lambda: len(server.requests) == 4)
            with pytest.raises(NotConnected, match="all 4 connections were in use") as caught:
                Client(api_key=KEY, base_url=server.url, timeout_s=0.2).send(_creating())
            assert caught.value.retry_is_safe
            assert len(server.requests) == 4
        finally:
            gate.set()
        assert {done.result().id for done in under_way} == {"rts-1"}
    assert (len(server.requests), server.connections) == (AT_ONCE, 4)


def test_idle_connections_are_closed(server: RecordingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefect_videodb.client.transport._MAX_IDLE_S", 0.2)
    arrived = threading.Barrier(8)

    def answer(_request: Request) -> Reply:
        arrived.wait()
        return STREAM

    server.answer = answer
    client = Client(api_key=KEY, base_url=server.url, timeout_s=60)
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(client.send, _creating()) for _ in range(8)]:
            done.result()
    server.tell(STREAM)
    time.sleep(0.2)

    client.send(_creating())

    _wait_for(lambda: server.open_connections == 1)
    assert server.connections == 9


def _run(program: str) -> None:
    """Run a program that must end well and say nothing, not even a warning."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", program]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_forked_process_has_its_own_connections(server: RecordingServer) -> None:
    server.tell(STREAM)
    _run(f"""
import os
from prefect_videodb.client import Client, streams
client, call = Client(api_key="k", base_url={server.url!r}), streams.get("rts-1")
client.send(call)
child = os.fork()
client.send(call)
if child:
    assert os.waitpid(child, 0)[1] == 0
    client.send(call)
""")

    assert sorted(request.connection for request in server.requests) == [1, 1, 1, 2]


@pytest.mark.usefixtures("trust")
def test_process_ends_without_open_sockets(server: RecordingServer, secure_server: RecordingServer) -> None:
    server.tell(STREAM)
    _run(f"""
import asyncio
from concurrent.futures import ThreadPoolExecutor
from prefect_videodb.client import AsyncClient, Client, streams
for url in ({server.url!r}, {secure_server.url!r}):
    client = Client(api_key="k", base_url=url)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(client.send, [streams.get("rts-1")] * 8))
    asyncio.run(AsyncClient(api_key="k", base_url=url).send(streams.get("rts-1")))
""")
    _wait_for(lambda: server.open_connections + secure_server.open_connections == 0)


def test_a_task_under_way_when_the_client_closes_still_gets_its_answer(
    server: RecordingServer,
) -> None:
    gate = threading.Event()
    server.tell(Reply(STREAM.body, until=gate))

    async def go() -> None:
        client = AsyncClient(api_key=KEY, base_url=server.url, timeout_s=60)
        under_way = asyncio.create_task(client.send(_repeatable()))
        await asyncio.to_thread(_wait_for, lambda: bool(server.requests))
        await client.close()
        gate.set()
        assert (await under_way).id == "rts-1"

    try:
        asyncio.run(go())
    finally:
        gate.set()


# --- TLS and proxies ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def secure_server(authority: tuple[Path, ssl.SSLContext]) -> Iterator[RecordingServer]:
    with RecordingServer(lambda _request: STREAM, tls=authority[1]) as server:
        yield server


@pytest.fixture
def trust(authority: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Trust the authority of the secure server."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority[0]))
    return authority[0]


@pytest.mark.usefixtures("trust")
def test_an_authority_named_by_the_environment_is_trusted_and_connections_are_used_again(
    connect: Connect, secure_server: RecordingServer
) -> None:
    client = connect(secure_server.url)

    for _ in range(10):
        assert client.send(_creating()).id == "rts-1"

    assert (len(secure_server.requests), secure_server.connections) == (10, 1)


@pytest.mark.usefixtures("trust")
def test_threads_share_tls_connections(secure_server: RecordingServer) -> None:
    """A hundred calls of as many clients in twenty threads: twenty handshakes at most, and one context."""

    def call(_: int) -> tuple[str, int]:
        return Client(api_key=KEY, base_url=secure_server.url).send(_creating()).id, id(tls_context())

    with ThreadPoolExecutor(20) as pool:
        found = set(pool.map(call, range(100)))

    assert found == {("rts-1", id(tls_context()))}
    assert len(secure_server.requests) == 100
    assert secure_server.connections <= 20


@pytest.mark.usefixtures("trust")
def test_tls_server_that_hangs_up_on_idle_connections(secure_server: RecordingServer) -> None:
    client = Client(api_key=KEY, base_url=secure_server.url)
    for number in (1, 2, 3):
        assert client.send(_creating()).id == "rts-1"
        secure_server.hang_up()
        _wait_for(lambda: secure_server.open_connections == 0)
        assert (len(secure_server.requests), secure_server.connections) == (number, number)


def test_an_authority_that_nobody_trusts_gets_no_request(connect: Connect, secure_server: RecordingServer) -> None:
    with pytest.raises(NotConnected, match=r"(?i)certificate"):
        connect(secure_server.url).send(_creating())

    assert secure_server.requests == []


@pytest.mark.usefixtures("trust")
def test_a_server_with_another_name_gets_no_request(connect: Connect, secure_server: RecordingServer) -> None:
    with pytest.raises(NotConnected):
        connect(secure_server.url.replace("127.0.0.1", "localhost")).send(_creating())

    assert secure_server.requests == []


def test_tls_that_meets_a_plain_server_is_no_connection(connect: Connect, server: RecordingServer) -> None:
    with pytest.raises(NotConnected):
        connect(server.url.replace("http:", "https:")).send(_creating())

    assert server.requests == []


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy() as proxy:
        yield proxy


@pytest.fixture
def through_proxy(connect: Connect, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    """Make clients whose environment names the proxy; it is closed after their connections."""
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, proxy.url)
    yield connect
    close_connections()


def test_plain_requests_go_through_the_proxy_of_the_environment(
    through_proxy: Connect, proxy: Proxy, server: RecordingServer
) -> None:
    server.tell(Reply(STREAM.body, headers={"Set-Cookie": "session=1; Path=/"}))
    client = through_proxy(server.url)

    assert [client.send(_creating()).id for _ in range(3)] == ["rts-1"] * 3

    assert proxy.asked == [f"POST {server.url}/rtstream"] * 3
    assert server.requests[0].json["name"] == "Board meeting"
    assert server.requests[2].headers["x-access-token"] == KEY
    assert "cookie" not in server.requests[2].headers


@pytest.mark.usefixtures("trust")
def test_tls_goes_through_the_proxy_in_a_tunnel_that_it_cannot_read(
    through_proxy: Connect, proxy: Proxy, secure_server: RecordingServer
) -> None:
    client = through_proxy(secure_server.url)

    assert client.send(_creating()).id == "rts-1"
    assert client.send(_creating()).id == "rts-1"

    assert proxy.asked == [f"CONNECT 127.0.0.1:{secure_server.port}"]
    assert secure_server.connections == 1


@pytest.mark.parametrize("excepted", ["127.0.0.1", "example.invalid,127.0.0.1", "*"])
def test_a_host_in_no_proxy_is_asked_directly(
    through_proxy: Connect, proxy: Proxy, server: RecordingServer, monkeypatch: pytest.MonkeyPatch, excepted: str
) -> None:
    monkeypatch.setenv("no_proxy", excepted)
    server.tell(STREAM)

    assert through_proxy(server.url).send(_creating()).id == "rts-1"

    assert proxy.asked == []


def test_a_proxy_that_is_down_is_no_connection(
    connect: Connect, server: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _free_port() as port:
        monkeypatch.setenv("http_proxy", f"http://user:proxy-password@127.0.0.1:{port}")
        with pytest.raises(NotConnected) as caught:
            connect(server.url).send(_creating())

    assert caught.value.retry_is_safe
    assert "proxy-password" not in str(caught.value)
    assert server.requests == []


def test_a_proxy_that_refuses_the_tunnel_is_no_connection(
    connect: Connect, server: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", server.url)  # it knows no CONNECT, and says so

    with pytest.raises(NotConnected) as caught:
        connect("https://videodb.invalid").send(_creating())

    assert caught.value.retry_is_safe


def test_a_download_of_another_host_goes_through_the_proxy_though_the_service_needs_none(
    connect: Connect,
    proxy: Proxy,
    server: RecordingServer,
    other_server: RecordingServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.setenv("no_proxy", "localhost")
    server.tell(envelope({"output_url": f"{other_server.url}/r"}, status="processing"))
    other_server.tell(envelope({"id": "d-1"}))
    client = connect(server.url.replace("127.0.0.1", "localhost"))

    assert client.send(videos.download("http://127.0.0.1/x.m3u8", "x"), polling=Polling(interval_s=0.001)).id == "d-1"

    assert proxy.asked == [f"GET {other_server.url}/r"]


def test_a_request_reaches_the_server_as_it_was_meant(client: Sender, server: RecordingServer) -> None:
    seen: list[Request] = server.requests
    server.tell(STREAM)

    client.send(streams.list_page(name="a b+c&d=é%2F#?", limit=3))

    assert seen[0].query == [("limit", "3"), ("name", "a b+c&d=é%2F#?")]
    assert seen[0].headers["host"] == f"127.0.0.1:{server.port}"
    assert seen[0].headers["user-agent"].startswith("prefect-videodb/")
    assert seen[0].body == b""
