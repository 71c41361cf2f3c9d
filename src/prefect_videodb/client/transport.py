"""The wire below the clients: HTTP/1.1 with one deadline and one limit for each exchange.

From the first packet to the last byte of the answer an exchange takes `timeout_s` at most, however slowly the other end
sends; no more than `MAX_BODY_BYTES` of an answer are read or decoded. Only the resolver of the system, which a thread
cannot interrupt, has time-outs of its own.

httpx keeps its connections in one pool that is searched through for every request and again for every answer; with 32
calls at a time that costs more than the calls. Here each call takes an idle connection off a stack and lays it back.
`benchmarks/client.py` measures it.

The proxies of the environment are used, those with `http://`. No transport sends a cookie or follows a redirect.
"""

import asyncio
import base64
import http.client
import re
import select
import socket
import ssl
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.request import getproxies, proxy_bypass

import httpx

from prefect_videodb.client.body import Body
from prefect_videodb.client.hosts import Admits, Origin, PrivateAddress, origin

# A connection that has been idle for longer may be closed at the other end at any moment: it is not used again.
_IDLE_S = 5.0
_CONNECT_TIMEOUT_S = 10.0
_CHUNK_BYTES = 1 << 16
_SUCCESS = range(200, 300)
_LENGTH = re.compile(r"[0-9]{1,20}")
# The most connections of an `AsyncClient`; as many as httpx's default.
_MOST_CONNECTIONS = 100


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


def tls_context() -> ssl.SSLContext:
    """Return whom to trust, as httpx does, for connections that end by a deadline."""
    context = httpx.create_ssl_context()
    context.sslsocket_class = _DeadlinedTLS
    return context


def open_connection(
    to: Origin, proxy: httpx.URL | None, deadline: float, *, tls: ssl.SSLContext | None = None, admits: Admits | None
) -> Connection:
    """Connect, directly or through a proxy.

    Args:
        to: scheme, host and port.
        proxy: what connects instead.
        deadline: by when, of `time.monotonic()`; in 10 s at most.
        tls: whom to trust; the usual authorities when None.
        admits: whether an address may be connected to; any when None.

    Raises:
        httpx.TransportError: there is no connection: `ConnectError`, `ConnectTimeout`, `ProxyError`.
        PrivateAddress: the address may not be connected to.
    """
    scheme, host, port = to
    began = time.monotonic()
    deadline = min(deadline, began + _CONNECT_TIMEOUT_S)
    found: socket.socket | None = None
    try:
        if proxy is None:
            found = connected_socket(host, port, deadline, admits=admits)
        else:
            found = _through(proxy, to, deadline)
        connection = Connection(host, port)
        if scheme == "https":
            found.settimeout(seconds_left(deadline))
            found = (tls or tls_context()).wrap_socket(found, server_hostname=host)
        elif proxy is not None:
            connection.proxy = proxy
        connection.sock = found  # type: ignore[assignment]  # made by a context whose sockets are deadlined
    except TimeoutError as error:
        _closed(found)
        raise httpx.ConnectTimeout(f"no connection within {deadline - began:.3g} s") from error
    except (OSError, UnicodeError, http.client.HTTPException) as error:
        _closed(found)
        raise httpx.ConnectError(str(error) or type(error).__name__) from error
    except BaseException:
        _closed(found)
        raise
    return connection


def _closed(found: socket.socket | None) -> None:
    if found is not None:
        found.close()


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
    for number, (family, kind, protocol, _, address) in enumerate(admitted):
        tries_left = len(admitted) - number
        one = _Deadlined(family, kind, protocol)
        try:
            one.settimeout(seconds_left(deadline) / tries_left)
            one.connect(address)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            one.close()
            if tries_left == 1:
                raise
        except BaseException:
            one.close()
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


def exchange_once(request: httpx.Request, timeout_s: float, admits: Admits | None) -> Response:
    """Send one request over a connection of its own and read the answer.

    Raises:
        httpx.TransportError: the network failed.
        UnreadableBody: the answer is not to be read.
        PrivateAddress: the address may not be connected to.
    """
    deadline = time.monotonic() + timeout_s
    to = origin(request.url)
    connection = open_connection(to, proxy_of(to), deadline, admits=admits)
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


class Transport:
    """HTTP/1.1 on the standard library's `http.client`, with a stack of idle connections to one host."""

    def __init__(self, base_url: str) -> None:
        self._origin = origin(httpx.URL(base_url))
        self._proxy = proxy_of(self._origin)
        self._tls = tls_context() if self._origin[0] == "https" else None
        # A deque's append and pop are atomic: no lock is needed.
        self._idle: deque[tuple[Connection, float]] = deque()
        self._closed = False

    def exchange(self, request: httpx.Request, timeout_s: float, admits: Admits | None = None) -> Response:
        """Send one request and read its whole answer: see `exchange_once`."""
        if origin(request.url) != self._origin:
            return exchange_once(request, timeout_s, admits)
        deadline = time.monotonic() + timeout_s
        connection = self._take() or open_connection(self._origin, self._proxy, deadline, tls=self._tls, admits=None)
        try:
            response = _exchange(connection, request, deadline, timeout_s)
        except BaseException:
            connection.close()
            raise
        if connection.sock is not None:  # else the other end said that it closes
            self._idle.append((connection, time.monotonic()))
            if self._closed:  # meanwhile, by another thread: nobody comes to close this one
                self.close()
        return response

    def _take(self) -> Connection | None:
        while True:
            try:
                connection, since = self._idle.pop()
            except IndexError:
                return None
            if time.monotonic() - since < _IDLE_S and not _has_input(connection):
                return connection
            connection.close()

    def close(self) -> None:
        """Close the idle connections; one in use closes after its answer."""
        self._closed = True
        with suppress(IndexError):  # another thread may take the last one
            while True:
                self._idle.pop()[0].close()


def _has_input(connection: Connection) -> bool:
    """Tell whether an idle connection has something to read: the other end closed it, or broke the protocol."""
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))


class AsyncTransport:
    """A stack of httpx transports with one connection each: none has a pool to search through."""

    def __init__(self, base_url: str) -> None:
        self._origin = origin(httpx.URL(base_url))
        self._proxy = proxy_of(self._origin)
        self._tls = httpx.create_ssl_context() if self._origin[0] == "https" else None
        self._idle: list[httpx.AsyncHTTPTransport] = []
        self._closed = False
        self._room = asyncio.Semaphore(_MOST_CONNECTIONS)

    async def exchange(self, request: httpx.Request, timeout_s: float, admits: Admits | None = None) -> Response:
        """Send one request and read its whole answer: see `exchange_once`."""
        if origin(request.url) != self._origin:
            return await asyncio.to_thread(exchange_once, request, timeout_s, admits)
        async with self._room:
            one = self._idle.pop() if self._idle else self._new()
            try:
                response = await _exchange_async(one, request, timeout_s)
            except BaseException:
                await one.aclose()
                raise
            self._idle.append(one)
            if self._closed:  # meanwhile, by another task: nobody comes to close this one
                await self.aclose()
            return response

    def _new(self) -> httpx.AsyncHTTPTransport:
        # Without a context this is plain http to the one host: no connection of it is ever encrypted, nor verified.
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=_IDLE_S)
        if self._proxy is not None:
            _check_proxy(self._proxy)
        proxy = None if self._proxy is None else httpx.Proxy(self._proxy)
        return httpx.AsyncHTTPTransport(verify=self._tls or False, limits=limits, trust_env=False, proxy=proxy)

    async def aclose(self) -> None:
        """Close the idle connections; one in use closes after its answer."""
        self._closed = True
        while self._idle:
            await self._idle.pop().aclose()


async def _exchange_async(one: httpx.AsyncHTTPTransport, request: httpx.Request, timeout_s: float) -> Response:
    has_left = False

    async def trace(event: str, _: object) -> None:
        nonlocal has_left
        has_left = has_left or event == "http11.send_request_headers.started"

    timeout = httpx.Timeout(timeout_s, connect=min(timeout_s, _CONNECT_TIMEOUT_S))
    request.extensions = {"timeout": timeout.as_dict(), "trace": trace}
    try:
        async with asyncio.timeout(timeout_s):
            answer = await one.handle_async_request(request)
            body = Body(answer.headers.get("content-encoding", ""), _length(answer.headers.get("content-length")))
            async for chunk in answer.aiter_raw():
                body.add(chunk)
            await answer.aclose()
            return Response(answer.status_code, answer.headers, body.finish())
    except TimeoutError as error:
        if has_left:
            raise httpx.ReadTimeout(f"no whole answer within {timeout_s:g} s") from error
        raise httpx.ConnectTimeout(f"no connection within {timeout_s:g} s") from error


def _length(text: str | None) -> int | None:
    """Read a `Content-Length`; what is none is the protocol's concern."""
    return int(text) if text and _LENGTH.fullmatch(text) else None
