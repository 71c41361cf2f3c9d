"""The WebSocket connections that callers hold, and what is sent over them."""

import asyncio
import hmac
import json
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from prefect_videodb.local_server import ids

logger = logging.getLogger(__name__)

# How long an address that was given out lets somebody connect.
ADDRESS_S = 24 * 3600
# Frames that wait for one reader. Who is further behind is cut off, and may connect anew.
WAITING = 1000
TOO_SLOW, NO_SUCH_ADDRESS = 1013, 4401


@dataclass(slots=True)
class _Connection:
    loop: asyncio.AbstractEventLoop
    frames: asyncio.Queue[str | None] = field(default_factory=lambda: asyncio.Queue(WAITING))


class Hub:
    """The open connections of one server. What is sent to a connection that is gone goes nowhere."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._connections: dict[str, _Connection] = {}
        self._lock = threading.Lock()

    def path(self) -> str:
        """Return where to connect: good for a day, and for whoever has it."""
        expires = int(time.time()) + ADDRESS_S
        return f"/websocket/{expires}.{self._signature(expires)}"

    def send(self, connection_id: str | None, frame: Mapping[str, Any]) -> None:
        """Send a frame; from any thread, and never waiting."""
        with self._lock:
            connection = self._connections.get(connection_id or "")
        if connection:
            connection.loop.call_soon_threadsafe(_put, connection, json.dumps(frame))

    async def serve(self, socket: WebSocket) -> None:
        """Hold one connection until either side ends it."""
        if not self._is_good(socket.path_params["ticket"]):
            await socket.close(NO_SUCH_ADDRESS)
            return
        await socket.accept()
        connection_id = ids.uuid7()
        connection = _Connection(asyncio.get_running_loop())
        with self._lock:
            self._connections[connection_id] = connection
        reading = asyncio.create_task(_read(socket, connection))
        try:
            await socket.send_text(json.dumps({"connection_id": connection_id}))
            while (frame := await connection.frames.get()) is not None:
                await socket.send_text(frame)
            if not reading.done():
                await socket.close(TOO_SLOW)
        except (WebSocketDisconnect, RuntimeError):
            logger.debug("a WebSocket reader hung up")
        finally:
            with self._lock:
                del self._connections[connection_id]
            reading.cancel()

    def _signature(self, expires: int) -> str:
        return hmac.digest(self._secret, f"websocket {expires}".encode(), sha256).hex()[:32]

    def _is_good(self, ticket: str) -> bool:
        expires, _, signature = ticket.partition(".")
        if not expires.isascii() or not expires.isdigit() or len(expires) > len(str(2**53)):
            return False
        expected = self._signature(int(expires))
        return hmac.compare_digest(expected.encode(), signature.encode()) and int(expires) > time.time()


async def _read(socket: WebSocket, connection: _Connection) -> None:
    """Take what the caller sends, which means nothing here, until it hangs up."""
    try:
        while (await socket.receive())["type"] != "websocket.disconnect":
            pass
    finally:
        _end(connection)


def _put(connection: _Connection, frame: str) -> None:
    if connection.frames.qsize() >= WAITING - 1:
        _end(connection)
    else:
        connection.frames.put_nowait(frame)


def _end(connection: _Connection) -> None:
    """Let the sender end after what it sends now."""
    while not connection.frames.empty():
        connection.frames.get_nowait()
    connection.frames.put_nowait(None)
