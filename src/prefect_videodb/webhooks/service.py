"""The receiver and the dispatcher as a process: what it goes by, how it begins, how it ends."""

import asyncio
import errno
import logging
import resource
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import uvicorn

from prefect_videodb.errors import ConfigurationError
from prefect_videodb.webhooks.dispatch import Dispatcher
from prefect_videodb.webhooks.known import KnownRules
from prefect_videodb.webhooks.mail import Mailbox
from prefect_videodb.webhooks.opening import open_inbox
from prefect_videodb.webhooks.receiver import PATH, Receiver

if TYPE_CHECKING:
    from uvicorn.protocols.http.h11_impl import H11Protocol as HttpProtocol
else:
    # That of httptools where it is installed (the extra `webhooks`): it takes half the CPU.
    from uvicorn.protocols.http.auto import AutoHTTPProtocol as HttpProtocol

Part = Literal["receiver", "dispatcher"]

_HEAD_WITHIN_S = 10.0
_END_WITHIN_S = 10
_SPARE_S = 2
_MOST_PORTS_TRIED = 20
_LAST_PORT = 65_535
_RESERVED_FILES = 100
# No sender needs more; httptools itself, which reads heads where it is installed, has no limit.
_LONGEST_HEAD = 64 * 1024
_TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
logger = logging.getLogger(__name__)


@dataclass
class Service:
    """Receive alerts, make flow runs of them.

    Attributes:
        webhook: the name of the AlertWebhook block.
        inbox: where alerts are kept: a file, or the URL of a FIFO queue of SQS.
        dead_letters: the URL of a second one, for what no run can be made of; only with a queue.
        host: where to listen.
        port: the same; 0 for any that is free.
        shares_port: whether other receivers may listen at the same port; the system spreads the connections over them.
        only: one of the two parts; both where it is None. Several processes may share an inbox.
    """

    webhook: str
    inbox: str
    dead_letters: str | None = None
    host: str = "127.0.0.1"
    port: int = 8480
    shares_port: bool = False
    only: Part | None = None

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises:
            ConfigurationError: the block, the inbox or the port cannot be used; the message says why.
            Lost: the inbox is not there any more.
        """
        _raise_file_limit()
        inbox = open_inbox(self.inbox, self.dead_letters)
        try:
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                runner.run(self._serve(inbox))
        finally:
            inbox.close()

    async def _serve(self, inbox: Mailbox) -> None:
        known = KnownRules(inbox, self.webhook)
        await known.begin()
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ended.set)
        dispatcher = Dispatcher(inbox, lambda: known.rules)
        parts = [asyncio.create_task(known.keep_up(ended))]
        if self.only != "receiver":
            parts.append(asyncio.create_task(dispatcher.run(ended)))
        if self.only != "dispatcher":
            receiver = Receiver(inbox, lambda: known.rules, dispatcher.wake)
            parts.append(asyncio.create_task(self._listen(receiver, ended)))
        lost = asyncio.wrap_future(inbox.lost)
        # A part that ends by itself has failed: the others end too, and whoever looks after the process begins anew.
        reasons: list[asyncio.Future[Any]] = [*parts, lost, asyncio.create_task(ended.wait())]
        await asyncio.wait(reasons, return_when=asyncio.FIRST_COMPLETED)
        ended.set()
        dispatcher.wake()
        # What hangs at Prefect is cut off: what is not done waits in the inbox. A listener gives up by itself, before.
        _, hanging = await asyncio.wait(parts, timeout=_END_WITHIN_S + _SPARE_S)
        for part in hanging:
            part.cancel()
        await asyncio.wait(parts)
        for part in parts:
            if not part.cancelled():
                part.result()
        if lost.done():
            lost.result()

    async def _listen(self, receiver: Receiver, ended: asyncio.Event) -> None:
        socks = _bound(self.host, self.port, shared=self.shares_port)
        config = uvicorn.Config(
            receiver,
            http=_Impatient,
            ws="none",
            lifespan="off",
            access_log=False,  # it would show the tokens in the paths
            log_config=None,
            backlog=2048,
            timeout_graceful_shutdown=_END_WITHIN_S,
            server_header=False,
        )
        server = _Server(config)
        serving = asyncio.create_task(server.serve(sockets=socks))
        for sock in socks:
            print(f"Alerts are received at http://{_address(sock)}/{PATH}/<route>/<token>", flush=True)  # noqa: T201 - for whoever started it
        await asyncio.wait([serving, asyncio.create_task(ended.wait())], return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await serving


class _Server(uvicorn.Server):
    """A server that leaves the signals to the process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Impatient(HttpProtocol):
    """Close a connection on which no whole head of a request comes in time, or an endless one: uvicorn would go on."""

    _timer: asyncio.TimerHandle | None = None
    _of_head = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Each connection is an open file. The dispatcher needs some, too, and a listener that has none left spins.
        if len(self.connections) > resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _RESERVED_FILES:
            transport.abort()
            return
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        while data and not self.transport.is_closing():
            most = len(data) if self._is_in_body() else _LONGEST_HEAD + 1 - self._of_head
            self._take(data[:most])
            data = data[most:]

    def _take(self, data: bytes) -> None:
        request = self.cycle
        if not self._is_in_body():
            self._of_head += len(data)
        super().data_received(data)
        if self.cycle is not request:
            self._of_head = 0
        elif self._of_head > _LONGEST_HEAD and not self.transport.is_closing():
            if not self._is_answering():  # else it would stand in the middle of an answer
                self.transport.write(_TOO_LONG)
            self.transport.close()
            return
        if not self._is_answering():
            if self._timer is None:
                self._wait_for_head()
        elif self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        self._timer = self.loop.call_later(_HEAD_WITHIN_S, self._give_up)

    def _give_up(self) -> None:
        self._timer = None
        if not self._is_answering():
            self.transport.close()

    def _is_in_body(self) -> bool:
        return self._is_answering() and self.cycle.more_body

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Give uvloop's where it is installed (the extra `webhooks`): it takes a fifth less CPU."""
    try:
        import uvloop  # noqa: PLC0415 - it may not be there
    except ImportError:
        return None
    return uvloop.new_event_loop


def _bound(host: str, port: int, *, shared: bool) -> list[socket.socket]:
    """Listen at every address of a host, at one port; `::` takes IPv4, too."""
    host = host.removeprefix("[").removesuffix("]")
    if not 0 <= port <= _LAST_PORT:  # the system would count on from 0
        raise ConfigurationError(f"nothing can listen at {host}:{port}: a port is a number from 0 to {_LAST_PORT}")
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        addresses = list(dict.fromkeys((one[0], one[4]) for one in found))
        for _ in range(_MOST_PORTS_TRIED):
            # The port that the system chose at the first address may be taken at another one.
            if socks := _bound_to_all(addresses, shared=shared):
                return socks
        why = "no port is free at all of its addresses"
    except OSError as error:
        why = str(error.strerror)
    raise ConfigurationError(f"nothing can listen at {host}:{port}: {why}")


def _bound_to_all(addresses: Sequence[tuple[int, Any]], *, shared: bool) -> list[socket.socket]:
    """Listen at each address, at the same port; returns nothing where the one that was chosen is taken."""
    socks: list[socket.socket] = []
    failure: OSError | None = None
    for family, (host, port, *scope) in addresses:
        chosen = socks[0].getsockname()[1] if socks else port
        takes_both = family == socket.AF_INET6 and host == "::" and len(addresses) == 1
        try:
            sock = socket.create_server(
                (host, chosen, *scope), family=family, backlog=2048, reuse_port=shared, dualstack_ipv6=takes_both
            )
        except OSError as error:
            failure = error
            if error.errno != errno.EADDRINUSE:
                continue  # a machine without IPv6 has a name for it all the same
            for one in socks:
                one.close()
            if port == 0 and socks:
                return []
            raise
        # asyncio sets it for sockets that name their protocol, and those of a server made like this do not: the second
        # half of an answer would wait for the client to acknowledge the first, 40 ms.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        socks.append(sock)
    if failure and not socks:
        raise failure
    return socks


def _address(sock: socket.socket) -> str:
    """Return what stands in a URL for a socket."""
    host, port = sock.getsockname()[:2]
    return f"[{host.replace('%', '%25')}]:{port}" if sock.family == socket.AF_INET6 else f"{host}:{port}"


def _raise_file_limit() -> None:
    """Each connection is a file: those that say nothing must not keep out those that bring alerts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
