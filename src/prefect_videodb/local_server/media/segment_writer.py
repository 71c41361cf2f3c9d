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
from prefect_videodb.local_server.media.segments import LONGEST_SEGMENT_S, MOST_LATENCY_S, Segment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from av.container import OutputContainer
    from av.packet import Packet
    from av.stream import Stream

    from prefect_videodb.local_server.media.segments import MediaType
    from prefect_videodb.local_server.media.tracks import Track

PART: Final = ".part"
# Two seconds less a little: a keyframe that comes a frame early would otherwise make a segment of four seconds.
_SEGMENT_S: Final = 1.9
# A source whose clock jumps further than this has begun anew.
_MOST_GAP_S: Final = 10.0
_MOST_STEP_BACK_S: Final = 1.0
# A live source whose time stamps say that so much has passed, when it has not, jumped.
_LEAST_JUMP_S: Final = 1.0
_MOST_AHEAD_S: Final = 2.0
# The time stamps of MPEG-TS come round after 26.5 h.
_LONGEST_RUN_S: Final = 24 * 3600.0
_FULL: Final = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
# Sound that waits for a picture: longer than this of it is recorded without one.
_LONGEST_WAIT_S: Final = 10.0
_MOST_EARLY: Final = 1500
_USUAL_STEP_S: Final = 0.04
# How long the last picture of a run stands is not known; not longer than this, whatever the one before did.
_LONGEST_STEP_S: Final = 1.0


class SegmentWriter:
    """Cut packets into segments of about two seconds, each beginning with a keyframe, until closed.

    `on_segment` is called when a segment's file is whole and has its final name. Wall clock times of a run are those
    of its beginning plus the media time since: a clock that is set in between changes nothing, and packets that come
    late or in bursts neither. The next run begins by itself where the source's clock jumps, where a track changes its
    format (`renew`), and where pictures come to what was sound alone. No segment is longer than `LONGEST_SEGMENT_S`:
    where no keyframe comes in that time it is cut all the same. `not_before` is where the wall clock of the previous
    run ended. With `wall_start` the source is not live: that is taken as the time of its first frame, and runs follow
    each other without a hole. `source_clock` is the unix second at which the source says that its time stamps were
    zero; what it says is believed when it is plausible.
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
        source_clock: float | None = None,
    ) -> None:
        self._folder = folder
        self._tracks = dict(tracks)
        self._renewed: dict[int, Track] = {}
        self._min_free_bytes = min_free_bytes
        self._on_segment = on_segment
        self._is_live = wall_start is None
        self._out: OutputContainer | None = None
        self._part: Path | None = None
        self._streams: dict[int, Stream] = {}
        self._kinds: set[MediaType] = set()
        # What came before the run that it belongs to.
        self._early: list[tuple[int, Packet[Stream]]] = []
        # What the clock shows where the source's own shows zero; of a run whose clock the next one goes on with.
        self._clock: tuple[float, float] | None = None
        self._source_clock = source_clock
        self._latency_s = 0.0
        self.next_run = run
        """The number of the run that would begin now."""
        self.wall_end = not_before if wall_start is None else wall_start
        """Unix seconds at which the recording ends so far."""
        self._prepare_run()

    def _prepare_run(self) -> None:
        """Forget the run before; the next begins with the next keyframe."""
        self._run = self.next_run
        self._count = 0
        self._tracks |= self._renewed
        self._renewed.clear()
        self._leader = -1
        self._origins: dict[int, int] = {}
        self._tick_s: dict[int, float] = {}
        self._last: dict[int, int] = {}
        # Since which second of the run a track's time stamps are not of its clock.
        self._stray_since: dict[int, float] = {}
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

    def renew(self, index: int, track: Track, dts: int | None) -> None:
        """Go on with another track in the place of one that changed its format with a packet of this time stamp.

        That is a run of its own. Pictures begin it at once; for sound, the pictures lead: the run ends with the next
        keyframe.
        """
        self._renewed[index] = track
        if self._out is None:
            self._end_run(keep_clock=True)
        elif index == self._leader:
            self._end_run(keep_clock=True, dts=dts)

    def write(self, index: int, packet: Packet[Stream]) -> None:
        """Record a packet of the track of this index.

        Raise `DiskFull` or another `MediaError` when it cannot be written; abandon the writer then.
        """
        dts = packet.dts
        if dts is None:
            return
        if self._out is None:
            self._wait_for_start(index, packet, dts)
        elif index in self._renewed:
            self._set_aside(index, packet)
        elif index not in self._origins:
            # Sound alone was recorded so far, and this is a picture.
            if packet.is_keyframe:
                self._end_run(keep_clock=True)
                self._wait_for_start(index, packet, dts)
        else:
            self._write(index, packet, dts)

    def _write(self, index: int, packet: Packet[Stream], dts: int) -> None:
        at = dts - self._origins[index]
        at_s = at * self._tick_s[index]
        if index == self._leader:
            if packet.is_keyframe and self._renewed:
                self._end_run(keep_clock=True, dts=dts)
                self._wait_for_start(index, packet, dts)
                return
            if not self._lead(packet, at_s):
                self._end_run(keep_clock=False)
                self._wait_for_start(index, packet, dts)
                return
        elif self._is_stray(index, at, at_s):
            self._set_aside(index, packet)
            return
        if at_s - self._segment_start_s >= LONGEST_SEGMENT_S:
            end_s = self._segment_start_s + LONGEST_SEGMENT_S
            self._finish_segment(end_s)
            self._open_segment(end_s)
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
        is_keyframe = packet.is_keyframe
        try:
            self._out.mux_one(packet)
        except (av.error.FFmpegError, OSError) as error:
            raise _cannot_write(error) from error
        if is_keyframe:
            self._kinds.add(self._tracks[index].kind)

    def _is_stray(self, index: int, at: int, at_s: float) -> bool:
        """Whether a packet is not of its track's clock: that jumped before the leader's, or jumped alone."""
        back_s = (self._last.get(index, at) - at) * self._tick_s[index]
        if at_s - self._latest_s <= _MOST_GAP_S and back_s <= _MOST_STEP_BACK_S:
            if self._stray_since.pop(index, None) is not None:
                self._early = [(number, early) for number, early in self._early if number != index]
            return False
        self._stray_since.setdefault(index, self._leader_s)
        return True

    def _set_aside(self, index: int, packet: Packet[Stream]) -> None:
        """Keep a packet for the run that is about to begin."""
        self._early = [*self._early[-_MOST_EARLY:], (index, packet)]

    def _wait_for_start(self, index: int, packet: Packet[Stream], dts: int) -> None:
        """Start the run with a picture; with sound when there are no pictures, or none come."""
        has_video = any(track.kind == "video" for track in self._tracks.values())
        if self._tracks[index].kind == "video":
            if packet.is_keyframe:
                self._start(index, dts, set(self._tracks))
                self._mux(index, packet, 0)
                self._write_early()
            return
        # It may belong after the first picture all the same: each track arrives at its own pace.
        self._set_aside(index, packet)
        first = next(early for number, early in self._early if number == index).dts
        if first is None or (has_video and (dts - first) * self._tracks[index].time_base < _LONGEST_WAIT_S):
            return
        self._start(index, first, {number for number, track in self._tracks.items() if track.kind == "audio"})
        self._write_early()

    def _start(self, leader: int, dts: int, indexes: set[int]) -> None:
        """Start the run at this time stamp of the track that leads it."""
        self._leader = leader
        start = dts * self._tracks[leader].time_base
        newest = {number: early.dts for number, early in self._early if early.dts is not None}
        for number in indexes:
            time_base = self._tracks[number].time_base
            self._tick_s[number] = float(time_base)
            origin = round(start / time_base)
            own = newest.get(number, origin)
            # Tracks of one source share their clock; where they do not, what arrived together belongs together.
            self._origins[number] = own if abs(own - origin) * time_base > _MOST_GAP_S else origin
        self._origins[leader] = dts
        if self._is_live:
            now = time.time()
            if self._source_clock is not None and 0 <= now - self._source_clock - float(start) <= MOST_LATENCY_S:
                self._latency_s = now - self._source_clock - float(start)
            self._wall, self._monotonic = now - self._latency_s, time.monotonic()
            if self._clock is not None and -_MOST_STEP_BACK_S <= float(start) - self._clock[1] <= _MOST_GAP_S:
                self._wall, self._is_clock_set = max(self._clock[0] + float(start), self.wall_end), True
        self._clock = None
        self._open_segment(0.0)

    def _write_early(self) -> None:
        early, self._early = self._early, []
        for number, sooner in early:
            if number in self._origins:
                self.write(number, sooner)

    def _lead(self, packet: Packet[Stream], at_s: float) -> bool:
        """Let the leading track decide where a segment ends; return False where the run does."""
        step_s = at_s - self._leader_s
        if at_s - self._latest_s > _MOST_GAP_S or step_s < -_MOST_STEP_BACK_S or at_s > _LONGEST_RUN_S:
            return False
        if self._is_live:
            now_s = time.monotonic() - self._monotonic
            if step_s > _LEAST_JUMP_S and self._lag_s + at_s - now_s > _MOST_AHEAD_S:
                return False
            if not self._is_clock_set:
                # Packets that waited while the source was being opened arrive all at once; the first that had not to
                # wait tells when the beginning really was.
                self._lag_s = min(self._lag_s, now_s - at_s)
        if packet.is_keyframe:
            if any(at_s - since_s >= _SEGMENT_S for since_s in self._stray_since.values()):
                return False
            if at_s - self._segment_start_s >= _SEGMENT_S:
                end_s = min(at_s, self._segment_start_s + LONGEST_SEGMENT_S)
                self._finish_segment(end_s)
                self._open_segment(end_s)
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
            self._streams = {index: self._tracks[index].add_to(out) for index in sorted(self._origins)}
        except (av.error.FFmpegError, OSError) as error:
            raise _cannot_write(error) from error
        self._segment_start_s = start_s
        self._kinds.clear()

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
                has_video="video" in self._kinds,
                has_audio="audio" in self._kinds,
            )
        )

    def close(self) -> None:
        """Finish the last segment and its run; a second call changes nothing, a keyframe begins the next run."""
        self._end_run(keep_clock=False)

    def _end_run(self, *, keep_clock: bool, dts: int | None = None) -> None:
        """Finish the run; the next may go on with its clock, from this time stamp of the leader on."""
        if self._out is not None:
            end_s = max(self._leader_s + min(self._step_s, _LONGEST_STEP_S), self._latest_s)
            if dts is not None:
                next_s = (dts - self._origins[self._leader]) * self._tick_s[self._leader]
                end_s = next_s if 0 < next_s - self._leader_s <= _MOST_GAP_S else end_s
            end_s = min(end_s, self._segment_start_s + LONGEST_SEGMENT_S)
            self._finish_segment(end_s)
            if keep_clock:
                start_s = self._origins[self._leader] * self._tick_s[self._leader]
                self._clock = (self._wall - start_s, start_s + end_s)
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
