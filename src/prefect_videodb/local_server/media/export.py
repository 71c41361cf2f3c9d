"""One mp4 of a recording: its segments by stream copy, or encoded anew when they do not fit together."""

from __future__ import annotations

import errno
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import av
import av.error
from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from prefect_videodb.local_server.media.encoders import PLAYABLE_FORMATS, PictureEncoder, SoundEncoder, shown_size
from prefect_videodb.local_server.media.errors import BadMedia, DiskFull, MediaError
from prefect_videodb.local_server.media.files import open_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.stream import Stream

    from prefect_videodb.local_server.media.segments import MediaType, Segment

_KINDS: Final[tuple[MediaType, ...]] = ("video", "audio")
_FULL: Final = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
_CLOCK: Final = 90_000
_TS_PACKET_BYTES: Final = 188
# FFmpeg's field orders: unknown, and lines of one moment.
_PROGRESSIVE: Final = {0, 1}
# Segments of one run that are next to each other; their clocks are floating point numbers.
_LEAST_HOLE_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class MediaFacts:
    """What a media file holds; width and height are None when it has no pictures."""

    duration_s: float
    has_video: bool
    has_audio: bool
    width: int | None
    height: int | None
    missing: tuple[tuple[float, float], ...] = ()
    """What an export lacks, from and to in unix seconds: it was recorded, and cannot be read any more."""


@dataclass(slots=True)
class _Part:
    """A readable segment on its way into an export."""

    segment: Segment
    place_s: float
    """The second of the output at which it begins."""
    formats: dict[MediaType, tuple[object, ...]] = field(default_factory=dict)
    """What must be the same in all segments for an mp4 to hold them as they are."""
    channels: int = 0
    is_playable: bool = True


@dataclass(slots=True)
class _Export:
    """What is written where, and what cannot be read."""

    parts: list[_Part]
    on_progress: Callable[[float], None]
    total_s: float
    missing: list[tuple[float, float]] = field(default_factory=list)

    def progress(self, part: _Part) -> None:
        self.on_progress(min(1.0, (part.place_s + part.segment.duration_s) / self.total_s))


def probe(path: Path) -> MediaFacts:
    """Return what a file holds; raise `BadMedia` when it is no media, or cut off so that nothing can be read."""
    try:
        with open_file(path) as media:
            video, audio = media.streams.best("video"), media.streams.best("audio")
            if video is None and audio is None:
                raise BadMedia(f"{path.name} holds neither picture nor sound")
            size = (video.width, video.height) if isinstance(video, VideoStream) else (None, None)
            return MediaFacts((media.duration or 0) / 1e6, video is not None, audio is not None, *size)
    except (av.error.FFmpegError, OSError) as error:
        raise BadMedia(f"{path.name} cannot be read: {error.strerror}") from error


def export_mp4(
    segments: Sequence[Segment], target: Path, *, on_progress: Callable[[float], None] = lambda _: None
) -> MediaFacts:
    """Write segments one after the other into one mp4 that can be played while it is loaded.

    Time the source was away is left out, as in the playlist of the same segments, and so is what cannot be read: see
    `MediaFacts.missing`. Segments of different formats, or of one that browsers do not play, are encoded: in the size
    of the first, never stretched. Sound alone makes an audio file: name the target `.m4a`. The target appears when it
    is whole; called again it is replaced. `on_progress` is called with the part that is done, 0 to 1; what it raises
    ends the work. Raise `BadMedia` when there is nothing to write or nothing of it can be read, `DiskFull` when there
    is no room.
    """
    if not segments:
        raise BadMedia("nothing was recorded in that time; choose another")
    export = _plan(segments, on_progress)
    formats = {kind: {part.formats[kind] for part in export.parts if kind in part.formats} for kind in _KINDS}
    fits = all(len(found) <= 1 for found in formats.values()) and all(part.is_playable for part in export.parts)
    beside = target.with_name(f"{target.name}.part")
    try:
        # Only the muxer of the container's kind marks the file as sound for players.
        name = "mp4" if formats["video"] else "ipod"
        with av.open(f"file:{beside}", "w", format=name, options={"movflags": "+faststart"}) as out:
            (_copy if fits else _encode)(export, out)
        beside.replace(target)
    except (av.error.FFmpegError, OSError) as error:
        beside.unlink(missing_ok=True)
        raise _explain(error) from error
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return replace(probe(target), missing=tuple(_joined(export.missing)))


def _plan(segments: Sequence[Segment], on_progress: Callable[[float], None]) -> _Export:
    """Look at all segments, and give each that can be read its place."""
    export = _Export([], on_progress, 1.0)
    place_s = 0.0
    for segment in segments:
        on_progress(0.0)
        try:
            part = _look(segment, place_s)
        except (av.error.FFmpegError, OSError):
            part = None
        if part is None:
            export.missing.append((segment.wall_start, segment.wall_end))
            continue
        export.parts.append(part)
        place_s += segment.duration_s
    if not export.parts:
        raise BadMedia("nothing of the recording can be read: its files are missing or damaged")
    export.total_s = place_s or 1.0
    return export


def _look(segment: Segment, place_s: float) -> _Part | None:
    """Return a segment as a part of an export; None where nothing is in its file."""
    part = _Part(segment, place_s)
    with _open(segment) as media:
        for kind, stream in _streams(media).items():
            context = stream.codec_context
            if isinstance(stream, VideoStream) and not segment.has_video:
                continue  # without a keyframe its format is not in it: it is that of the segment before
            if isinstance(stream, VideoStream):
                aspect = stream.codec_context.sample_aspect_ratio
                part.formats[kind] = (context.name, stream.width, stream.height, aspect, context.extradata)
                is_whole = stream.codec_context.field_order in _PROGRESSIVE
                part.is_playable = is_whole and stream.codec_context.pix_fmt in PLAYABLE_FORMATS
            else:
                part.channels = stream.channels
                part.formats[kind] = (context.name, context.profile, stream.rate, stream.channels)
        is_empty = not _streams(media)
    return None if is_empty else part


def _joined(holes: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Yield holes in order, those that touch as one."""
    start = end = None
    for hole in sorted(holes):
        if end is not None and hole[0] <= end + _LEAST_HOLE_S:
            end = max(end, hole[1])
            continue
        if start is not None and end is not None:
            yield start, end
        start, end = hole
    if start is not None and end is not None:
        yield start, end


def _explain(error: Exception) -> MediaError:
    """Say why a file could not be written."""
    reason = getattr(error, "strerror", None) or type(error).__name__
    if getattr(error, "errno", None) in _FULL:
        return DiskFull(f"the disk is full ({reason}); free some space and try again")
    return BadMedia(f"the recording's parts cannot be joined: {reason}")


def _open(segment: Segment) -> InputContainer:
    return open_file(segment.path)


def _streams(media: InputContainer) -> dict[MediaType, VideoStream | AudioStream]:
    found: dict[MediaType, VideoStream | AudioStream] = {}
    for kind in _KINDS:
        stream = media.streams.best(kind)
        if isinstance(stream, VideoStream | AudioStream):
            found[kind] = stream
    return found


def _pieces(export: _Export) -> Iterator[list[_Part]]:
    """Yield what belongs together: segments of one run and format without a hole, whose clock goes on."""
    piece: list[_Part] = []
    for part in export.parts:
        if piece and not _goes_on(piece[-1], part):
            yield piece
            piece = []
        piece.append(part)
    yield piece


def _goes_on(before: _Part, after: _Part) -> bool:
    formats = {part.formats["video"] for part in (before, after) if "video" in part.formats}
    is_next = abs(after.segment.wall_start - before.segment.wall_end) < _LEAST_HOLE_S
    return is_next and after.segment.run == before.segment.run and len(formats) <= 1


def _packets(export: _Export, piece: Sequence[_Part]) -> Iterator[tuple[MediaType, Packet[Stream], Fraction]]:
    """Yield a piece's packets in order; with each goes how far its time stamps are moved, in seconds."""
    moved: Fraction | None = None
    for part in piece:
        segment, readable_s = part.segment, 0.0
        is_whole = segment.path.stat().st_size % _TS_PACKET_BYTES == 0 if segment.path.exists() else False
        try:
            for kind, packet, leads in _demux(part):
                if moved is None and leads and packet.dts is not None:
                    moved = Fraction(round(part.place_s * _CLOCK), _CLOCK) - packet.dts * packet.time_base
                if moved is not None and packet.dts is not None:
                    readable_s = float(packet.dts * packet.time_base + moved) - part.place_s
                    yield kind, packet, moved
        except (av.error.FFmpegError, OSError):
            is_whole = False
        if not is_whole:
            readable_s = min(max(0.0, readable_s), segment.duration_s)
            export.missing.append((segment.wall_start + readable_s, segment.wall_end))
        export.progress(part)


def _demux(part: _Part) -> Iterator[tuple[MediaType, Packet[Stream], bool]]:
    """Yield a segment's packets, those before the first picture after it; with each goes whether it leads."""
    with _open(part.segment) as media:
        streams = _streams(media)
        kinds: dict[int, MediaType] = {stream.index: kind for kind, stream in streams.items()}
        leader = "video" if part.segment.has_video and "video" in streams else next(iter(reversed(streams)), "audio")
        waiting: list[Packet[Stream]] = []
        has_begun = False
        for packet in media.demux(*streams.values()):
            if packet.dts is None:
                continue
            kind = kinds[packet.stream_index]
            if not has_begun and kind != leader:
                waiting.append(packet)
                continue
            yield kind, packet, kind == leader
            if not has_begun:
                has_begun = True
                for early in waiting:
                    yield kinds[early.stream_index], early, False
        if not has_begun:
            for early in waiting:
                yield kinds[early.stream_index], early, True


def _templates(export: _Export, stack: ExitStack) -> dict[MediaType, VideoStream | AudioStream]:
    """Return the first track of each kind, usable for as long as the stack is open."""
    found: dict[MediaType, VideoStream | AudioStream] = {}
    for kind in _KINDS:
        first = next((part for part in export.parts if kind in part.formats), None)
        if first is not None:
            found[kind] = _streams(stack.enter_context(_open(first.segment)))[kind]
    return found


def _copy(export: _Export, out: OutputContainer) -> None:
    """Copy the packets of all segments, moved to their place."""
    with ExitStack() as stack:
        targets = {kind: out.add_stream_from_template(stream) for kind, stream in _templates(export, stack).items()}
    last: dict[MediaType, int] = {}
    for piece in _pieces(export):
        has_begun = False
        for kind, packet, moved in _packets(export, piece):
            if packet.dts is None or kind not in targets:
                continue
            has_begun = has_begun or (kind == "video" and packet.is_keyframe)
            move = round(moved / packet.time_base)
            dts = packet.dts + move
            # Where one run ends and the next begins, sound may overlap a little; a file holds it once. Pictures before
            # the first keyframe cannot be decoded.
            if dts <= last.get(kind, -1) or (kind == "video" and not has_begun):
                continue
            last[kind] = dts
            packet.pts = dts if packet.pts is None else packet.pts + move
            packet.dts = dts
            packet.stream = targets[kind]
            try:
                out.mux_one(packet)
            except av.error.InvalidDataError:
                continue  # a damaged packet costs itself


def _encode(export: _Export, out: OutputContainer) -> None:
    """Decode all segments and encode them alike: the source came back as another, or browsers do not play it."""
    pictures: PictureEncoder | None = None
    sound: SoundEncoder | None = None
    with ExitStack() as stack:
        templates = _templates(export, stack)
        for stream in templates.values():
            if isinstance(stream, VideoStream):
                width, height = shown_size(stream.width, stream.height, stream.codec_context.sample_aspect_ratio)
                pictures = PictureEncoder(out, width=width, height=height, rate=stream.average_rate or 25)
            else:
                sound = SoundEncoder(out, channels=max(part.channels for part in export.parts))
    for piece in _pieces(export):
        for frame, at_s, aspect in _frames(export, piece):
            if pictures and isinstance(frame, av.VideoFrame):
                out.mux(pictures.encode(frame, at_s, aspect))
            elif sound and isinstance(frame, av.AudioFrame):
                out.mux(sound.encode(frame, at_s))
    for encoder in (pictures, sound):
        out.mux(encoder.flush() if encoder else [])


def _frames(
    export: _Export, piece: Sequence[_Part]
) -> Iterator[tuple[av.VideoFrame | av.AudioFrame, float, Fraction | None]]:
    """Yield a piece's pictures and sound, each with its second in the output and the shape of its pixels."""
    decoders: dict[MediaType, VideoCodecContext | AudioCodecContext] = {}
    moves: dict[MediaType, tuple[Fraction, Fraction]] = {}

    def decode(kind: MediaType, packet: Packet[Stream] | None) -> Iterator[av.VideoFrame | av.AudioFrame]:
        try:
            frames = decoders[kind].decode(packet)
        except (av.error.InvalidDataError, EOFError):
            return  # a damaged packet costs what it shows
        yield from (frame for frame in frames if isinstance(frame, av.VideoFrame | av.AudioFrame))

    def placed(
        kind: MediaType, packet: Packet[Stream] | None
    ) -> Iterator[tuple[av.VideoFrame | av.AudioFrame, float, Fraction | None]]:
        moved, time_base = moves[kind]
        decoder = decoders[kind]
        aspect = decoder.sample_aspect_ratio if isinstance(decoder, VideoCodecContext) else None
        for frame in decode(kind, packet):
            if frame.pts is not None:
                yield frame, max(0.0, float(frame.pts * time_base + moved)), aspect

    for kind, packet, moved in _packets(export, piece):
        if kind not in decoders:
            decoders[kind] = _decoder(packet)
        moves[kind] = (moved, packet.time_base)
        yield from placed(kind, packet)
    for kind in decoders:
        yield from placed(kind, None)


def _decoder(packet: Packet[Stream]) -> VideoCodecContext | AudioCodecContext:
    """Return a decoder for a track that goes on from one file to the next: pictures of both refer to each other."""
    context = av.CodecContext.create(packet.stream.codec_context.name, "r")
    if not isinstance(context, VideoCodecContext | AudioCodecContext):
        raise BadMedia(f"{context.name} is neither picture nor sound")
    return context
