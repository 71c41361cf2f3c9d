"""One track of a source on its way into a recording: copied as it is, or encoded when a browser could not play it."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Final, Protocol

import av
import av.error
from av.audio.stream import AudioStream
from av.video.stream import VideoStream

from prefect_videodb.local_server.media import h264
from prefect_videodb.local_server.media.encoders import PictureEncoder, SoundEncoder, is_playable, upright_size
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
# A source whose clock goes further back has begun anew.
_MOST_STEP_BACK_S: Final = 1.0
_COPIED: Final = {"video": "h264", "audio": "aac"}


class Track(Protocol):
    """What the recorder asks of a track."""

    kind: MediaType
    time_base: Fraction
    """Of the packets that `feed` returns."""

    def add_to(self, out: OutputContainer) -> Stream:
        """Make the place for this track's packets in an output."""
        ...

    def is_changed_by(self, packet: Packet[Stream]) -> bool:
        """Whether this packet is of another format: it belongs to the track that `renewed` returns."""
        ...

    def renewed(self) -> Track:
        """Return the track that goes on with the packet that changed this one."""
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
    """A track whose packets are recorded untouched: costs next to nothing.

    It holds for one format. A source may change its format under an open connection; whatever was opened with the
    first one's parameters would make of it pictures that nobody can decode.
    """

    def __init__(self, stream: VideoStream | AudioStream, extradata: bytes | None = None) -> None:
        self.kind: MediaType = "video" if isinstance(stream, VideoStream) else "audio"
        self._stream = stream
        self.time_base = stream.time_base or Fraction(1, _CLOCK)
        self._unstamped: list[Packet[Stream]] = []
        rate = stream.average_rate if isinstance(stream, VideoStream) else None
        self._usual_ticks = round(1 / (rate * self.time_base)) if rate else 1
        self._extradata = extradata if extradata is not None else stream.codec_context.extradata or b""
        self._length_bytes, self._sets = h264.read_extradata(self._extradata)
        self._adts: bytes | None = None
        self._is_begun = False
        self._next: Track | None = None

    def add_to(self, out: OutputContainer) -> Stream:
        """Make the place for this track's packets in an output."""
        place = out.add_stream_from_template(self._stream)
        if self._extradata and place.codec_context is not None:
            place.codec_context.extradata = self._extradata
        return place

    def is_changed_by(self, packet: Packet[Stream]) -> bool:
        """Whether this packet is of another format: it belongs to the track that `renewed` returns."""
        if packet.has_sidedata("new_extradata"):
            extradata = bytes(packet.get_sidedata("new_extradata"))
            if extradata != self._extradata:
                if self._is_begun:
                    self._next = CopiedTrack(self._stream, extradata)
                    return True
                self._take(extradata)
        if isinstance(self._stream, VideoStream):
            return packet.is_keyframe and self._is_other_picture(self._stream, packet)
        return not self._extradata and self._is_other_sound(packet)

    def _take(self, extradata: bytes) -> None:
        self._extradata = extradata
        self._length_bytes, self._sets = h264.read_extradata(extradata)

    def _is_other_picture(self, stream: VideoStream, packet: Packet[Stream]) -> bool:
        """Whether a keyframe brings other parameter sets, or the first one is nothing that browsers play."""
        sets = h264.parameter_sets(bytes(packet), self._length_bytes)
        if sets and not sets <= self._sets:
            extradata = h264.write_extradata(sets, self._length_bytes)
            if self._is_begun:
                self._next = CopiedTrack(stream, extradata)
                return True
            # What the address promised (SDP) may be older than what is sent.
            self._take(extradata)
        if self._is_begun:
            return False
        self._is_begun = True
        frame = _look(stream, packet)
        if frame is None or is_playable(frame):
            return False
        self._next = EncodedTrack(stream)
        return True

    def _is_other_sound(self, packet: Packet[Stream]) -> bool:
        adts = h264.adts_format(memoryview(packet))
        if adts is None or adts == self._adts:
            return False
        is_other, self._adts = self._adts is not None, adts
        if is_other:
            self._next = CopiedTrack(self._stream)
        return is_other

    def renewed(self) -> Track:
        """Return the track that goes on with the packet that changed this one."""
        if self._next is None:
            raise ValueError("nothing has changed")
        return self._next

    def feed(self, packet: Packet[Stream]) -> Sequence[Packet[Stream]]:
        """Pass a packet on; give one that came without time stamps those of just before the next."""
        self._is_begun |= self.kind == "audio"
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
    """A track that is decoded and encoded again, as H.264 or AAC; up to half a core for a 720p picture.

    Its format stays that of its first frame, whatever the source changes to.
    """

    def __init__(self, stream: VideoStream | AudioStream) -> None:
        self.kind: MediaType = "video" if isinstance(stream, VideoStream) else "audio"
        self._stream = stream
        self._undecodable = 0
        self._nowhere: OutputContainer | None = None
        self._encoder: PictureEncoder | SoundEncoder | None = None
        self._size: tuple[int, int] | None = None
        self._latest_s = float("-inf")
        self.time_base = Fraction(1, _CLOCK)
        if isinstance(stream, AudioStream):
            self._open_encoder()
        else:
            # Fails at once where nothing decodes it.
            stream.codec_context.open(strict=False)

    def _open_encoder(self) -> None:
        """Begin an encoder of its own clock, after the one before was flushed."""
        self.close()
        # An output that goes nowhere: the muxers of the segments come and go, the encoder has to stay.
        self._nowhere = av.open("nowhere", "w", format="null")
        try:
            if isinstance(self._stream, AudioStream):
                self._encoder = SoundEncoder(self._nowhere, channels=self._stream.channels)
            elif self._size is not None:
                rate = self._stream.average_rate or 25
                self._encoder = PictureEncoder(self._nowhere, width=self._size[0], height=self._size[1], rate=rate)
            self._nowhere.start_encoding()
        except BaseException:
            self.close()
            raise
        if self._encoder is not None:
            self.time_base = self._encoder.time_base

    def add_to(self, out: OutputContainer) -> Stream:
        """Make the place for this track's packets in an output."""
        if self._encoder is None:
            raise ValueError("nothing was decoded yet")
        return out.add_stream_from_template(self._encoder.stream)

    def is_changed_by(self, packet: Packet[Stream]) -> bool:  # noqa: ARG002 - of the protocol
        """Return False: what is decoded fits whatever it was before."""
        return False

    def renewed(self) -> Track:
        """Return itself: nothing ever changes."""
        return self

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
        if not isinstance(frame, av.VideoFrame | av.AudioFrame) or frame.time is None:
            return []
        held: list[Packet[Stream]] = []
        if frame.time < self._latest_s - _MOST_STEP_BACK_S and self._encoder is not None:
            # The source's clock began anew, and an encoder's never does.
            held = self._encoder.flush()
            self._encoder = None
        self._latest_s = frame.time
        aspect = self._stream.codec_context.sample_aspect_ratio if isinstance(self._stream, VideoStream) else None
        if self._size is None and isinstance(frame, av.VideoFrame):
            self._size = upright_size(frame, aspect)
        if self._encoder is None:
            self._open_encoder()
        if isinstance(frame, av.VideoFrame) and isinstance(self._encoder, PictureEncoder):
            return [*held, *self._encoder.encode(frame, frame.time, aspect)]
        if isinstance(frame, av.AudioFrame) and isinstance(self._encoder, SoundEncoder):
            return [*held, *self._encoder.encode(frame, frame.time)]
        return held

    def flush(self) -> Sequence[Packet[Stream]]:
        """Return what decoder and encoder held back."""
        try:
            frames = self._stream.decode(None)
        except (av.error.InvalidDataError, EOFError):
            frames = []
        rest = self._encoder.flush if self._encoder is not None else list
        return [*(encoded for frame in frames for encoded in self._encode(frame)), *rest()]

    def close(self) -> None:
        """Close the encoder."""
        if self._nowhere is not None:
            self._nowhere.close()
            self._nowhere = None


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
        is_known = stream.codec_context.name == _COPIED[kind]
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


def _look(stream: VideoStream, keyframe: Packet[Stream]) -> av.VideoFrame | None:
    """Return the picture of a keyframe; None where it is damaged."""
    context = stream.codec_context
    try:
        frames = [*context.decode(keyframe), *context.decode(None)]
    except (av.error.InvalidDataError, EOFError):
        frames = []
    context.flush_buffers()
    return next((frame for frame in frames if isinstance(frame, av.VideoFrame)), None)
