"""Records a live source into a folder of segments, in a thread of its own, until it is stopped."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import av.error

from prefect_videodb.local_server.media import source as sources
from prefect_videodb.local_server.media.errors import BadMedia, MediaError, SourceUnreachable
from prefect_videodb.local_server.media.hls_clock import read_clock
from prefect_videodb.local_server.media.segment_writer import PART, SegmentWriter
from prefect_videodb.local_server.media.tracks import choose

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream

    from prefect_videodb.local_server.media.segments import MediaType, Segment
    from prefect_videodb.local_server.media.tracks import Track

_FIRST_DELAY_S: Final = 0.2
_LONGEST_DELAY_S: Final = 5.0
# A server that answers with something else than media may be starting up; after so many tries in a row it is not.
_MOST_BAD_ANSWERS: Final = 3
# A time stamp that is further off than this from where it should be begins a new count.
_JUMP_S: Final = 10.0
_MIN_FREE_BYTES: Final = 256 << 20
_GATHER_S: Final = 0.1
# A packet that was there already comes faster than this.
_WAITED_S: Final = 0.002
# Until then packets are taken as they come: when they come tells when the recording began.
_SETTLED_S: Final = 5.0


class RecorderState(StrEnum):
    """What a recorder is doing; the last two are final."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    FAILED = "failed"
    STOPPED = "stopped"


class Recorder:
    """Record a live source by stream copy into a folder of segments, in a thread of its own, until stopped.

    A live source that ends, dies or freezes is connected to again and again, with growing pauses of up to five
    seconds, for as long as nobody calls `stop`; each new connection begins a new run. A source that has an end of
    its own (a file, a finished HLS playlist) is played at its own pace and then the state is `STOPPED` with the
    message that the source has ended. `FAILED` means that trying again is of no use: no media, no such file, a full
    disk.

    `on_segment` and `on_state` are called from the recorder's thread, in order; what they raise ends the recording
    as `FAILED` and surfaces in that thread. A segment that was announced is whole, whatever happens afterwards. The
    message of `on_state` is for a person and holds no secret of the URL. The folder must belong to this recorder
    alone; the first run's number must be new in it. Raise `BadMedia` for a URL that cannot be understood.
    """

    def __init__(
        self,
        url: str,
        folder: Path,
        *,
        media_types: frozenset[MediaType],
        on_segment: Callable[[Segment], None],
        on_state: Callable[[RecorderState, str], None],
        first_run: int = 0,
        min_free_bytes: int = _MIN_FREE_BYTES,
    ) -> None:
        self._source = sources.parse(url)
        self._folder = folder
        self._media_types = media_types
        self._on_segment = on_segment
        self._on_state = on_state
        self._run = first_run
        self._min_free_bytes = min_free_bytes
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._is_opening = False
        self._wall_end = 0.0
        self._was_endless = False
        self._refused_over_tcp: MediaError | None = None
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._is_started = False
        self.error: MediaError | None = None
        """Why the state is `FAILED`."""

    def start(self) -> None:
        """Begin to record; a recorder runs once."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for rest in self._folder.glob(f"*{PART}"):
            rest.unlink(missing_ok=True)
        self._is_started = True
        self._thread.start()

    def stop(self, timeout_s: float = 20.0) -> None:
        """Close the last segment and end the thread; a second call changes nothing.

        Takes hundredths of a second while media flows, and up to sixteen seconds when the source just fell silent: a
        read of FFmpeg's cannot be interrupted. Raise `TimeoutError` when the time was not enough: the thread goes on
        ending, call again.
        """
        self._stopping.set()
        if not self._is_started or self._thread is threading.current_thread():
            return
        deadline = time.monotonic() + timeout_s
        while self._thread.is_alive() and time.monotonic() < deadline:
            self._knock()
            self._thread.join(min(0.5, max(0.0, deadline - time.monotonic())))
        if self._thread.is_alive():
            message = f"the recorder of {self._source.shown} is still closing after {timeout_s} s; stop it again"
            raise TimeoutError(message)

    def _knock(self) -> None:
        """Wake a recorder that waits for a publisher: FFmpeg's wait can be ended only by somebody who comes."""
        if self._source.listens_at is None or not self._is_opening:
            return
        with contextlib.suppress(OSError):  # nobody waits there any more: that is what was wanted
            socket.create_connection(self._source.listens_at, timeout=1.0).close()

    def _work(self) -> None:
        try:
            state, message = self._record()
        except MediaError as error:
            self.error = error
            state, message = RecorderState.FAILED, str(error)
        except BaseException as error:
            self._on_state(RecorderState.FAILED, f"the recorder broke ({type(error).__name__}); see the log")
            raise
        self._on_state(state, message)

    def _record(self) -> tuple[RecorderState, str]:
        """Connect and record until there is a reason to end; return the final state and its message."""
        shown = self._source.shown
        where = f"waiting for a publisher at {shown}" if self._source.listens_at else f"connecting to {shown}"
        self._on_state(RecorderState.CONNECTING, where)
        delay_s = _FIRST_DELAY_S
        bad_answers = 0
        said = ""
        while not self._stopping.is_set():
            runs_before = self._run
            try:
                self._record_connection()
                reason = f"{shown} ended its stream"
            except _EndOfSourceError:
                return RecorderState.STOPPED, f"{shown} has ended; its recording is complete"
            except SourceUnreachable as error:
                if self._source.is_local:
                    raise
                reason = str(error)
            except BadMedia as error:
                bad_answers = 1 if self._run > runs_before else bad_answers + 1
                if self._source.is_local or bad_answers >= _MOST_BAD_ANSWERS:
                    raise
                reason = str(error)
            if self._stopping.is_set():
                break
            if self._run > runs_before:
                delay_s, bad_answers, said = _FIRST_DELAY_S, 0, ""
            if reason != said:
                said = reason
                self._on_state(RecorderState.RECONNECTING, f"{reason}; trying again")
            self._stopping.wait(delay_s)
            delay_s = min(2 * delay_s, _LONGEST_DELAY_S)
        return RecorderState.STOPPED, f"stopped recording {shown}"

    def _record_connection(self) -> None:
        """Connect once and record until the connection ends; raise what ended it, unless it just ended."""
        if self._source.is_local and not sources.is_regular_file(self._source):
            raise SourceUnreachable(f"{self._source.shown} is not a file")
        runs_before, refusal = self._run, None
        try:
            with self._open() as container:
                tracks = choose(container, self._media_types)
                try:
                    self._record_container(container, tracks)
                finally:
                    for track in tracks.values():
                        track.close()
        except (av.error.FFmpegError, OSError, ValueError) as error:
            reason = sources.explain(error, self._source)
            if self._source.over_udp is not None and sources.is_refusal(error, self._source):
                refusal = reason
        except _SilenceError as error:
            reason = refusal = error
        else:
            return
        if refusal is not None and self._run == runs_before and self._source.over_udp is not None:
            raise self._other_transport(refusal)
        raise reason

    def _open(self) -> InputContainer:
        self._is_opening = True
        try:
            return self._source.open(udp=self._refused_over_tcp is not None)
        finally:
            self._is_opening = False

    def _other_transport(self, refusal: MediaError) -> MediaError:
        """Return what to say of a refusal: after one over TCP UDP is tried the next time, and the other way round."""
        over_tcp, self._refused_over_tcp = self._refused_over_tcp, None
        if over_tcp is not None:
            # What describes no media over either is given up after some answers, as over any other protocol.
            is_bad = isinstance(over_tcp, BadMedia) and isinstance(refusal, BadMedia)
            kind = BadMedia if is_bad else SourceUnreachable
            return kind(f"neither TCP nor UDP works: over TCP, {over_tcp}; over UDP, {refusal}")
        self._refused_over_tcp = refusal
        return SourceUnreachable(f"{refusal}; it is asked for UDP instead of TCP")

    def _record_container(self, container: InputContainer, tracks: dict[int, Track]) -> None:
        is_finite = self._source.is_local or (self._source.is_paced_by_us and _has_an_end(container))
        if is_finite and self._was_endless:
            # A live playlist that came to its end: it could be played from its beginning now, and that is recorded.
            raise _EndOfSourceError
        writer = SegmentWriter(
            self._folder,
            tracks,
            run=self._run,
            on_segment=self._on_segment,
            not_before=self._wall_end,
            min_free_bytes=self._min_free_bytes,
            source_clock=read_clock(self._source) if container.format.name == "hls" and not is_finite else None,
        )
        is_connected = False
        try:
            for index, packet in self._packets(container, tracks, writer):
                writer.write(index, packet)
                if not is_finite and packet.is_keyframe and (kind := self._newcomer(container, tracks)):
                    writer.close()
                    raise SourceUnreachable(f"{self._source.shown} sends {kind} too by now")
                if not is_connected and writer.is_open:
                    is_connected = True
                    self._was_endless = not is_finite
                    self._on_state(RecorderState.CONNECTED, self._describe(tracks))
            writer.close()
        except (av.error.FFmpegError, OSError):
            writer.close()
            raise
        finally:
            # After an error of its own there is nothing left that could be closed.
            writer.abandon()
            self._run, self._wall_end = writer.next_run, writer.wall_end
        if self._stopping.is_set():
            return
        if not is_connected:
            raise _SilenceError(f"{self._source.shown} holds no picture or sound to begin with")
        if is_finite:
            raise _EndOfSourceError

    def _packets(
        self, container: InputContainer, tracks: dict[int, Track], writer: SegmentWriter
    ) -> Iterator[tuple[int, Packet[Stream]]]:
        """Yield what is to be recorded, at the pace of a live source, until the source ends or the recorder stops."""
        pace = _Pace(self._stopping) if self._source.is_paced_by_us else None
        # The buffers of datagrams are small, and what does not fit is lost.
        gathers = not self._source.is_paced_by_us and self._refused_over_tcp is None
        gathering = _Gathering(self._stopping) if gathers else None
        for packet in self._arriving(container, tracks, gathering):
            index = packet.stream_index
            # Twice where what it changed to cannot be copied.
            while tracks[index].is_changed_by(packet):
                yield from self._renew(packet, tracks, writer)
            for ready in tracks[index].feed(packet):
                if pace is not None and ready.dts is not None:
                    pace.wait(float(ready.dts * tracks[index].time_base))
                yield index, ready
        for index, track in tracks.items():
            for ready in track.flush():
                yield index, ready

    def _arriving(
        self, container: InputContainer, tracks: Mapping[int, Track], gathering: _Gathering | None
    ) -> Iterator[Packet[Stream]]:
        """Yield the packets of the source until it ends or the recorder stops."""
        for packet in container.demux(*(container.streams[index] for index in tracks)):
            if gathering is not None:
                gathering.wait()
            if self._stopping.is_set():
                return
            if packet.size:
                yield packet
            if gathering is not None:
                gathering.ask()

    def _renew(
        self, packet: Packet[Stream], tracks: dict[int, Track], writer: SegmentWriter
    ) -> Iterator[tuple[int, Packet[Stream]]]:
        """Go on with a track whose source changed its format, with this packet, under the open connection."""
        index = packet.stream_index
        old = tracks[index]
        for ready in old.flush():
            yield index, ready
        try:
            tracks[index] = old.renewed()
        except (av.error.FFmpegError, ValueError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise BadMedia(f"the {old.kind} of {self._source.shown} cannot be encoded here: {reason}") from error
        old.close()
        writer.renew(index, tracks[index], packet.dts)

    def _newcomer(self, container: InputContainer, tracks: Mapping[int, Track]) -> MediaType | None:
        """Return the kind of a wanted track that came after the source was opened; PyAV shows no packet of it."""
        for kind in self._media_types - {track.kind for track in tracks.values()}:
            try:
                stream = container.streams.best(kind)
            except IndexError:
                return kind
            if stream is not None and not stream.disposition & stream.disposition.attached_pic:
                return kind
        return None

    def _describe(self, tracks: Mapping[int, Track]) -> str:
        """Say what is recorded, and which wanted track the source does not have."""
        kinds = {track.kind for track in tracks.values()}
        message = f"recording {' and '.join(sorted(kinds))} of {self._source.shown}"
        missing = sorted(self._media_types - kinds)
        return f"{message}; the source has no {' and no '.join(missing)}" if missing else message


def _has_an_end(container: InputContainer) -> bool:
    """Say whether something from a web server is a recording, and not live."""
    if container.format.name == "hls":
        return bool(container.duration and container.duration > 0)
    # A server that does not say how long its answer is goes on for as long as it likes.
    return container.size > 0


class _EndOfSourceError(Exception):
    """A source that has an end of its own reached it."""


class _SilenceError(BadMedia):
    """A source was opened, and nothing that can be recorded came."""


class _Gathering:
    """Lets packets of a live source gather for a moment, so that many are read at a time.

    Being woken for each packet costs more than reading it: caches are cold each time. The network's buffers hold a
    tenth of a second of any stream many times over.
    """

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        self._asked = self._began = time.monotonic()

    def ask(self) -> None:
        """Note that the next packet is asked for now."""
        self._asked = time.monotonic()

    def wait(self) -> None:
        """Wait a moment when this packet had to be waited for: nothing else had arrived yet."""
        now = time.monotonic()
        if now - self._asked > _WAITED_S and now - self._began > _SETTLED_S:
            self._stopping.wait(_GATHER_S)


class _Pace:
    """Holds back packets of a source that could be read at any speed, to the pace of their own time stamps."""

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        self._behind_s: float | None = None

    def wait(self, at_s: float) -> None:
        """Wait until a packet of this time stamp is due, or the recorder is stopped."""
        now_s = time.monotonic()
        if self._behind_s is None or abs(now_s - self._behind_s - at_s) > _JUMP_S:
            self._behind_s = now_s - at_s
        wait_s = self._behind_s + at_s - now_s
        if wait_s > 0:
            self._stopping.wait(wait_s)
