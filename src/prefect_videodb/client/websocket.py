"""The WebSocket: what a stream says, as it says it.

A connection gets an id; what is to be sent over it is bound to that id (`ws_connection_id` of connect, transcripts,
indexes, alerts, sessions). When it is lost, it is made anew with back-off and has another id: what was bound has to be
bound again, which only the caller can do, so a `Connected` frame tells.
"""

import asyncio
import json
import logging
import random
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Self

import httpx
import websockets.asyncio.client
import websockets.exceptions
import websockets.sync.client

from prefect_videodb.client.call import Call, path
from prefect_videodb.client.hosts import LinkRefused, of_service, origin
from prefect_videodb.client.http import AsyncClient, Client
from prefect_videodb.client.models import Connected, Frame, WebSocketAddress
from prefect_videodb.client.models.frames import read_frame
from prefect_videodb.client.transport import connected_socket, proxy_of, tls_context
from prefect_videodb.errors import ConfigurationError, NotConnected, UnexpectedAnswer, VideoDBError
from prefect_videodb.redact import scrub_answer
from prefect_videodb.urls import WEBSOCKET, read

# The library logs addresses, which let in whoever reads them.
_SILENT = logging.getLogger("prefect_videodb.websocket.library")
_SILENT.disabled = True
_LOG = logging.getLogger(__name__)

# Before each try to connect again, the last one for all that follow; a tenth more or less, as others were cut off, too.
DELAYS_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_JITTER = 0.1
_OPENING_S = 20.0
# A frame is a sentence or an alert.
_LARGEST_FRAME = 4 * 2**20
_LOST = (OSError, TimeoutError, websockets.exceptions.WebSocketException)


def address(collection_id: str = "default") -> Call[WebSocketAddress]:
    """Ask where to connect; good for one connection, and for whoever has it.   GET /collection/{id}/websocket."""
    where = path("collection", collection_id, "websocket")
    return Call("GET", where, WebSocketAddress.model_validate, repeatable=True)


class _Socket:
    """What both kinds of connection have in common: the id, and when to try again."""

    def __init__(self, collection_id: str) -> None:
        self._collection_id = collection_id
        self._connected: Connected | None = None
        self._failures = 0

    @property
    def connection_id(self) -> str:
        """What to bind frames to: the `ws_connection_id` of other operations. Another one after each loss.

        Raises:
            NotConnected: when it was never connected.
        """
        if self._connected is None or self._connected.connection_id is None:
            raise NotConnected("the WebSocket is not connected")
        return self._connected.connection_id

    def _greeted(self, message: str | bytes) -> Connected:
        """Read the first frame of a connection."""
        frame = read_frame(message)
        if not isinstance(frame, Connected) or not frame.connection_id:
            raise UnexpectedAnswer(
                "the WebSocket's first frame names no connection", raw=scrub_answer(json.dumps(frame.raw))
            )
        frame.previous_id = self._connected.connection_id if self._connected else None
        self._connected, self._failures = frame, 0
        return frame

    def _pause_s(self, error: BaseException) -> float:
        """Return how long to wait before the next try, in seconds."""
        delay_s = DELAYS_S[min(self._failures, len(DELAYS_S) - 1)] * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - no secret
        self._failures += 1
        _LOG.warning("the WebSocket was lost (%s); it is connected again in %.1f s", type(error).__name__, delay_s)
        return delay_s


class WebSocketConnection(_Socket):
    """A WebSocket connection that is made anew when it is lost; `with` closes it.

    Args:
        client: asks for the address.
        collection_id: of which collection.
    """

    def __init__(self, client: Client, collection_id: str = "default") -> None:
        super().__init__(collection_id)
        self._client = client
        self._socket: websockets.sync.client.ClientConnection | None = None

    def connect(self) -> Connected:
        """Connect, and return the frame that names the connection.

        Raises:
            NotConnected: nobody listens there.
            AuthenticationError: the key is wrong.
            UnexpectedAnswer: what listens there is no WebSocket of this service, or no link may lead there.
        """
        self.close()
        url = _address(self._client.send(address(self._collection_id)))
        try:
            self._socket = websockets.sync.client.connect(
                url,
                sock=_connected(url, self._client.base_url),
                ssl=_tls(url),
                open_timeout=_OPENING_S,
                max_size=_LARGEST_FRAME,
                logger=_SILENT,
            )
            return self._greeted(self._socket.recv(timeout=_OPENING_S))
        except _LOST as error:
            lost = _not_connected(error)
        raise lost  # here, so that the first error, which may name the address, does not hang on it

    def frames(self, *, duration_s: float | None = None) -> Iterator[Frame]:
        """Yield what comes, beginning with the connection itself, for so many seconds or for ever.

        After a loss the next frame is a `Connected` with another id, and frames that were sent in between are gone.

        Raises:
            AuthenticationError: the key was revoked meanwhile.
        """
        ends_at = None if duration_s is None else time.monotonic() + duration_s
        yield self._connected if self._connected and self._socket else self.connect()
        while (left_s := _left(ends_at)) is None or left_s > 0:
            try:
                if self._socket is None:
                    yield self.connect()
                    continue
                yield read_frame(self._socket.recv(timeout=left_s))
            except TimeoutError:
                return
            except (*_LOST, VideoDBError) as error:
                if isinstance(error, VideoDBError) and not error.retry_is_safe:
                    raise
                self.close()
                pause_s = self._pause_s(error)
                time.sleep(pause_s if left_s is None else max(0.0, min(pause_s, left_s)))

    def close(self) -> None:
        """Close the connection; `connect` and `frames` make another one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> Self:
        if self._socket is None:
            self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncWebSocketConnection(_Socket):
    """A `WebSocketConnection` for asyncio."""

    def __init__(self, client: AsyncClient, collection_id: str = "default") -> None:
        super().__init__(collection_id)
        self._client = client
        self._socket: websockets.asyncio.client.ClientConnection | None = None

    async def connect(self) -> Connected:
        """Connect, and return the frame that names the connection.

        Raises:
            NotConnected: nobody listens there.
            AuthenticationError: the key is wrong.
            UnexpectedAnswer: what listens there is no WebSocket of this service, or no link may lead there.
        """
        await self.close()
        url = _address(await self._client.send(address(self._collection_id)))
        try:
            sock = await asyncio.to_thread(_connected, url, self._client.base_url)
            self._socket = await websockets.asyncio.client.connect(
                url, sock=sock, ssl=_tls(url), open_timeout=_OPENING_S, max_size=_LARGEST_FRAME, logger=_SILENT
            )
            async with asyncio.timeout(_OPENING_S):
                return self._greeted(await self._socket.recv())
        except _LOST as error:
            lost = _not_connected(error)
        raise lost  # here, so that the first error, which may name the address, does not hang on it

    async def frames(self, *, duration_s: float | None = None) -> AsyncIterator[Frame]:
        """Yield what comes, beginning with the connection itself, for so many seconds or for ever.

        After a loss the next frame is a `Connected` with another id, and frames that were sent in between are gone.

        Raises:
            AuthenticationError: the key was revoked meanwhile.
        """
        ends_at = None if duration_s is None else time.monotonic() + duration_s
        yield self._connected if self._connected and self._socket else await self.connect()
        while (left_s := _left(ends_at)) is None or left_s > 0:
            try:
                if self._socket is None:
                    yield await self.connect()
                    continue
                async with asyncio.timeout(left_s):
                    message = await self._socket.recv()
                yield read_frame(message)
            except TimeoutError:
                return
            except (*_LOST, VideoDBError) as error:
                if isinstance(error, VideoDBError) and not error.retry_is_safe:
                    raise
                await self.close()
                pause_s = self._pause_s(error)
                await asyncio.sleep(pause_s if left_s is None else max(0.0, min(pause_s, left_s)))

    async def close(self) -> None:
        """Close the connection; `connect` and `frames` make another one."""
        if self._socket is not None:
            await self._socket.close()
            self._socket = None

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _address(answer: WebSocketAddress) -> str:
    try:
        return read(answer.url.get_secret_value() if answer.url else "", WEBSOCKET).text
    except ConfigurationError as unusable:
        raise UnexpectedAnswer(f"the service names no address of a WebSocket: {unusable}") from None


def _connected(url: str, base_url: str) -> socket.socket | None:
    """Connect to where the service says, if a link may lead there; None where a proxy of the environment connects.

    The library is given the connection, so that it follows no redirect to another one.
    """
    try:
        to = httpx.URL(url)
        proxied = proxy_of((to.scheme.replace("ws", "http"), to.host, 0)) is not None
        admits = of_service(base_url).check(to, proxied=proxied)
        if proxied:
            return None
        _, host, port = origin(to)
        sock = connected_socket(host, port, time.monotonic() + _OPENING_S, admits=admits)
    except httpx.InvalidURL:
        raise UnexpectedAnswer("the service names no address of a WebSocket that can be read") from None
    except LinkRefused as reason:
        raise UnexpectedAnswer(f"the WebSocket that the service names is not connected: {reason}") from None
    sock.settimeout(None)
    return sock


def _tls(url: str) -> ssl.SSLContext | None:
    return tls_context() if url.startswith("wss:") else None


def _not_connected(error: BaseException) -> VideoDBError:
    """Say why there is no connection, without the address: that lets in whoever reads it."""
    if isinstance(error, websockets.exceptions.InvalidStatus):
        status = error.response.status_code
        return NotConnected(f"the WebSocket was refused (HTTP {status})")
    if isinstance(error, websockets.exceptions.InvalidURI):
        return ConfigurationError("the WebSocket's address cannot be used")
    return NotConnected(f"the WebSocket could not be connected ({type(error).__name__})")


def _left(ends_at: float | None) -> float | None:
    return None if ends_at is None else ends_at - time.monotonic()
