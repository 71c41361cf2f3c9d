"""A camera that is switched on and has no picture yet: it answers RTSP, and describes no media."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_ANSWERS = (
    b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n",
    b"RTSP/1.0 200 OK\r\nCSeq: 2\r\nContent-Type: application/sdp\r\nContent-Length: 5\r\n\r\nv=0\r\n",
)


class _Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        for answer in _ANSWERS:
            if not self.request.recv(4096):
                return
            self.request.sendall(answer)
        self.request.recv(4096)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


@contextmanager
def no_camera(port: int = 0) -> Iterator[int]:
    """Answer at a port, or at any that is free; gives which."""
    with _Server(("127.0.0.1", port), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.1,))
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()
