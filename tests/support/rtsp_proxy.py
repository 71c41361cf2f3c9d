"""A proxy in front of an RTSP server that refuses transports, as cameras do. Datagrams go past it."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from types import TracebackType


class RTSPProxy:
    """Forward RTSP requests to a server, but those that set up a refused transport.

    Args:
        url: the server's address.
        refuses: `tcp`, `udp`, or both.
        how: `461`, another status, `hang up`, or `silence` (accept it and send no media).
    """

    def __init__(self, url: str, *, refuses: frozenset[str], how: str = "461") -> None:
        parts = urlsplit(url)
        self._upstream = (parts.hostname or "", parts.port or 554)
        self._refuses, self._how = refuses, how
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"rtsp://127.0.0.1:{self._listener.getsockname()[1]}{parts.path}"
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._upstream)
            self._sockets += [client, server]
            silent = threading.Event()
            for target, arguments in (
                (self._requests, (client, server, silent)),
                (self._answers, (server, client, silent)),
            ):
                self._threads.append(threading.Thread(target=target, args=arguments))
                self._threads[-1].start()

    def _requests(self, client: socket.socket, server: socket.socket, silent: threading.Event) -> None:
        waiting = b""
        with suppress(OSError):
            while data := client.recv(65536):
                waiting += data
                while waiting:
                    if waiting[:1] == b"$":
                        end = 4 + int.from_bytes(waiting[2:4], "big")
                    else:
                        end = waiting.find(b"\r\n\r\n") + 4
                    if end < 4 or len(waiting) < end:
                        break
                    request, waiting = waiting[:end], waiting[end:]
                    transport = "tcp" if b"RTP/AVP/TCP" in request else "udp"
                    if not request.startswith(b"SETUP") or transport not in self._refuses:
                        server.sendall(request)
                    elif self._how == "hang up":
                        client.shutdown(socket.SHUT_RDWR)
                        server.shutdown(socket.SHUT_RDWR)
                    elif self._how == "silence":
                        silent.set()
                        server.sendall(request)
                    else:
                        sequence = next(line for line in request.split(b"\r\n") if line.lower().startswith(b"cseq"))
                        client.sendall(b"RTSP/1.0 " + self._how.encode() + b" Refused\r\n" + sequence + b"\r\n\r\n")
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)

    def _answers(self, server: socket.socket, client: socket.socket, silent: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if not (silent.is_set() and data[:1] == b"$"):
                    client.sendall(data)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for each in self._sockets:
            each.close()
