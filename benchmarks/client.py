"""What a call costs: our client against the vendor's SDK and against bare httpx that does the same, side by side.

    python -m benchmarks.client [--rounds 9] [--calls 1600]

The service is a minimal server in a process of its own, over http and over https, that gives every request the same
answer. Every peer connects a stream: the same URL, headers and body, the answer decoded. The peers take turns within
each round, so that what else the machine does hits all of them alike; a ratio is the median over the rounds of two
peers' quotients in one round. Calls a second are of wall time, microseconds a call of CPU time of this process.
"""

import argparse
import asyncio
import json
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import certifi
import httpx

from prefect_videodb.client import AsyncClient, Client, streams, transport
from prefect_videodb.client.transport import close_connections
from tests.support.certificates import make_authority

SDK = Path(__file__).resolve().parents[1] / ".sdk" / "0.5.1"
KEY = "a-key"
SOURCE = "rtsp://127.0.0.1:8554/live"
NAME = "Board meeting"
MANY = 32
HEADERS = {"x-access-token": KEY, "x-videodb-client": "bare/1"}
BODY = {"collection_id": "default", "url": SOURCE, "name": NAME, "media_types": ["audio", "video"], "store": True}
STREAM = {
    "id": "rts-019711a0-0fde-7911-b282-25bc0b4ecf65",
    "name": NAME,
    "status": "connected",
    "sample_rate": 30,
    "media_types": ["audio", "video"],
    "collection_id": "default",
    "store": True,
    "created_at": "2025-05-28T23:36:39.979133+00:00",
}
ANSWER = json.dumps({"success": True, "data": STREAM}).encode()


class Service(asyncio.Protocol):
    """One connection of the service: it looks for the end of each request and gives always the same answer."""

    reply = (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(ANSWER)) + ANSWER

    def connection_made(self, transport: Any) -> None:
        """Begin with nothing read."""
        self.transport = transport
        self.read = b""

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        self.read += data
        while True:
            head, end, rest = self.read.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
            if not end or len(rest) < length:
                return
            self.read = rest[length:]
            self.transport.write(self.reply)


async def serve(tls: ssl.SSLContext | None) -> None:
    """Serve on a free port of loopback, which is printed, until the parent is gone."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Service, "127.0.0.1", 0, backlog=512, ssl=tls)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


@contextmanager
def service(scheme: str) -> Iterator[str]:
    """Run the service in a process of its own, and return its URL."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.client", "--serve", scheme],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the service has no pipes")
        try:
            if scheme == "https":
                trust = process.stdout.readline().strip()
                os.environ |= {"SSL_CERT_FILE": trust, "REQUESTS_CA_BUNDLE": trust}
            yield f"{scheme}://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.stdin.close()


@dataclass(frozen=True)
class Peer:
    """One who does it: its name, and how it does so many calls."""

    name: str
    run: Callable[[int], None]


@dataclass(frozen=True)
class Group:
    """Peers that are compared with one another; the first is ours."""

    title: str
    peers: list[Peer]


def _threaded(pool: ThreadPoolExecutor, workers: int, call: Callable[[], object]) -> Callable[[int], None]:
    def work(calls: int) -> None:
        for _ in range(calls):
            call()

    def run(calls: int) -> None:
        for done in [pool.submit(work, calls // workers) for _ in range(workers)]:
            done.result()

    return run


def _one_each(pool: ThreadPoolExecutor, make: Callable[[], Callable[[], object]]) -> Callable[[int], None]:
    mine = [make() for _ in range(MANY)]

    def work(call: Callable[[], object], calls: int) -> None:
        for _ in range(calls):
            call()

    def run(calls: int) -> None:
        for done in [pool.submit(work, call, calls // MANY) for call in mine]:
            done.result()

    return run


def _awaited(runner: asyncio.Runner, workers: int, call: Callable[[], Any]) -> Callable[[int], None]:
    async def work(calls: int) -> None:
        for _ in range(calls):
            await call()

    async def all_of_them(calls: int) -> None:
        await asyncio.gather(*(work(calls // workers) for _ in range(workers)))

    return lambda calls: runner.run(all_of_them(calls))


def _check(stream_id: object) -> None:
    if stream_id != STREAM["id"]:
        raise RuntimeError(f"a peer read {stream_id!r}")


def _anew(call: Callable[[], None], *, tls: bool = False) -> None:
    close_connections()
    if tls:
        transport._tls_context.cache_clear()  # noqa: SLF001 - what it keeps is what is measured
    call()


def groups(url: str, stack: ExitStack) -> list[Group]:
    """Make every peer ready to call the service."""
    pool = stack.enter_context(ThreadPoolExecutor(MANY))
    runner = stack.enter_context(asyncio.Runner())
    client = Client(api_key=KEY, base_url=url)
    trust = httpx.create_ssl_context()

    def bare_client() -> httpx.Client:
        return stack.enter_context(httpx.Client(timeout=30, verify=trust))

    bare = bare_client()
    async_client = AsyncClient(api_key=KEY, base_url=url)
    stack.callback(lambda: runner.run(async_client.close()))
    async_bare = httpx.AsyncClient(timeout=30, verify=trust)
    stack.callback(lambda: runner.run(async_bare.aclose()))

    def operation() -> Any:
        return streams.connect(SOURCE, NAME, media_types=("audio", "video"), store=True)

    def ours() -> None:
        _check(client.send(operation()).id)

    def plain(bare: httpx.Client = bare) -> None:
        _check(bare.post(f"{url}/rtstream", json=BODY, headers=HEADERS).json()["data"]["id"])

    def sdk() -> Callable[[], None]:
        sys.path.insert(0, str(SDK))
        videodb = import_module("videodb")
        collections = import_module("videodb.collection")
        collection = collections.Collection(videodb.connect(api_key=KEY, base_url=url), "default")
        return lambda: _check(collection.connect_rtstream(SOURCE, NAME, media_types=["audio", "video"], store=True).id)

    async def async_ours() -> None:
        _check((await async_client.send(operation())).id)

    async def async_plain() -> None:
        response = await async_bare.post(f"{url}/rtstream", json=BODY, headers=HEADERS)
        _check(response.json()["data"]["id"])

    shared = sdk()
    return [
        Group(
            "one at a time",
            [
                Peer("Client", _threaded(pool, 1, ours)),
                Peer("httpx.Client", _threaded(pool, 1, plain)),
                Peer("SDK 0.5.1", _threaded(pool, 1, shared)),
                Peer("Client, connected anew", _threaded(pool, 1, lambda: _anew(ours))),
                Peer("Client, new TLS context", _threaded(pool, 1, lambda: _anew(ours, tls=True))),
            ],
        ),
        Group(
            f"{MANY} at a time, threads",
            [
                Peer("Client", _threaded(pool, MANY, ours)),
                Peer("httpx.Client", _threaded(pool, MANY, plain)),
                Peer("httpx.Client, one a thread", _one_each(pool, lambda: partial(plain, bare_client()))),
                Peer("SDK 0.5.1", _threaded(pool, MANY, shared)),
                Peer("SDK 0.5.1, one a thread", _one_each(pool, sdk)),
            ],
        ),
        Group(
            "one at a time, awaited",
            [
                Peer("AsyncClient", _awaited(runner, 1, async_ours)),
                Peer("httpx.AsyncClient", _awaited(runner, 1, async_plain)),
            ],
        ),
        Group(
            f"{MANY} at a time, tasks",
            [
                Peer("AsyncClient", _awaited(runner, MANY, async_ours)),
                Peer("httpx.AsyncClient", _awaited(runner, MANY, async_plain)),
            ],
        ),
    ]


def measure(group: Group, *, rounds: int, calls: int) -> None:
    """Let the peers of a group take turns, and print what it cost."""
    wall: dict[str, list[float]] = {peer.name: [] for peer in group.peers}
    cpu: dict[str, list[float]] = {peer.name: [] for peer in group.peers}
    for peer in group.peers:
        peer.run(MANY * 4)  # connections made, code warm
    for number in range(rounds):
        turn = number % len(group.peers)
        for peer in group.peers[turn:] + group.peers[:turn]:
            began, spent = time.perf_counter(), time.process_time()
            peer.run(calls)
            wall[peer.name].append(calls / (time.perf_counter() - began))
            cpu[peer.name].append((time.process_time() - spent) / calls * 1e6)
    first = group.peers[0].name
    print(f"\n{group.title}: {rounds} rounds of {calls} calls")
    print(f"  {'':26}{'calls/s':>9}{'CPU µs/call':>13}   {first} to it: throughput, CPU")
    for peer in group.peers:
        line = f"  {peer.name:26}{statistics.median(wall[peer.name]):9.0f}{statistics.median(cpu[peer.name]):13.0f}"
        if peer.name != first:
            faster = statistics.median(a / b for a, b in zip(wall[first], wall[peer.name], strict=True))
            dearer = statistics.median(a / b for a, b in zip(cpu[first], cpu[peer.name], strict=True))
            line += f"   {faster:22.2f} x{dearer:6.2f} x"
        print(line, flush=True)


def main() -> None:
    """Measure every group, or be the service."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=1600, help="calls in a round of many; a quarter of it one by one")
    parser.add_argument("--serve", choices=["http", "https"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve == "https":
        with tempfile.TemporaryDirectory() as folder:
            authority, context = make_authority(Path(folder))
            with authority.open("a") as file:  # beside as many others as there usually are
                file.write(Path(certifi.where()).read_text())
            print(authority, flush=True)
            asyncio.run(serve(context))
        return
    if arguments.serve:
        asyncio.run(serve(None))
        return
    for scheme in ("http", "https"):
        with service(scheme) as url, ExitStack() as stack:
            print(f"\n{scheme}")
            for group in groups(url, stack):
                calls = arguments.calls if str(MANY) in group.title else arguments.calls // 4
                measure(group, rounds=arguments.rounds, calls=calls)


if __name__ == "__main__":
    main()
