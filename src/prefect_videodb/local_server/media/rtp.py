"""One loop of a media file as RTP packets that can be sent for ever, and the SDP that describes them. No sockets."""

from __future__ import annotations

import base64
import secrets
import struct
from bisect import bisect_left
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final, Literal

import av
import av.error
from av.audio.stream import AudioStream

from prefect_videodb.local_server.media.errors import BadMedia

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from av.stream import Stream

_PACKET_BYTES: Final = 1400
_VIDEO_CLOCK: Final = 90_000
_RTP_HEADER_BYTES: Final = 12
_SENDER_REPORT: Final = 200
_NTP_EPOCH_S: Final = 2_208_988_800
_SEQUENCES: Final = 1 << 16
_TICKS: Final = 1 << 32


@dataclass(frozen=True, slots=True)
class Track:
    """What a client must know to set up one of the file's tracks."""

    kind: Literal["audio", "video"]
    clock: int
    ssrc: int
    sdp: str


@dataclass(frozen=True, slots=True)
class Unit:
    """The packets of one picture or of one stretch of sound; sent together, at `send_s` seconds into the loop."""

    track: int
    send_s: float
    is_keyframe: bool
    tick: int
    """The RTP time stamp of the first loop."""
    sequence: int
    """The sequence number of the first packet, counted from the beginning of the loop."""
    packets: tuple[bytes, ...]


class LoopedMedia:
    """A file of H.264 and AAC, read once, as packets whose numbers and time stamps go on from loop to loop.

    Everybody who listens gets the same packets, so one reading and one packetising serve any number of clients.
    Raise `BadMedia` when the file is none, or holds neither H.264 nor AAC.
    """

    def __init__(self, media: Path) -> None:
        self.tracks: list[Track] = []
        units: list[Unit] = []
        try:
            with av.open(f"file:{media}", "r") as source:
                ends_s: list[float] = []
                for stream in (*source.streams.video[:1], *source.streams.audio[:1]):
                    number = len(self.tracks)
                    self.tracks.append(_describe(stream, number))
                    found, end_s = _packetise(media, stream.index, number, self.tracks[-1].clock)
                    units += found
                    ends_s.append(end_s)
        except (av.error.FFmpegError, OSError) as error:
            raise BadMedia(f"{media} cannot be played: {error.strerror}") from error
        if not units:
            raise BadMedia(f"{media} holds neither H.264 video nor AAC sound to play")
        self.units = sorted(units, key=lambda unit: unit.send_s)
        self.has_video = any(track.kind == "video" for track in self.tracks)
        self._period = Fraction(max(ends_s)).limit_denominator(_VIDEO_CLOCK)
        self.period_s = float(self._period)
        self._packets_a_loop = [
            sum(len(unit.packets) for unit in self.units if unit.track == number) for number in range(len(self.tracks))
        ]
        self._send_times = [unit.send_s for unit in self.units]

    def position(self, elapsed_s: float) -> tuple[int, int]:
        """Return the loop and the index of the first unit that is due at or after so many seconds of playing."""
        loop, rest_s = divmod(elapsed_s, self.period_s)
        index = bisect_left(self._send_times, rest_s)
        return (int(loop) + 1, 0) if index == len(self.units) else (int(loop), index)

    def packets(self, loop: int, unit: Unit) -> Iterator[bytes]:
        """Yield a unit's packets as they are sent in this loop, counted from 0."""
        first = loop * self._packets_a_loop[unit.track] + unit.sequence
        tick = (unit.tick + self._shift(loop, unit.track)) % _TICKS
        ssrc = self.tracks[unit.track].ssrc
        for number, packet in enumerate(unit.packets, first):
            yield packet[:2] + struct.pack("!HII", number % _SEQUENCES, tick, ssrc) + packet[_RTP_HEADER_BYTES:]

    def sender_report(self, number: int, loop: int, send_s: float, wall: float) -> bytes:
        """Return the RTCP report that ties a track's time stamps to the wall clock: players align sound by it."""
        track = self.tracks[number]
        tick = (round(send_s * track.clock) + self._shift(loop, number)) % _TICKS
        seconds, fraction = divmod(wall + _NTP_EPOCH_S, 1)
        return struct.pack(
            "!BBHIIIIII", 0x80, _SENDER_REPORT, 6, track.ssrc, int(seconds) % _TICKS, int(fraction * _TICKS), tick, 0, 0
        )

    def _shift(self, loop: int, number: int) -> int:
        """Return how many ticks of its clock a track is further on in this loop than in the first."""
        return round(loop * self._period * self.tracks[number].clock)


class _Writes:
    """A file that keeps what is written to it, write by write: the RTP muxer makes one write a packet."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    def write(self, data: bytes) -> int:
        self.taken.append(bytes(data))
        return len(data)

    def take(self) -> tuple[bytes, ...]:
        """Hand over the RTP packets written since the last call; our own reports replace the muxer's."""
        packets = tuple(packet for packet in self.taken if packet[1] != _SENDER_REPORT)
        self.taken.clear()
        return packets


def _packetise(media: Path, index: int, number: int, clock: int) -> tuple[list[Unit], float]:
    """Cut one track of the file into units; return them, and the second at which the track ends."""
    units: list[Unit] = []
    writes = _Writes()
    end_s = 0.0
    sequence = 0
    origin: int | None = None
    send_s = 0.0
    is_keyframe = False

    def keep(packets: tuple[bytes, ...]) -> None:
        nonlocal sequence, origin
        for tick, group in _by_time_stamp(packets):
            if origin is None:
                origin = tick - first_tick
            at = (tick - origin + _TICKS // 2) % _TICKS - _TICKS // 2
            # Sound that an encoder puts before the beginning is there to be thrown away.
            if at < 0:
                continue
            units.append(Unit(number, send_s, is_keyframe, at, sequence, group))
            sequence += len(group)

    options = {"packetsize": str(_PACKET_BYTES), "payload_type": str(96 + number)}
    with av.open(f"file:{media}", "r") as source, av.open(writes, "w", format="rtp", options=options) as out:
        stream = source.streams[index]
        target = out.add_stream_from_template(stream)
        first_tick = 0
        for packet in source.demux(stream):
            if packet.dts is None or packet.pts is None:
                continue
            if not sequence and not writes.taken and origin is None:
                first_tick = round(packet.pts * packet.time_base * clock)
            send_s = max(0.0, float(packet.dts * packet.time_base))
            end_s = max(end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            is_keyframe = packet.is_keyframe
            packet.stream = target
            out.mux_one(packet)
            keep(writes.take())
        out.close()
        keep(writes.take())
    return units, end_s


def _by_time_stamp(packets: tuple[bytes, ...]) -> Iterator[tuple[int, tuple[bytes, ...]]]:
    """Group packets that carry the same time stamp; several stretches of sound may come out at once."""
    group: list[bytes] = []
    current = -1
    for packet in packets:
        tick = int.from_bytes(packet[4:8], "big")
        if tick != current and group:
            yield current, tuple(group)
            group = []
        current = tick
        group.append(packet)
    if group:
        yield current, tuple(group)


def _describe(stream: Stream, number: int) -> Track:
    """Write the SDP lines of a track; raise `BadMedia` when it is neither H.264 nor AAC out of an mp4 file."""
    payload = 96 + number
    ssrc = secrets.randbits(32)
    extradata = stream.codec_context.extradata or b""
    if stream.type == "video" and stream.codec_context.name == "h264" and extradata[:1] == b"\x01":
        parameters = ",".join(base64.b64encode(nal).decode() for nal in _parameter_sets(extradata))
        sdp = (
            f"m=video 0 RTP/AVP {payload}\r\n"
            f"a=rtpmap:{payload} H264/{_VIDEO_CLOCK}\r\n"
            f"a=fmtp:{payload} packetization-mode=1;sprop-parameter-sets={parameters};"
            f"profile-level-id={extradata[1:4].hex().upper()}\r\n"
        )
        return Track("video", _VIDEO_CLOCK, ssrc, sdp + f"a=control:track{number}\r\n")
    if isinstance(stream, AudioStream) and stream.codec_context.name == "aac" and extradata:
        sdp = (
            f"m=audio 0 RTP/AVP {payload}\r\n"
            f"a=rtpmap:{payload} MPEG4-GENERIC/{stream.rate}/{stream.channels}\r\n"
            f"a=fmtp:{payload} profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;"
            f"config={extradata.hex().upper()}\r\n"
        )
        return Track("audio", stream.rate, ssrc, sdp + f"a=control:track{number}\r\n")
    raise BadMedia(f"the {stream.type} track is {stream.codec_context.name}; only an mp4 of H.264 and AAC is played")


def _parameter_sets(avcc: bytes) -> list[bytes]:
    """Return the SPS and PPS units of an `avcC` record."""
    sets: list[bytes] = []
    at = 5
    for mask in (0x1F, 0xFF):
        count = avcc[at] & mask
        at += 1
        for _ in range(count):
            size = int.from_bytes(avcc[at : at + 2], "big")
            sets.append(avcc[at + 2 : at + 2 + size])
            at += 2 + size
    return sets
