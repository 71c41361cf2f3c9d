"""The wire below the clients: HTTP/1.1 with one deadline and one limit for each exchange.

From the first packet to the last byte of the answer an exchange takes `timeout_s` at most, however slowly the other end
sends; no more than `MAX_BODY_BYTES` of an answer are read or decoded. Only the resolver of the system, which a thread
cannot interrupt, has time-outs of its own. httpx has time-outs for each read, and no limit of size.

All threads and clients of a process share the connections to a service (`connections_to`) and one TLS context, whose
authorities take 20 ms to read. The API key is a header of each request, so that one connection serves several accounts.
`benchmarks/client.py` compares this with httpx.

The proxies of the environment are used, those with `http://`. No cookie is sent, and no redirect is followed.
"""

import atexit
import base64
import functools
import http.client
import os
import select
import socket
import ssl
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any
from urllib.request import getproxies, proxy_bypass

import httpx

from prefect_videodb._clock import steady_now
from prefect_videodb.client.body import Body
from prefect_videodb.client.hosts import Admits, Origin, PrivateAddress, origin

# Node and uvicorn close a connection that was idle for 5 s; a request that crosses with that would be lost.
_MAX_IDLE_S = 4.0
_CONNECT_TIMEOUT_S = 10.0
_CHUNK_BYTES = 1 << 16
_SUCCESS = range(200, 300)
# To one service: a process may usually open 1,024 files. Further threads wait for a connection.
MAX_CONNECTIONS = 200
_TRUST_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


@dataclass(frozen=True, slots=True)
class Response:
    """An answer, read whole and decoded."""

    status: int
    headers: httpx.Headers
    body: bytes


class _Deadlined(socket.socket):
    """A socket whose operations end by `deadline`, all of them together; a time-out of a socket is for each of them."""

    deadline: float | None = None

    def _tick(self) -> None:
        if self.deadline is not None:
            self.settimeout(seconds_left(self.deadline))

    def recv_into(self, *arguments: Any, **more: Any) -> int:
        self._tick()
        return super().recv_into(*arguments, **more)

    def send(self, *arguments: Any, **more: Any) -> int:
        self._tick()
        return super().send(*arguments, **more)

    def sendall(self, *arguments: Any, **more: Any) -> None:
        self._tick()
        super().sendall(*arguments, **more)


class _DeadlinedTLS(_Deadlined, ssl.SSLSocket):
    """The same, encrypted."""


def seconds_left(deadline: float) -> float:
    """Return the seconds until a deadline of `time.monotonic()`.

    Raises:
        TimeoutError: it is over.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


class Connection(http.client.HTTPConnection):
    """A connection for one exchange after the other, each with its deadline.

    Attributes:
        proxy: what it leads to, where that reads the requests and passes them on.
    """

    sock: _Deadlined
    proxy: httpx.URL | None = None

    def set_deadline(self, deadline: float) -> None:
        """Set the moment of `time.monotonic()` by which what follows has to be done."""
        self.sock.deadline = deadline

    def ask(self, request: httpx.Request) -> http.client.HTTPResponse:
        """Send a request, and return the answer, of which the body is not read yet."""
        target = request.url.raw_path.decode("ascii")
        if self.proxy:
            target = f"{request.url.scheme}://{request.url.netloc.decode('ascii')}{target}"
        self.putrequest(request.method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers.raw:
            self.putheader(name, value)
        for header in _authorization(self.proxy) if self.proxy else ():
            self.putheader(*header)
        self.endheaders(request.read())
        return self.getresponse()


def proxy_of(to: Origin) -> httpx.URL | None:
    """Return the environment's proxy for requests to a place, if there is one."""
    scheme, host, _ = to
    proxies = getproxies()
    found = proxies.get(scheme) or proxies.get("all")
    if not found or proxy_bypass(host):
        return None
    return httpx.URL(found if "://" in found else f"http://{found}")


def _check_proxy(proxy: httpx.URL) -> None:
    if proxy.scheme != "http":
        raise httpx.ProxyError(f"the environment's proxy is {proxy.scheme}://, and only http:// proxies are spoken to")


_tls_lock = threading.RLock()
# A child that is forked while another thread holds the lock would wait for it for ever.
os.register_at_fork(before=_tls_lock.acquire, after_in_parent=_tls_lock.release, after_in_child=_tls_lock.release)


def tls_context() -> ssl.SSLContext:
    """Return whom to trust, as httpx does, for connections that end by a deadline; made once."""
    with _tls_lock:
        return _tls_context(*map(os.environ.get, _TRUST_VARIABLES))


@functools.cache
def _tls_context(*_trust: str | None) -> ssl.SSLContext:
    context = httpx.create_ssl_context()
    context.sslsocket_class = _DeadlinedTLS
    return context


def open_connection(to: Origin, deadline: float, *, admits: Admits | None = None) -> Connection:
    """Connect, directly or through a proxy.

    Args:
        to: scheme, host and port.
        deadline: by when, of `time.monotonic()`; in 10 s at most.
        admits: whether an address may be connected to; any when None.

    Raises:
        httpx.TransportError: there is no connection: `ConnectError`, `ConnectTimeout`, `ProxyError`.
        PrivateAddress: the address may not be connected to.
    """
    scheme, host, port = to
    began = time.monotonic()
    deadline = min(deadline, began + _CONNECT_TIMEOUT_S)
    proxy = proxy_of(to)
    connection = Connection(host, port)
    try:
        if proxy is None:
            connection.sock = connected_socket(host, port, deadline, admits=admits)
        else:
            connection.sock = _through(proxy, to, deadline)
        if scheme == "https":
            connection.sock.settimeout(seconds_left(deadline))
            wrapped = tls_context().wrap_socket(connection.sock, server_hostname=host)
            connection.sock = wrapped  # type: ignore[assignment]  # the context makes deadlined ones
        else:
            connection.proxy = proxy
    except BaseException as error:
        connection.close()
        if isinstance(error, TimeoutError):
            raise httpx.ConnectTimeout(f"no connection within {deadline - began:.3g} s") from error
        if isinstance(error, OSError | UnicodeError | http.client.HTTPException):
            raise httpx.ConnectError(str(error) or type(error).__name__) from error
        raise
    return connection


def connected_socket(host: str, port: int, deadline: float, *, admits: Admits | None) -> _Deadlined:
    """Connect to one of a host's addresses, the first that answers.

    Raises:
        PrivateAddress: none of its addresses may be connected to.
        OSError: none answers; `TimeoutError` when the deadline is over.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    admitted = [entry for entry in found if admits is None or admits(str(entry[4][0]))]
    if not admitted:
        raise PrivateAddress(host, str(found[0][4][0]))
    for tries_left, (family, kind, protocol, _, address) in zip(range(len(admitted), 0, -1), admitted, strict=True):
        one = _Deadlined(family, kind, protocol)
        try:
            one.settimeout(seconds_left(deadline) / tries_left)
            one.connect(address)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException as error:
            one.close()
            if tries_left == 1 or not isinstance(error, OSError):
                raise
        else:
            return one
    raise AssertionError("unreachable: the last address returns or raises")


def _through(proxy: httpx.URL, to: Origin, deadline: float) -> _Deadlined:
    """Connect to a proxy, and through it to an encrypted place."""
    _check_proxy(proxy)
    scheme, host, port = to
    one = connected_socket(proxy.host, proxy.port or 80, deadline, admits=None)
    if scheme != "https":
        return one
    try:
        one.deadline = deadline
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}"]
        lines += [f"{name}: {value}" for name, value in _authorization(proxy)]
        one.sendall("\r\n".join([*lines, "", ""]).encode("ascii"))
        answer = http.client.HTTPResponse(one, method="CONNECT")
        answer.begin()
        answer.close()
    except BaseException:
        one.close()
        raise
    if answer.status not in _SUCCESS:
        one.close()
        raise httpx.ProxyError(f"the proxy refuses the tunnel (HTTP {answer.status})")
    return one


def _authorization(proxy: httpx.URL) -> list[tuple[str, str]]:
    if not proxy.username and not proxy.password:
        return []
    token = base64.b64encode(f"{proxy.username}:{proxy.password}".encode()).decode()
    return [("Proxy-Authorization", f"Basic {token}")]


def exchange_once(request: httpx.Request, timeout_s: float, admits: Admits | None = None) -> Response:
    """Send one request over a connection of its own and read the answer.

    Raises:
        httpx.TransportError: the network failed.
        UnreadableBody: the answer is not to be read.
        PrivateAddress: the address may not be connected to.
    """
    deadline = time.monotonic() + timeout_s
    connection = open_connection(origin(request.url), deadline, admits=admits)
    try:
        return _exchange(connection, request, deadline, timeout_s)
    finally:
        connection.close()


def _exchange(connection: Connection, request: httpx.Request, deadline: float, timeout_s: float) -> Response:
    connection.set_deadline(deadline)
    try:
        answer = connection.ask(request)
        # `http.client` takes headers that were cut off for all of them.
        may_be_cut = answer.length is None and not answer.chunked
        body = Body(answer.headers.get("content-encoding", ""), answer.length)
        while chunk := answer.read(_CHUNK_BYTES):
            body.add(chunk)
        if answer.length:
            raise http.client.IncompleteRead(b"", answer.length)
        content = body.finish()
    except TimeoutError as error:
        raise httpx.ReadTimeout(f"no whole answer within {timeout_s:g} s") from error
    except (OSError, http.client.HTTPException) as error:
        raise httpx.ReadError(str(error) or type(error).__name__) from error
    if may_be_cut and not content and answer.status in _SUCCESS:
        raise httpx.RemoteProtocolError("the connection was cut within the answer")
    return Response(answer.status, httpx.Headers(answer.getheaders()), content)


class ConnectionPool:
    """The connections to one service. Threads share them; the one that was used last is used next."""

    def __init__(self, to: Origin) -> None:
        self._to = to
        self._room = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._lock = threading.Lock()
        self._idle: deque[tuple[Connection, float]] = deque()

    def exchange(self, request: httpx.Request, timeout_s: float) -> Response:
        """Send one request to the service and read its whole answer: see `exchange_once`."""
        deadline = time.monotonic() + timeout_s
        if not self._room.acquire(timeout=timeout_s):
            raise httpx.PoolTimeout(f"all {MAX_CONNECTIONS} connections were in use for {timeout_s:g} s")
        try:
            connection = self._take() or open_connection(self._to, deadline)
            try:
                response = _exchange(connection, request, deadline, timeout_s)
            except BaseException:
                connection.close()
                raise
            self._keep(connection)
            return response
        finally:
            self._room.release()

    def _take(self) -> Connection | None:
        with self._lock:
            while self._idle:
                connection, since = self._idle.pop()
                if steady_now() - since < _MAX_IDLE_S and not _has_input(connection):
                    return connection
                connection.close()
        return None

    def _keep(self, connection: Connection) -> None:
        if connection.sock is None:  # the other end said that it closes
            return
        now = steady_now()
        with self._lock:
            self._idle.append((connection, now))
            while now - self._idle[0][1] >= _MAX_IDLE_S:
                self._idle.popleft()[0].close()

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop()[0].close()


def _has_input(connection: Connection) -> bool:
    """Whether an idle connection has something to read: the other end closed it, or broke the protocol."""
    if isinstance(connection.sock, ssl.SSLSocket) and connection.sock.pending():
        return True
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))


_pools: dict[Origin, ConnectionPool] = {}


def connections_to(to: Origin) -> ConnectionPool:
    """Return the connections that this process keeps to a service."""
    return _pools.get(to) or _pools.setdefault(to, ConnectionPool(to))


def close_connections() -> None:
    """Close the idle connections of this process, as is done at its end."""
    while _pools:
        _pools.popitem()[1].close()


atexit.register(close_connections)
# What a forked child wrote into its parent's connections would mix with what the parent writes.
os.register_at_fork(after_in_child=close_connections)
