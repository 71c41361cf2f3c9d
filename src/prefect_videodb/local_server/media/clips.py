"""Clips and compilations: parts of exported files as HLS segments, by stream copy."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import av
import av.error

from prefect_videodb.local_server.media.errors import BadMedia
from prefect_videodb.local_server.media.export import MediaFacts, export_mp4
from prefect_videodb.local_server.media.segment_writer import SegmentWriter
from prefect_videodb.local_server.media.tracks import choose

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream

    from prefect_videodb.local_server.media.segments import Segment
    from prefect_videodb.local_server.media.tracks import Track


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a media file, in seconds from its beginning."""

    path: Path
    start_s: float
    end_s: float


def compile_parts(parts: Sequence[Part], folder: Path) -> list[Segment]:
    """Write parts of files, one after the other, as the segments of one playlist in a folder of their own.

    Each part begins with the keyframe at or before its start, so nothing has to be encoded, ends with the last frame
    before its end, and is a run of its own: parts of files with different pictures and sound play one after the
    other. Parts that overlap are kept as they are. The `wall_start` of the segments counts from zero. The folder
    appears when it is whole; called again it is replaced. Raise `BadMedia` when a part is empty or its file cannot
    be read.
    """
    if not parts:
        raise BadMedia("a compilation needs at least one part")
    beside = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        segments: list[Segment] = []
        run = 0
        for part in parts:
            run = _write(part, beside, run, segments)
        if folder.exists():
            shutil.rmtree(folder)
        beside.rename(folder)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return [replace(segment, path=folder / segment.path.name) for segment in segments]


def segment_file(path: Path, folder: Path) -> list[Segment]:
    """Write a whole file as the segments of a playlist; everything else is as with `compile_parts`."""
    return compile_parts([Part(path, 0.0, float("inf"))], folder)


def join_mp4(segments: Sequence[Segment], target: Path) -> MediaFacts:
    """Write a clip, a compilation or a window of a recording as one mp4 to download; see `export_mp4`."""
    return export_mp4(segments, target)


def _write(part: Part, folder: Path, run: int, segments: list[Segment]) -> int:
    """Write one part behind the segments so far; return the number of the next run."""
    if not part.start_s < part.end_s:
        raise BadMedia(f"the part from {part.start_s} s to {part.end_s} s is empty; it must end after its start")
    before = len(segments)
    try:
        with av.open(f"file:{part.path}", "r") as media:
            if media.duration and part.start_s >= media.duration / 1e6:
                raise BadMedia(
                    f"{part.path.name} is {media.duration / 1e6:.1f} s long; {part.start_s} s is behind that"
                )
            tracks = choose(media, frozenset({"audio", "video"}))
            wall_start = segments[-1].wall_end if segments else 0.0
            writer = SegmentWriter(folder, tracks, run=run, on_segment=segments.append, wall_start=wall_start)
            try:
                for index, packet in _packets(media, tracks, part):
                    writer.write(index, packet)
                writer.close()
            finally:
                writer.abandon()
                for track in tracks.values():
                    track.close()
    except (av.error.FFmpegError, OSError) as error:
        raise BadMedia(f"{part.path.name} cannot be read: {error.strerror}") from error
    if len(segments) == before:
        raise BadMedia(f"{part.path.name} holds nothing from {part.start_s} s on; it is shorter")
    return writer.next_run


def _packets(media: InputContainer, tracks: Mapping[int, Track], part: Part) -> Iterator[tuple[int, Packet[Stream]]]:
    """Yield the packets of a part, from the keyframe at or before its start until each track reaches its end."""
    base_s = (media.start_time or 0) / 1e6
    if part.start_s > 0:
        media.seek(round((base_s + part.start_s) * 1_000_000), backward=True)
    done: set[int] = set()
    for packet in media.demux(*(media.streams[index] for index in tracks)):
        index = packet.stream_index
        for ready in tracks[index].feed(packet) if packet.size else tracks[index].flush():
            if ready.dts is not None and float(ready.dts * tracks[index].time_base) - base_s >= part.end_s:
                done.add(index)
            if index not in done:
                yield index, ready
        if len(done) == len(tracks):
            return
