"""The wire below the clients: what makes many calls at a time cheap.

httpx keeps its connections in one pool that is searched through for every request and again for every answer; with 32
calls at a time that costs more than the calls. Here each call takes an idle connection off a stack and lays it back.
`benchmarks/client.py` measures it. httpx itself is asked where that gains nothing: behind a proxy, and for a job's
`output_url` on another host.

Every transport here takes an `httpx.Request` with its time-outs in `extensions`, and gives the whole answer, read. None
sends a cookie (httpx adds them to the requests that it builds itself) or follows a redirect.
"""

import asyncio
import http.client
import select
import time
from collections import deque
from contextlib import suppress
from urllib.request import getproxies, proxy_bypass

import httpx

# A connection that has been idle for longer may be closed at the other end at any moment: it is not used again.
_IDLE_S = 5.0
_SUCCESS = range(200, 300)
# The most connections of an `AsyncClient`; as many as httpx's default.
_MOST_CONNECTIONS = 100


def transport(base_url: str) -> httpx.BaseTransport:
    """Give the transport for a base URL."""
    return HttpxTransport() if _behind_proxy(base_url) else StackTransport(base_url)


def async_transport(base_url: str) -> httpx.AsyncBaseTransport:
    """Give the asynchronous transport for a base URL."""
    return AsyncHttpxTransport() if _behind_proxy(base_url) else AsyncStackTransport(base_url)


def origin(url: httpx.URL) -> tuple[str, str, int]:
    """Tell where a URL leads: scheme, host and port."""
    return url.scheme, url.raw_host.decode("ascii"), url.port or (443 if url.scheme == "https" else 80)


def _behind_proxy(base_url: str) -> bool:
    url = httpx.URL(base_url)
    proxies = getproxies()
    return bool((url.scheme in proxies or "all" in proxies) and not proxy_bypass(url.host))


class HttpxTransport(httpx.BaseTransport):
    """httpx, which knows the environment's proxies."""

    def __init__(self) -> None:
        self._client = httpx.Client()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request and read its whole answer."""
        return self._client.send(request)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


class StackTransport(httpx.BaseTransport):
    """HTTP/1.1 on the standard library's `http.client`, with a stack of idle connections to one host."""

    def __init__(self, base_url: str) -> None:
        self._origin = origin(httpx.URL(base_url))
        self._tls = httpx.create_ssl_context() if self._origin[0] == "https" else None
        # A deque's append and pop are atomic: no lock is needed.
        self._idle: deque[tuple[http.client.HTTPConnection, float]] = deque()
        self._closed = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request and read its whole answer."""
        if origin(request.url) != self._origin:
            with httpx.Client() as elsewhere:
                return elsewhere.send(request)
        timeouts = request.extensions.get("timeout", {})
        connection = self._take() or self._connect(timeouts.get("connect"))
        try:
            response = _exchange(connection, request, timeouts.get("read"))
        except BaseException:
            connection.close()
            raise
        if connection.sock is not None:  # else the other end said that it closes
            self._idle.append((connection, time.monotonic()))
            if self._closed:  # meanwhile, by another thread: nobody comes to close this one
                self.close()
        return response

    def _take(self) -> http.client.HTTPConnection | None:
        while True:
            try:
                connection, since = self._idle.pop()
            except IndexError:
                return None
            if time.monotonic() - since < _IDLE_S and not _has_input(connection):
                return connection
            connection.close()

    def _connect(self, timeout_s: float | None) -> http.client.HTTPConnection:
        _, host, port = self._origin
        connection: http.client.HTTPConnection
        if self._tls:
            connection = http.client.HTTPSConnection(host, port, timeout=timeout_s, context=self._tls)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
        try:
            connection.connect()
        except TimeoutError as error:
            connection.close()
            raise httpx.ConnectTimeout(f"no connection within {timeout_s:g} s") from error
        except (OSError, UnicodeError) as error:
            connection.close()
            raise httpx.ConnectError(str(error)) from error
        return connection

    def close(self) -> None:
        """Close the idle connections; one in use closes after its answer."""
        self._closed = True
        with suppress(IndexError):  # another thread may take the last one
            while True:
                self._idle.pop()[0].close()


def _exchange(
    connection: http.client.HTTPConnection, request: httpx.Request, timeout_s: float | None
) -> httpx.Response:
    connection.sock.settimeout(timeout_s)
    try:
        connection.putrequest(
            request.method, request.url.raw_path.decode("ascii"), skip_host=True, skip_accept_encoding=True
        )
        for name, value in request.headers.raw:
            connection.putheader(name, value)
        connection.endheaders(request.read())
        answer = connection.getresponse()
        # `http.client` takes headers that were cut off for all of them.
        may_be_cut = answer.length is None and not answer.chunked
        body = answer.read()
    except TimeoutError as error:
        raise httpx.ReadTimeout(f"no answer within {timeout_s:g} s") from error
    except (OSError, http.client.HTTPException) as error:
        raise httpx.ReadError(str(error) or type(error).__name__) from error
    if may_be_cut and not body and answer.status in _SUCCESS:
        raise httpx.RemoteProtocolError("the connection was cut within the answer")
    return httpx.Response(answer.status, headers=answer.getheaders(), content=body)


def _has_input(connection: http.client.HTTPConnection) -> bool:
    """Tell whether an idle connection has something to read: the other end closed it, or broke the protocol."""
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))


class AsyncHttpxTransport(httpx.AsyncBaseTransport):
    """httpx, which knows the environment's proxies."""

    def __init__(self) -> None:
        self._client = httpx.AsyncClient()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request and read its whole answer."""
        return await self._client.send(request)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


class AsyncStackTransport(httpx.AsyncBaseTransport):
    """A stack of httpx transports with one connection each: none has a pool to search through."""

    def __init__(self, base_url: str) -> None:
        self._origin = origin(httpx.URL(base_url))
        self._tls = httpx.create_ssl_context() if self._origin[0] == "https" else None
        self._idle: list[httpx.AsyncHTTPTransport] = []
        self._closed = False
        self._room = asyncio.Semaphore(_MOST_CONNECTIONS)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request and read its whole answer."""
        if origin(request.url) != self._origin:
            async with httpx.AsyncClient() as elsewhere:
                return await elsewhere.send(request)
        async with self._room:
            one = self._idle.pop() if self._idle else self._new()
            try:
                response = await one.handle_async_request(request)
                await response.aread()
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
        return httpx.AsyncHTTPTransport(verify=self._tls or False, limits=limits, trust_env=False)

    async def aclose(self) -> None:
        """Close the idle connections; one in use closes after its answer."""
        self._closed = True
        while self._idle:
            await self._idle.pop().aclose()
