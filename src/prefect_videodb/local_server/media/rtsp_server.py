"""A small RTSP server that plays a media file in an endless loop, as a camera or a meeting would send it.

One thread does everything with sockets that never block, so a client that is slow, dead or hostile costs the others
nothing: what it does not take in time gets it disconnected.
"""

from __future__ import annotations

import errno
import selectors
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from secrets import token_hex
from typing import TYPE_CHECKING, Final, Self

from prefect_videodb.local_server import urls
from prefect_videodb.local_server.media.rtp import LoopedMedia

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from prefect_videodb.local_server.media.rtp import Unit

_MOST_CLIENTS: Final = 256
_MOST_REQUEST_BYTES: Final = 8 * 1024
_MOST_WAITING_BYTES: Final = 4 * 1024 * 1024
_IDLE_S: Final = 60.0
_NO_DESCRIPTOR_S: Final = 0.05
_REPORT_EVERY_S: Final = 5.0
# A machine that was busy catches up; one that slept goes on from now, as a camera would.
_MOST_LATE_S: Final = 10.0
_METHODS: Final = "OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN"
_REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    454: "Session Not Found",
    455: "Method Not Valid in This State",
    461: "Unsupported Transport",
    503: "Service Unavailable",
}
_INTERLEAVED: Final = 0x24
_LEAST_UDP_PORT: Final = 1024
_MOST_PORT: Final = 65_535


class _Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, *, hang_up: bool = False) -> None:
        super().__init__(status)
        self.status = status
        self.hang_up = hang_up


@dataclass(frozen=True, slots=True)
class _Delivery:
    """How one track goes to one client: a channel of its connection, or a pair of its UDP ports."""

    channel: int | None
    rtp: tuple[str, int] | None = None
    rtcp: tuple[str, int] | None = None


@dataclass(eq=False, slots=True)
class _Client:
    connection: socket.socket
    address: str
    heard_at: float
    session: str = ""
    deliveries: dict[int, _Delivery] = field(default_factory=dict)
    is_playing: bool = False
    has_started: bool = False
    reported_at: float = -_REPORT_EVERY_S
    incoming: bytearray = field(default_factory=bytearray)
    outgoing: bytearray = field(default_factory=bytearray)
    is_leaving: bool = False


class LoopingRTSPServer:
    """Play a file of H.264 and AAC in an endless loop to any number of RTSP clients, over TCP or UDP.

    A context manager: inside it `url` is served, and when it ends every connection is closed. The loop runs by the
    clock from the moment of entering, whoever listens: who comes later joins in the middle, on a keyframe. Raise
    `BadMedia` for a file that cannot be played, and `OSError` when the port is taken.
    """

    def __init__(self, media: Path, *, host: str = "127.0.0.1", port: int = 0, path: str = "meeting") -> None:
        self._media = LoopedMedia(media)
        self._path = path.strip("/")
        self._listener = socket.create_server((host, port), backlog=128)
        try:
            self._udp = _udp_pair(host)
        except OSError:
            self._listener.close()
            raise
        self._listener.settimeout(0.0)
        self._waker, self._woken = socket.socketpair()
        self._host = host
        self._port = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._clients: set[_Client] = set()
        self._thread = threading.Thread(target=self._serve, name=f"rtsp-server-{self._port}", daemon=True)
        self._started_at = 0.0
        self._wall_at_start = 0.0

    @property
    def url(self) -> str:
        """Where a client finds the loop."""
        return f"rtsp://{self._host}:{self._port}/{self._path}"

    @property
    def clients(self) -> int:
        """How many connections are open."""
        return len(self._clients)

    def position_s(self) -> float:
        """Return where in the loop it plays at this moment, in seconds."""
        return (time.monotonic() - self._started_at) % self._media.period_s

    def __enter__(self) -> Self:
        self._started_at = time.monotonic()
        self._wall_at_start = time.time()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop playing, and close every socket; a second call changes nothing."""
        if self._waker.fileno() < 0:
            return
        if self._thread.is_alive():
            self._waker.send(b"x")
            self._thread.join()
        for open_socket in (self._listener, *self._udp, self._waker, self._woken):
            open_socket.close()
        self._selector.close()

    # The loop.

    def _serve(self) -> None:
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        loop, index = 0, 0
        was_playing = False
        try:
            while True:
                playing = [client for client in self._clients if client.is_playing]
                now_s = time.monotonic() - self._started_at
                if playing and not was_playing:
                    loop, index = self._media.position(now_s)
                was_playing = bool(playing)
                wait_s = self._due_s(loop, index) - now_s if playing else 1.0
                for key, events in self._selector.select(max(0.0, min(wait_s, 1.0))):
                    if key.fileobj is self._woken:
                        return
                    if key.fileobj is self._listener:
                        self._accept()
                    else:
                        self._attend(key.data, events)
                self._drop_idle()
                if not playing:
                    continue
                now_s = time.monotonic() - self._started_at
                if now_s - self._due_s(loop, index) > _MOST_LATE_S:
                    loop, index = self._media.position(now_s)
                while self._due_s(loop, index) <= now_s:
                    self._send(loop, self._media.units[index], playing)
                    loop, index = (loop + 1, 0) if index + 1 == len(self._media.units) else (loop, index + 1)
        finally:
            for client in list(self._clients):
                self._drop(client)

    def _due_s(self, loop: int, index: int) -> float:
        return loop * self._media.period_s + self._media.units[index].send_s

    def _accept(self) -> None:
        try:
            connection, address = self._listener.accept()
        except OSError as error:
            # The client went away again; or no descriptor is free, and asking again at once would only burn the core.
            if error.errno in {errno.EMFILE, errno.ENFILE}:
                time.sleep(_NO_DESCRIPTOR_S)
            return
        if len(self._clients) >= _MOST_CLIENTS:
            connection.close()
            return
        connection.settimeout(0.0)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = _Client(connection, address[0], time.monotonic())
        self._clients.add(client)
        self._selector.register(connection, selectors.EVENT_READ, client)

    def _drop(self, client: _Client) -> None:
        if client in self._clients:
            self._clients.remove(client)
            self._selector.unregister(client.connection)
            client.connection.close()
        client.is_playing = False

    def _drop_idle(self) -> None:
        """Drop who has been silent for too long; who takes pictures over its connection is alive by that."""
        now = time.monotonic()
        for client in list(self._clients):
            takes = client.is_playing and any(way.channel is not None for way in client.deliveries.values())
            if not takes and now - client.heard_at > _IDLE_S:
                self._drop(client)

    # Pictures and sound out.

    def _send(self, loop: int, unit: Unit, clients: list[_Client]) -> None:
        packets = list(self._media.packets(loop, unit))
        framed: dict[int, bytes] = {}
        for client in clients:
            if not client.is_playing or not (client.has_started or self._may_start(client, unit)):
                continue
            media_s = loop * self._media.period_s + unit.send_s
            if media_s - client.reported_at >= _REPORT_EVERY_S:
                client.reported_at = media_s
                self._report(client, loop, unit.send_s)
            way = client.deliveries.get(unit.track)
            if way is None:
                continue
            if way.channel is None:
                for packet in packets:
                    self._send_udp(0, packet, way.rtp)
            else:
                if way.channel not in framed:
                    framed[way.channel] = b"".join(_frame(way.channel, packet) for packet in packets)
                self._send_tcp(client, framed[way.channel])

    def _may_start(self, client: _Client, unit: Unit) -> bool:
        """Begin with a keyframe: what comes before it nobody can decode."""
        is_first = not self._media.has_video or (unit.is_keyframe and self._media.tracks[unit.track].kind == "video")
        client.has_started = is_first
        return is_first

    def _report(self, client: _Client, loop: int, send_s: float) -> None:
        wall = self._wall_at_start + loop * self._media.period_s + send_s
        for number, way in client.deliveries.items():
            report = self._media.sender_report(number, loop, send_s, wall)
            if way.channel is None:
                self._send_udp(1, report, way.rtcp)
            else:
                self._send_tcp(client, _frame(way.channel + 1, report))

    def _send_udp(self, which: int, packet: bytes, target: tuple[str, int] | None) -> None:
        if target is None:
            return
        try:
            self._udp[which].sendto(packet, target)
        except OSError:
            # A datagram may be lost: a full buffer, or nobody there any more. The client's connection tells.
            return

    def _send_tcp(self, client: _Client, data: bytes) -> None:
        """Send now what the connection takes, keep the rest; drop a client that lags behind too far."""
        waiting = bool(client.outgoing)
        try:
            sent = 0 if waiting else client.connection.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._drop(client)
            return
        if sent == len(data):
            return
        client.outgoing += memoryview(data)[sent:]
        if len(client.outgoing) > _MOST_WAITING_BYTES:
            self._drop(client)
        elif not waiting:
            self._selector.modify(client.connection, selectors.EVENT_READ | selectors.EVENT_WRITE, client)

    # Requests in.

    def _attend(self, client: _Client, events: int) -> None:
        if client in self._clients and events & selectors.EVENT_WRITE:
            self._flush(client)
        if client in self._clients and events & selectors.EVENT_READ:
            self._receive(client)

    def _flush(self, client: _Client) -> None:
        try:
            sent = client.connection.send(client.outgoing)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._drop(client)
            return
        del client.outgoing[:sent]
        if not client.outgoing:
            self._selector.modify(client.connection, selectors.EVENT_READ, client)
            if client.is_leaving:
                self._drop(client)

    def _receive(self, client: _Client) -> None:
        try:
            data = client.connection.recv(64 * 1024)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data or client.is_leaving:
            self._drop(client)
            return
        client.incoming += data
        client.heard_at = time.monotonic()
        while client in self._clients and not client.is_leaving and self._take_request(client):
            pass

    def _take_request(self, client: _Client) -> bool:
        """Answer the next complete request of a client; return whether there may be another."""
        waiting = client.incoming
        if waiting[:1] == bytes([_INTERLEAVED]):
            # A receiver's report: nothing to do about it.
            if len(waiting) < 4:  # noqa: PLR2004 - "$", a channel, two bytes of length
                return False
            end = 4 + int.from_bytes(waiting[2:4], "big")
            if len(waiting) < end:
                return False
            del waiting[:end]
            return True
        end = waiting.find(b"\r\n\r\n")
        if end < 0 or end > _MOST_REQUEST_BYTES:
            if len(waiting) > _MOST_REQUEST_BYTES:
                self._answer(client, "0", 400, hang_up=True)
            return False
        sequence = "0"
        try:
            method, url, headers = _parse(bytes(waiting[:end]))
            sequence = str(_number(headers.get("cseq", ""), (1 << 32) - 1))
            whole = end + 4 + _number(headers.get("content-length", "0"), _MOST_REQUEST_BYTES)
            if len(waiting) < whole:
                return False
            del waiting[:whole]
            self._handle(client, method, url, headers)
        except _Refused as refused:
            self._answer(client, sequence, refused.status, hang_up=refused.hang_up)
        return True

    def _handle(self, client: _Client, method: str, url: str, headers: dict[str, str]) -> None:
        sequence = str(_number(headers["cseq"], (1 << 32) - 1))
        if method == "OPTIONS":
            self._answer(client, sequence, 200, {"Public": _METHODS})
            return
        number = self._find(url)
        given = headers.get("session", "").partition(";")[0].strip()
        if method == "DESCRIBE":
            self._answer(
                client,
                sequence,
                200,
                {"Content-Base": f"{self.url}/", "Content-Type": "application/sdp"},
                body="".join(
                    [
                        f"v=0\r\no=- 0 0 IN IP4 {self._host}\r\ns=Live meeting\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n",
                        "a=control:*\r\na=range:npt=0-\r\n",
                        *(track.sdp for track in self._media.tracks),
                    ]
                ),
            )
        elif method == "SETUP":
            self._set_up(client, sequence, number, headers.get("transport", ""))
        elif method in {"PLAY", "GET_PARAMETER", "TEARDOWN"}:
            if method != "GET_PARAMETER" and (not client.session or given != client.session):
                raise _Refused(454)
            if method == "PLAY":
                client.is_playing = True
            session = {"Session": client.session} if client.session else {}
            if method == "PLAY":
                session["Range"] = "npt=0.000-"
            self._answer(client, sequence, 200, session, hang_up=method == "TEARDOWN")
        else:
            raise _Refused(405)

    def _find(self, url: str) -> int | None:
        """Return the track that a URL names, None for the whole; refuse what is not served here."""
        try:
            path = self._path if url == "*" else urls.read(url, ("rtsp",)).path.strip("/")
        except urls.BadUrl:
            raise _Refused(400) from None
        if path == self._path:
            return None
        for number in range(len(self._media.tracks)):
            if path == f"{self._path}/track{number}":
                return number
        raise _Refused(404)

    def _set_up(self, client: _Client, sequence: str, number: int | None, transport: str) -> None:
        if number is None:
            if len(self._media.tracks) > 1:
                raise _Refused(455)
            number = 0
        if client.is_playing:
            raise _Refused(455)
        for offer in transport.split(","):
            profile, *parameters = [part.strip() for part in offer.split(";")]
            values = {name: value for name, _, value in (parameter.partition("=") for parameter in parameters)}
            if "multicast" in values:
                continue
            if profile.upper() == "RTP/AVP/TCP":
                channel = _pair(values.get("interleaved", f"{2 * number}-{2 * number + 1}"), 0, 254)
                way = _Delivery(channel[0])
                accepted = f"RTP/AVP/TCP;unicast;interleaved={channel[0]}-{channel[0] + 1}"
            elif profile.upper() in {"RTP/AVP", "RTP/AVP/UDP"} and "client_port" in values:
                ports = _pair(values["client_port"], _LEAST_UDP_PORT, _MOST_PORT)
                way = _Delivery(None, (client.address, ports[0]), (client.address, ports[1]))
                mine = "-".join(str(sender.getsockname()[1]) for sender in self._udp)
                accepted = f"RTP/AVP;unicast;client_port={ports[0]}-{ports[1]};server_port={mine}"
            else:
                continue
            client.deliveries[number] = way
            client.session = client.session or token_hex(8)
            accepted += f";ssrc={self._media.tracks[number].ssrc:08X}"
            session = f"{client.session};timeout={int(_IDLE_S)}"
            self._answer(client, sequence, 200, {"Transport": accepted, "Session": session})
            return
        raise _Refused(461)

    def _answer(
        self,
        client: _Client,
        sequence: str,
        status: int,
        headers: dict[str, str] | None = None,
        *,
        body: str = "",
        hang_up: bool = False,
    ) -> None:
        lines = [f"RTSP/1.0 {status} {_REASONS[status]}", f"CSeq: {sequence}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body:
            lines.append(f"Content-Length: {len(body.encode())}")
        if hang_up:
            client.is_playing = False
        self._send_tcp(client, ("\r\n".join(lines) + "\r\n\r\n" + body).encode())
        if hang_up and client in self._clients:
            client.is_leaving = True
            if not client.outgoing:
                self._drop(client)


def _frame(channel: int, packet: bytes) -> bytes:
    """Wrap a packet for a client that takes it over the connection of its requests."""
    return struct.pack("!BBH", _INTERLEAVED, channel, len(packet)) + packet


def _parse(head: bytes) -> tuple[str, str, dict[str, str]]:
    """Read the head of a request; header names in lower case."""
    try:
        first, *lines = head.decode("utf-8").split("\r\n")
        method, url, version = first.split(" ")
        headers = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon:
                raise _Refused(400, hang_up=True)
            headers[name.strip().lower()] = value.strip()
    except ValueError:
        raise _Refused(400, hang_up=True) from None
    if not version.startswith("RTSP/1."):
        raise _Refused(400, hang_up=True)
    return method, url, headers


def _number(text: str, most: int) -> int:
    """Read a header that is a plain number; hang up on who sends anything else."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and int(text) <= most):
        raise _Refused(400, hang_up=True)
    return int(text)


def _pair(text: str, least: int, most: int) -> tuple[int, int]:
    """Read `a-b`, two numbers of channels or ports; refuse what is out of range."""
    first, dash, second = text.partition("-")
    try:
        pair = (int(first), int(second) if dash else int(first) + 1)
    except ValueError:
        raise _Refused(461) from None
    if not all(least <= number <= most + 1 and number <= _MOST_PORT for number in pair):
        raise _Refused(461)
    return pair


def _udp_pair(host: str) -> tuple[socket.socket, socket.socket]:
    """Bind two neighbouring UDP ports, an even one for media and the next for reports."""
    for _ in range(64):
        media = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        reports = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            media.bind((host, 0))
            port = media.getsockname()[1]
            if port % 2 == 0:
                reports.bind((host, port + 1))
                for bound in (media, reports):
                    bound.settimeout(0.0)
                return media, reports
        except OSError:
            # Taken meanwhile: another pair will do.
            pass
        media.close()
        reports.close()
    raise OSError("no two neighbouring UDP ports are free")
