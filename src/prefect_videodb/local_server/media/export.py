"""One mp4 of a recording: its segments by stream copy, or encoded anew when they do not fit together."""

from __future__ import annotations

import errno
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import av
import av.error
from av.audio.stream import AudioStream
from av.video.stream import VideoStream

from prefect_videodb.local_server.media.encoders import PictureEncoder, SoundEncoder
from prefect_videodb.local_server.media.errors import BadMedia, DiskFull, MediaError

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


@dataclass(frozen=True, slots=True)
class MediaFacts:
    """What a media file holds; width and height are None when it has no pictures."""

    duration_s: float
    has_video: bool
    has_audio: bool
    width: int | None
    height: int | None


def probe(path: Path) -> MediaFacts:
    """Return what a file holds; raise `BadMedia` when it is no media, or cut off so that nothing can be read."""
    try:
        with av.open(f"file:{path}", "r") as media:
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

    Time the source was away is left out, as in the playlist of the same segments. Sound alone makes an audio file:
    name the target `.m4a`. The target appears when it is whole; called again it is replaced. `on_progress` is called
    with the part that is done, 0 to 1; what it raises ends the work. Raise `BadMedia` when there is nothing to write
    or a segment is missing or damaged, `DiskFull` when there is no room.
    """
    if not segments:
        raise BadMedia("nothing was recorded in that time; choose another")
    part = target.with_name(f"{target.name}.part")
    has_video = any(segment.has_video for segment in segments)
    try:
        shapes = set(map(_shape, segments))
        fits = all(len({shape[kind] for shape in shapes if shape[kind]}) <= 1 for kind in range(len(_KINDS)))
        # Only the muxer of the container's kind marks the file as sound for players.
        name = "mp4" if has_video else "ipod"
        with av.open(f"file:{part}", "w", format=name, options={"movflags": "+faststart"}) as out:
            (_copy if fits else _encode)(segments, out, on_progress)
        part.replace(target)
    except (av.error.FFmpegError, OSError) as error:
        part.unlink(missing_ok=True)
        raise _explain(error) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return probe(target)


def _explain(error: Exception) -> MediaError:
    """Say why a file could not be written."""
    reason = getattr(error, "strerror", None) or type(error).__name__
    if getattr(error, "errno", None) in _FULL:
        return DiskFull(f"the disk is full ({reason}); free some space and try again")
    return BadMedia(f"a part of the recording cannot be read or joined: {reason}")


def _open(segment: Segment) -> InputContainer:
    return av.open(f"file:{segment.path}", "r", format="mpegts")


def _streams(media: InputContainer) -> dict[MediaType, VideoStream | AudioStream]:
    found: dict[MediaType, VideoStream | AudioStream] = {}
    for kind in _KINDS:
        stream = media.streams.best(kind)
        if isinstance(stream, VideoStream | AudioStream):
            found[kind] = stream
    return found


def _shape(segment: Segment) -> tuple[tuple[object, ...] | None, tuple[object, ...] | None]:
    """Return what must be the same in all segments for an mp4 to hold them as they are: of pictures, of sound."""
    video = audio = None
    with _open(segment) as media:
        for stream in _streams(media).values():
            context = stream.codec_context
            if isinstance(stream, VideoStream):
                video = (context.name, stream.width, stream.height, context.extradata)
            else:
                audio = (context.name, stream.rate, stream.channels)
    return video, audio


def _placed(
    segments: Sequence[Segment], on_progress: Callable[[float], None]
) -> Iterator[tuple[dict[MediaType, VideoStream | AudioStream], Fraction, InputContainer]]:
    """Open one segment after the other; with each goes the second of the output at which it begins."""
    total_s = sum(segment.duration_s for segment in segments) or 1.0
    at_s = 0.0
    for segment in segments:
        with _open(segment) as media:
            yield _streams(media), Fraction(round(at_s * _CLOCK), _CLOCK), media
        at_s += segment.duration_s
        on_progress(min(1.0, at_s / total_s))


def _stamped(
    media: InputContainer, streams: dict[MediaType, VideoStream | AudioStream]
) -> Iterator[tuple[MediaType, Packet[Stream], Fraction]]:
    """Yield a segment's packets; with each goes the second at which the segment's clock stood at its beginning."""
    leader = "video" if "video" in streams else "audio"
    kinds: dict[int, MediaType] = {stream.index: kind for kind, stream in streams.items()}
    waiting: list[Packet[Stream]] = []
    start: Fraction | None = None
    for packet in media.demux(*streams.values()):
        if packet.dts is None and packet.size:
            continue
        waiting.append(packet)
        if start is None and packet.dts is not None and kinds[packet.stream_index] == leader:
            start = packet.dts * packet.time_base
        if start is not None:
            for ready in waiting:
                yield kinds[ready.stream_index], ready, start
            waiting.clear()


def _templates(segments: Sequence[Segment], stack: ExitStack) -> dict[MediaType, VideoStream | AudioStream]:
    """Return the first track of each kind, usable for as long as the stack is open."""
    found: dict[MediaType, VideoStream | AudioStream] = {}
    wanted = (any(segment.has_video for segment in segments), any(segment.has_audio for segment in segments))
    for segment in segments:
        if len(found) == sum(wanted):
            break
        before = set(found)
        media = _open(segment)
        for kind, stream in _streams(media).items():
            found.setdefault(kind, stream)
        if set(found) == before:
            media.close()
        else:
            stack.enter_context(media)
    return {kind: found[kind] for kind in _KINDS if kind in found}


def _copy(segments: Sequence[Segment], out: OutputContainer, on_progress: Callable[[float], None]) -> None:
    """Copy the packets of all segments, moved to their place."""
    with ExitStack() as stack:
        targets = {kind: out.add_stream_from_template(stream) for kind, stream in _templates(segments, stack).items()}
    last: dict[MediaType, int] = {}
    for streams, place, media in _placed(segments, on_progress):
        for kind, packet, start in _stamped(media, streams):
            if packet.dts is None:
                continue
            move = round((place - start) / packet.time_base)
            dts = packet.dts + move
            # Where one run ends and the next begins, sound may overlap a little; a file holds it once.
            if dts <= last.get(kind, -1):
                continue
            last[kind] = dts
            packet.pts = dts if packet.pts is None else packet.pts + move
            packet.dts = dts
            packet.stream = targets[kind]
            out.mux_one(packet)


def _encode(segments: Sequence[Segment], out: OutputContainer, on_progress: Callable[[float], None]) -> None:
    """Decode all segments and encode them alike, in the size of the first: the source came back as another."""
    pictures: PictureEncoder | None = None
    sound: SoundEncoder | None = None
    with ExitStack() as stack:
        for stream in _templates(segments, stack).values():
            if isinstance(stream, VideoStream):
                rate = stream.average_rate or 25
                pictures = PictureEncoder(out, width=stream.width, height=stream.height, rate=rate)
            else:
                sound = SoundEncoder(out, channels=stream.channels)
    for streams, place, media in _placed(segments, on_progress):
        for frame, start in _frames(media, streams):
            at_s = max(0.0, (frame.time or 0.0) + float(place - start))
            if pictures and isinstance(frame, av.VideoFrame):
                out.mux(pictures.encode(frame, at_s))
            elif sound and isinstance(frame, av.AudioFrame):
                out.mux(sound.encode(frame, at_s))
    for encoder in (pictures, sound):
        out.mux(encoder.flush() if encoder else [])


def _frames(
    media: InputContainer, streams: dict[MediaType, VideoStream | AudioStream]
) -> Iterator[tuple[av.VideoFrame | av.AudioFrame, Fraction]]:
    """Yield a segment's pictures and sound, with the second at which its clock stood at its beginning."""
    for _, packet, start in _stamped(media, streams):
        for frame in packet.decode():
            if isinstance(frame, av.VideoFrame | av.AudioFrame) and frame.time is not None:
                yield frame, start
