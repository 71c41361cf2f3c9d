"""A tiny proxy on loopback: forwards plain requests, tunnels what is asked for with CONNECT, and notes both."""

import select
import socket
import socketserver
import threading
from types import TracebackType
from typing import Self, cast
from urllib.parse import urlsplit

_CHUNK = 65536


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        proxy = cast("_Server", self.server)
        line = self.rfile.readline()
        if not line:
            return
        method, target, version = line.decode("latin-1").split()
        headers = []
        while (header := self.rfile.readline()) not in {b"\r\n", b""}:
            headers.append(header)
        length = next((int(h.split(b":")[1]) for h in headers if h.lower().startswith(b"content-length:")), 0)
        body = self.rfile.read(length)
        proxy.asked.append(f"{method} {target}")
        if method == "CONNECT":
            host, _, port = target.rpartition(":")
            first, greeting = b"", b"HTTP/1.1 200 Connection established\r\n\r\n"
        else:
            parts = urlsplit(target)
            host, port = parts.hostname or "", str(parts.port or 80)
            path = parts._replace(scheme="", netloc="").geturl()
            # One request a connection: what comes after is not looked at.
            kept = [header for header in headers if not header.lower().startswith((b"connection:", b"proxy-"))]
            first = f"{method} {path} {version}\r\n".encode() + b"".join(kept) + b"Connection: close\r\n\r\n"
            greeting = b""
        with socket.create_connection((host, int(port))) as upstream:
            self.wfile.write(greeting)
            upstream.sendall(first + body)
            if method != "CONNECT":
                # The answer says so, too, or the client would send the next request into a connection that closes.
                self.wfile.write(upstream.recv(_CHUNK).replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            self._pump(upstream)

    def _pump(self, upstream: socket.socket) -> None:
        other = {self.connection: upstream, upstream: self.connection}
        while True:
            for ready in select.select(list(other), [], [], 120)[0]:
                data = ready.recv(_CHUNK)
                if not data:
                    return
                other[ready].sendall(data)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []


class Proxy:
    """A proxy that runs until closed; `asked` holds the method and target of each request made to it."""

    def __init__(self) -> None:
        self._server = _Server()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def asked(self) -> list[str]:
        """What was asked of it, in order."""
        return self._server.asked

    def close(self) -> None:
        """Stop, and wait for every tunnel to end: the clients close first."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
