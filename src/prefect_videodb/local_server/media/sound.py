"""The sound of a media file as speech recognisers take it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import av
import av.error
from av.audio.stream import AudioStream

from prefect_videodb.local_server.media.errors import BadMedia
from prefect_videodb.local_server.media.files import open_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from av.container import InputContainer

RATE: Final = 16_000
_BYTES: Final = 2
_CHUNK_BYTES: Final = RATE * _BYTES
# Decoders need what comes before the first sample they are to get right.
_RUN_UP_S: Final = 0.5
# Shorter holes than this are rounding, not silence.
_LEAST_GAP: Final = RATE // 20


def pcm(path: Path, *, start_s: float = 0.0, end_s: float | None = None) -> Iterator[bytes]:
    """Yield a file's sound as 16 kHz mono signed 16-bit little endian samples, at most one second at a time.

    The first sample is that of `start_s` seconds into the file, and each further one follows on time: where the file
    has a hole there is silence. A file without sound, or a window behind its end, yields nothing. Raise `BadMedia`
    when the file cannot be read.
    """
    first = round(start_s * RATE)
    last = None if end_s is None else round(end_s * RATE)
    pending = bytearray()
    for at, data in _placed(path, start_s):
        begin, stop = max(at, first), at + len(data) // _BYTES
        if last is not None:
            stop = min(stop, last)
            if at >= last:
                break
        if begin < stop:
            pending += data[(begin - at) * _BYTES : (stop - at) * _BYTES]
        while len(pending) >= _CHUNK_BYTES:
            yield bytes(pending[:_CHUNK_BYTES])
            del pending[:_CHUNK_BYTES]
    if pending:
        yield bytes(pending)


def _placed(path: Path, start_s: float) -> Iterator[tuple[int, bytes]]:
    """Yield stretches of sound without holes between them; with each goes the number of its first sample."""
    try:
        with open_file(path) as media:
            stream = media.streams.best("audio")
            if not isinstance(stream, AudioStream):
                return
            base_s = (media.start_time or 0) / 1e6
            following: int | None = 0
            if start_s > _RUN_UP_S:
                media.seek(round((base_s + start_s - _RUN_UP_S) * 1_000_000), backward=True)
                following = None
            for at, data in _resampled(media, stream, base_s):
                if following is None:
                    following = at
                while at - following > _LEAST_GAP:
                    samples = min(at - following, RATE)
                    yield following, bytes(samples * _BYTES)
                    following += samples
                yield following, data
                following += len(data) // _BYTES
    except (av.error.FFmpegError, OSError) as error:
        raise BadMedia(f"{path.name} cannot be read: {error.strerror}") from error


def _resampled(media: InputContainer, stream: AudioStream, base_s: float) -> Iterator[tuple[int, bytes]]:
    """Yield the sound as it comes, each stretch with the number of the sample that its time stamp asks for."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    ends_at: float | None = None
    at = 0
    for frame in media.decode(stream):
        if frame.time is None:
            continue
        if ends_at is None or abs(frame.time - ends_at) > _LEAST_GAP / RATE:
            if ends_at is not None:
                yield from _read(resampler, None, at)
            resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
            at = round((frame.time - base_s) * RATE)
        ends_at = frame.time + frame.samples / frame.sample_rate
        frame.pts = None
        for begin, data in _read(resampler, frame, at):
            yield begin, data
            at = begin + len(data) // _BYTES
    if ends_at is not None:
        yield from _read(resampler, None, at)


def _read(resampler: av.AudioResampler, frame: av.AudioFrame | None, at: int) -> Iterator[tuple[int, bytes]]:
    for part in resampler.resample(frame):
        yield at, bytes(part.planes[0])[: part.samples * _BYTES]
        at += part.samples
