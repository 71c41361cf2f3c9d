"""Writes one run of a live source as MPEG-TS segments: each appears under its name only when it is whole."""

from __future__ import annotations

import contextlib
import errno
import shutil
import time
from typing import TYPE_CHECKING, Final

import av
import av.error

from prefect_videodb.local_server.media.errors import DiskFull, MediaError
from prefect_videodb.local_server.media.segments import Segment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from av.container import OutputContainer
    from av.packet import Packet
    from av.stream import Stream

    from prefect_videodb.local_server.media.tracks import Track

PART: Final = ".part"
# Two seconds less a little: a keyframe that comes a frame early would otherwise make a segment of four seconds.
_SEGMENT_S: Final = 1.9
# A source whose clock jumps further than this has begun anew.
_MOST_GAP_S: Final = 10.0
_MOST_STEP_BACK_S: Final = 1.0
# The time stamps of MPEG-TS come round after 26.5 h.
_LONGEST_RUN_S: Final = 24 * 3600.0
_FULL: Final = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
_MOST_EARLY: Final = 100
_USUAL_STEP_S: Final = 0.04
# How long the last picture of a run stands is not known; not longer than this, whatever the one before did.
_LONGEST_STEP_S: Final = 1.0


class SegmentWriter:
    """Cut packets into segments of about two seconds, each beginning with a keyframe, until closed.

    `on_segment` is called when a segment's file is whole and has its final name. Wall clock times of a run are those
    of its beginning plus the media time since: a clock that is set in between changes nothing, and packets that come
    late or in bursts neither. Where the source's own clock jumps, the next run begins by itself. `not_before` is
    where the wall clock of the previous run ended. With `wall_start` the source is not live: that is taken as the
    time of its first frame, and runs follow each other without a hole.
    """

    def __init__(
        self,
        folder: Path,
        tracks: Mapping[int, Track],
        *,
        run: int,
        on_segment: Callable[[Segment], None],
        not_before: float = 0.0,
        min_free_bytes: int = 0,
        wall_start: float | None = None,
    ) -> None:
        self._folder = folder
        self._tracks = tracks
        self._min_free_bytes = min_free_bytes
        self._on_segment = on_segment
        self._has_video = any(track.kind == "video" for track in tracks.values())
        kind = "video" if self._has_video else "audio"
        self._leader = next(index for index, track in tracks.items() if track.kind == kind)
        self._tick_s = {index: float(track.time_base) for index, track in tracks.items()}
        self._is_live = wall_start is None
        self._out: OutputContainer | None = None
        self._part: Path | None = None
        self._streams: dict[int, Stream] = {}
        self._has_audio = False
        self.next_run = run
        """The number of the run that would begin now."""
        self.wall_end = not_before if wall_start is None else wall_start
        """Unix seconds at which the recording ends so far."""
        self._prepare_run()

    def _prepare_run(self) -> None:
        """Forget the run before; the next begins with the next keyframe."""
        self._run = self.next_run
        self._count = 0
        self._origins: dict[int, int] = {}
        self._last: dict[int, int] = {}
        self._early: list[tuple[int, Packet[Stream]]] = []
        # Of the leading track, in seconds since the beginning of the run.
        self._segment_start_s = self._leader_s = 0.0
        # Of any track: while pictures stand still, the sound goes on.
        self._latest_s = 0.0
        self._step_s = _USUAL_STEP_S
        self._wall = self.wall_end
        self._monotonic = self._lag_s = 0.0
        self._is_clock_set = not self._is_live

    @property
    def is_open(self) -> bool:
        """Whether a keyframe came and is being recorded."""
        return self._out is not None

    def write(self, index: int, packet: Packet[Stream]) -> None:
        """Record a packet of the track of this index.

        Raise `DiskFull` or another `MediaError` when it cannot be written; abandon the writer then.
        """
        dts = packet.dts
        if dts is None:
            return
        if self._out is None:
            self._wait_for_keyframe(index, packet, dts)
            return
        at = dts - self._origins[index]
        at_s = at * self._tick_s[index]
        if index == self._leader:
            if not self._lead(packet, at_s):
                self.close()
                self._wait_for_keyframe(index, packet, dts)
                return
        elif at_s - self._latest_s > _MOST_GAP_S:
            # The clock of one track jumped before that of the other: the leader decides.
            return
        self._latest_s = max(self._latest_s, at_s)
        self._mux(index, packet, at)

    def _mux(self, index: int, packet: Packet[Stream], at: int) -> None:
        if at < 0 or at <= self._last.get(index, -1) or self._out is None:
            # Sound from before the first picture, or a repeated packet: a muxer takes neither.
            return
        self._last[index] = at
        packet.dts = at
        packet.pts = at if packet.pts is None else packet.pts - self._origins[index]
        packet.stream = self._streams[index]
        try:
            self._out.mux_one(packet)
        except (av.error.FFmpegError, OSError) as error:
            raise _cannot_write(error) from error
        if index != self._leader:
            self._has_audio = True

    def _wait_for_keyframe(self, index: int, packet: Packet[Stream], dts: int) -> None:
        """Start the run when this is a keyframe of the leading track."""
        if index != self._leader:
            # It may belong after the first picture all the same: each track arrives at its own pace.
            self._early = [*self._early[-_MOST_EARLY:], (index, packet)]
            return
        if not packet.is_keyframe:
            return
        start = dts * self._tracks[index].time_base
        self._origins = {number: round(start / track.time_base) for number, track in self._tracks.items()}
        self._origins[index] = dts
        if self._is_live:
            self._wall, self._monotonic = time.time(), time.monotonic()
        self._open_segment(0.0)
        early, self._early = self._early, []
        self._mux(index, packet, 0)
        for number, sooner in early:
            self.write(number, sooner)

    def _lead(self, packet: Packet[Stream], at_s: float) -> bool:
        """Let the leading track decide where a segment ends; return False where the run does."""
        step_s = at_s - self._leader_s
        if at_s - self._latest_s > _MOST_GAP_S or step_s < -_MOST_STEP_BACK_S or at_s > _LONGEST_RUN_S:
            return False
        if not self._is_clock_set:
            # Packets that waited while the source was being opened arrive all at once; the first that had not to
            # wait tells when the beginning really was.
            self._lag_s = min(self._lag_s, time.monotonic() - self._monotonic - at_s)
        if packet.is_keyframe and at_s - self._segment_start_s >= _SEGMENT_S:
            self._finish_segment(at_s)
            self._open_segment(at_s)
        if step_s > 0:
            self._leader_s, self._step_s = at_s, step_s
        return True

    def _open_segment(self, start_s: float) -> None:
        try:
            free = shutil.disk_usage(self._folder).free
            if free < self._min_free_bytes:
                message = f"the disk is almost full ({free >> 20} MiB left); free some space and connect again"
                raise DiskFull(message)
            part = self._folder / f"{self._run:04d}-{self._count:06d}.ts{PART}"
            # Each segment counts its TS packets from zero; the flag tells players that nothing was lost.
            options = {"mpegts_flags": "+initial_discontinuity", "flush_packets": "0"}
            out = av.open(f"file:{part}", "w", format="mpegts", options=options)
            self._part, self._out = part, out
            self._streams = {index: track.add_to(out) for index, track in self._tracks.items()}
        except (av.error.FFmpegError, OSError) as error:
            raise _cannot_write(error) from error
        self._segment_start_s = start_s
        self._has_audio = not self._has_video

    def _finish_segment(self, end_s: float) -> None:
        """Close the open segment, give it its name, and tell of it."""
        out, part = self._out, self._part
        if out is None or part is None:
            return
        self._out = None
        try:
            out.close()
            whole = part.with_suffix("")
            part.replace(whole)
        except (av.error.FFmpegError, OSError) as error:
            part.unlink(missing_ok=True)
            raise _cannot_write(error) from error
        finally:
            self._part = None
        if not self._is_clock_set:
            self._is_clock_set = True
            self._wall = max(self._wall + self._lag_s, self.wall_end)
        self._count += 1
        self.next_run = self._run + 1
        self.wall_end = self._wall + end_s
        self._on_segment(
            Segment(
                path=whole,
                wall_start=self._wall + self._segment_start_s,
                duration_s=end_s - self._segment_start_s,
                run=self._run,
                has_video=self._has_video,
                has_audio=self._has_audio,
            )
        )

    def close(self) -> None:
        """Finish the last segment and its run; a second call changes nothing, a keyframe begins the next run."""
        self._finish_segment(max(self._leader_s + min(self._step_s, _LONGEST_STEP_S), self._latest_s))
        self._prepare_run()

    def abandon(self) -> None:
        """Drop the open segment: it could not be written. Those before it stay."""
        out, part = self._out, self._part
        self._out = self._part = None
        if out is not None:
            # The reason is already on its way to the caller: this file failed to be written.
            with contextlib.suppress(av.error.FFmpegError, OSError):
                out.close()
        if part is not None:
            part.unlink(missing_ok=True)


def _cannot_write(error: Exception) -> MediaError:
    """Say why a segment could not be written."""
    code = getattr(error, "errno", None)
    reason = getattr(error, "strerror", None) or type(error).__name__
    if code in _FULL:
        return DiskFull(f"the disk is full ({reason}); free some space and connect again")
    return MediaError(f"the recording cannot be written: {reason}")
