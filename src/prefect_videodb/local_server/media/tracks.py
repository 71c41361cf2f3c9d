"""One track of a source on its way into a recording: copied as it is, or encoded when a player could not play it."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Final, Protocol

import av
import av.error
from av.audio.stream import AudioStream
from av.video.stream import VideoStream

from prefect_videodb.local_server.media.encoders import PictureEncoder, SoundEncoder
from prefect_videodb.local_server.media.errors import BadMedia

if TYPE_CHECKING:
    from collections.abc import Sequence

    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.stream import Stream

    from prefect_videodb.local_server.media.segments import MediaType

_CLOCK: Final = 90_000
# So many packets in a row that decode to nothing: this is not a hiccup of the network.
_MOST_UNDECODABLE: Final = 500


class Track(Protocol):
    """What the recorder asks of a track."""

    kind: MediaType
    time_base: Fraction
    """Of the packets that `feed` returns."""

    def add_to(self, out: OutputContainer) -> Stream:
        """Make the place for this track's packets in an output."""
        ...

    def feed(self, packet: Packet[Stream]) -> Sequence[Packet[Stream]]:
        """Take a packet of the source; return the packets to record, each with its time stamps."""
        ...

    def flush(self) -> Sequence[Packet[Stream]]:
        """Return what was held back; nothing may be fed afterwards."""
        ...

    def close(self) -> None:
        """Give back what the track holds."""
        ...


class CopiedTrack:
    """A track whose packets are recorded untouched: costs next to nothing."""

    def __init__(self, stream: Stream) -> None:
        self.kind: MediaType = "video" if isinstance(stream, VideoStream) else "audio"
        self._stream = stream
        self.time_base = stream.time_base or Fraction(1, _CLOCK)
        self._unstamped: list[Packet[Stream]] = []
        rate = stream.average_rate if isinstance(stream, VideoStream) else None
        self._usual_ticks = round(1 / (rate * self.time_base)) if rate else 1

    def add_to(self, out: OutputContainer) -> Stream:
        """Make the place for this track's packets in an output."""
        return out.add_stream_from_template(self._stream)

    def feed(self, packet: Packet[Stream]) -> Sequence[Packet[Stream]]:
        """Pass a packet on; give one that came without time stamps those of just before the next."""
        if packet.dts is None:
            if packet.pts is None:
                # The first picture of an RTSP stream comes like this, and it is a keyframe: keep it for the next.
                self._unstamped.append(packet)
                return ()
            packet.dts = packet.pts
        if not self._unstamped:
            return (packet,)
        stamped = self._unstamped
        self._unstamped = []
        for back, early in enumerate(reversed(stamped), 1):
            early.dts = early.pts = packet.dts - back * self._usual_ticks
        return (*stamped, packet)

    def flush(self) -> Sequence[Packet[Stream]]:
        """Return nothing: packets that nothing followed have no place in time."""
        return ()

    def close(self) -> None:
        """Hold nothing that has to be given back."""


class EncodedTrack:
    """A track that is decoded and encoded again, as H.264 or AAC; up to half a core for a 720p picture."""

    def __init__(self, stream: VideoStream | AudioStream) -> None:
        self.kind: MediaType = "video" if isinstance(stream, VideoStream) else "audio"
        self._stream = stream
        self._undecodable = 0
        # An output that goes nowhere: the muxers of the segments come and go, the encoder has to stay.
        self._nowhere = av.open("nowhere", "w", format="null")
        try:
            if isinstance(stream, VideoStream):
                self._encoder: PictureEncoder | SoundEncoder = PictureEncoder(
                    self._nowhere, width=stream.width, height=stream.height, rate=stream.average_rate or 25
                )
            else:
                self._encoder = SoundEncoder(self._nowhere, channels=stream.channels)
            self._nowhere.start_encoding()
        except BaseException:
            self._nowhere.close()
            raise
        self.time_base = self._encoder.time_base

    def add_to(self, out: OutputContainer) -> Stream:
        """Make the place for this track's packets in an output."""
        return out.add_stream_from_template(self._encoder.stream)

    def feed(self, packet: Packet[Stream]) -> Sequence[Packet[Stream]]:
        """Encode what a packet decodes to; a damaged packet is left out."""
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            frames = []
        self._undecodable = 0 if frames else self._undecodable + 1
        if self._undecodable > _MOST_UNDECODABLE:
            raise BadMedia(f"the source's {self.kind} cannot be decoded")
        return [encoded for frame in frames for encoded in self._encode(frame)]

    def _encode(self, frame: object) -> list[Packet[Stream]]:
        if isinstance(frame, av.VideoFrame) and isinstance(self._encoder, PictureEncoder) and frame.time is not None:
            return self._encoder.encode(frame, frame.time)
        if isinstance(frame, av.AudioFrame) and isinstance(self._encoder, SoundEncoder) and frame.time is not None:
            return self._encoder.encode(frame, frame.time)
        return []

    def flush(self) -> Sequence[Packet[Stream]]:
        """Return what decoder and encoder held back."""
        try:
            frames = self._stream.decode(None)
        except (av.error.InvalidDataError, EOFError):
            frames = []
        return [*(encoded for frame in frames for encoded in self._encode(frame)), *self._encoder.flush()]

    def close(self) -> None:
        """Close the encoder."""
        self._nowhere.close()


def choose(source: InputContainer, kinds: frozenset[MediaType]) -> dict[int, Track]:
    """Return the tracks to record of a source, by the index of their stream; the best of each kind that is wanted.

    Raise `BadMedia` when there is none.
    """
    tracks: dict[int, Track] = {}
    for kind in ("video", "audio"):
        stream = source.streams.best(kind) if kind in kinds else None
        if stream is None or stream.disposition & stream.disposition.attached_pic:
            continue
        if not isinstance(stream, VideoStream | AudioStream):
            continue
        is_known = stream.codec_context.name == {"video": "h264", "audio": "aac"}[kind]
        try:
            tracks[stream.index] = CopiedTrack(stream) if is_known else EncodedTrack(stream)
        except (av.error.FFmpegError, ValueError) as error:
            for track in tracks.values():
                track.close()
            name = stream.codec_context.name
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise BadMedia(f"the source's {kind} is {name}, which cannot be encoded here: {reason}") from error
    if not tracks:
        wanted = " or ".join(sorted(kinds)) or "no kind of media"
        raise BadMedia(f"the source has no track to record; wanted: {wanted}")
    return tracks
