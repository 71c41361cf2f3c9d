"""The embedded server as a context manager: state, HTTP in a thread, and something to record."""

import errno
import socket
import threading
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

import uvicorn

from prefect_videodb.local_server import DEFAULT_KEY
from prefect_videodb.local_server.app import create_app
from prefect_videodb.local_server.errors import PortInUse, ServerError
from prefect_videodb.local_server.hosts import HostCheck, is_loopback
from prefect_videodb.local_server.media.rtsp_server import LoopingRTSPServer
from prefect_videodb.local_server.media.sample import sample_meeting
from prefect_videodb.local_server.speech import SpeechEngine
from prefect_videodb.local_server.state import State

# How long answers under way may take when the server is closed.
CLOSING_S = 2


class LocalServer:
    """An embedded VideoDB on a data folder, from `with` to its end.

    Streams that are connected when it ends go on being recorded when the next server takes over the folder.
    `port` 0 takes a free one. On a host that others can reach, `api_key` has to be one of your own. Requests are
    answered whose `Host` header names `host`, this machine, or one of `allow_hosts`. With `sample`, a meeting that
    never ends is served at `sample_url`, to have something to record; with `sample_port` 0 its port is a free one,
    another one at each start. `speech` replaces the built-in recognizer.

    Raises:
        FolderInUse: when another server works in the folder.
        PortInUse: when another program listens on the port, or on that of the sample.
        ServerError: when the folder or the address cannot be used, or others could use the default key.
    """

    def __init__(
        self,
        data: Path,
        *,
        api_key: str = DEFAULT_KEY,
        port: int = 0,
        host: str = "127.0.0.1",
        allow_hosts: Collection[str] = (),
        sample: bool = True,
        sample_port: int = 0,
        speech: SpeechEngine | None = None,
    ) -> None:
        if not api_key.isascii() or not api_key.isprintable() or not api_key.strip():
            raise ServerError("the API key must be printable ASCII: it travels in a header")
        if api_key == DEFAULT_KEY and not is_loopback(host):
            raise ServerError(
                f"on {host} others can reach this server, and everybody knows the default key {DEFAULT_KEY!r}: "
                "choose a key of your own (--key, api_key=)"
            )
        self.api_key = api_key
        self._hosts = HostCheck(host, allow_hosts)
        self._data = data
        self._address = (host, port)
        self._sample = sample
        self._sample_port = sample_port
        self._speech = speech
        self._base_url = ""
        self._sample_url: str | None = None
        self._running = ExitStack()

    @property
    def base_url(self) -> str:
        """Where it listens: give it to a client as its base URL."""
        return self._base_url

    @property
    def sample_url(self) -> str:
        """The RTSP address of the endless sample meeting.

        Raises:
            ServerError: when the server was made without a sample.
        """
        if self._sample_url is None:
            raise ServerError("this server runs without the sample meeting")
        return self._sample_url

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            # The address first: a port that is taken should not restart recordings for a moment.
            listener = stack.enter_context(_listen(*self._address))
            if self._sample:
                self._sample_url = stack.enter_context(_sample_server(self._sample_port)).url
            state = stack.enter_context(State(self._data, speech=self._speech, sample_url=self._sample_url))
            http = _HTTP(uvicorn.Config(
                create_app(state, self.api_key, self._hosts),
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="websockets-sansio",
                timeout_graceful_shutdown=CLOSING_S,
            ), listener)  # fmt: skip
            stack.callback(http.stop)
            http.start()
            host, port = listener.getsockname()[:2]
            self._base_url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            self._running = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()


class _HTTP:
    """uvicorn in a thread."""

    def __init__(self, config: uvicorn.Config, listener: socket.socket) -> None:
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), name="videodb-http")

    def start(self) -> None:
        """Start to answer. Callers that come before it does wait in the listener's queue."""
        self._thread.start()

    def stop(self) -> None:
        """Stop to answer, after what is under way or a few seconds."""
        self._server.should_exit = True
        self._thread.join()


def _sample_server(port: int) -> LoopingRTSPServer:
    with _explained("127.0.0.1", port, "another one for the sample meeting (--sample-port, sample_port=)"):
        return LoopingRTSPServer(sample_meeting(), port=port)


def _listen(host: str, port: int) -> socket.socket:
    with _explained(host, port, "another one"):
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=128)


@contextmanager
def _explained(host: str, port: int, other: str) -> Iterator[None]:
    """Raise what cannot be listened on as an error that says what to choose."""
    try:
        yield
    except socket.gaierror:
        raise ServerError(f"{host} is no address of this machine") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(f"port {port} is taken by another program: choose {other}, or 0 for any") from None
        raise ServerError(f"cannot listen on {host} port {port}: {error.strerror or error}") from None
    except OverflowError:
        raise ServerError(f"{port} is no port: choose one from 0 to 65535") from None
