"""Encoders for what cannot be copied: pictures to H.264, sound to AAC, stamped with seconds the caller names."""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import TYPE_CHECKING, Final, cast

import av
import av.error
from av.filter import Graph
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import PictureType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from av.container import OutputContainer
    from av.packet import Packet
    from av.sidedata.sidedata import SideData
    from av.stream import Stream

_CLOCK: Final = 90_000
_KEYFRAME_EVERY_S: Final = 2.0
_SOUND_RATE: Final = 48_000
_SOUND_BITS: Final = 96_000
_LEAST_GAP: Final = _SOUND_RATE // 10
# What every browser plays; others have more bits, more colour, or lines of two moments.
PLAYABLE_FORMATS: Final = {"yuv420p", "yuvj420p"}


def is_playable(frame: av.VideoFrame) -> bool:
    """Whether browsers show a picture of H.264 as it is: upright, whole, 8 bits, 4:2:0."""
    return frame.format.name in PLAYABLE_FORMATS and not frame.interlaced_frame and not _turns(frame)


def shown_size(width: int, height: int, pixel_aspect: Fraction | None) -> tuple[int, int]:
    """Return the size at which pictures are to be shown, in square pixels; even numbers."""
    aspect = pixel_aspect or Fraction(1)
    # The smaller side grows: nothing of the picture's detail is lost.
    if aspect > 1:
        width = round(width * aspect)
    else:
        height = round(height / aspect)
    # Colour is stored for two by two pixels.
    return max(2, width // 2 * 2), max(2, height // 2 * 2)


def upright_size(frame: av.VideoFrame, pixel_aspect: Fraction | None) -> tuple[int, int]:
    """Return `shown_size` of a picture, turned as its display matrix asks."""
    width, height = shown_size(frame.width, frame.height, pixel_aspect)
    is_on_its_side = any(name == "transpose" for name, _ in _turns(frame))
    return (height, width) if is_on_its_side else (width, height)


class PictureEncoder:
    """Encodes pictures of any size and format to H.264 of one size, with a keyframe every two seconds.

    Pictures are turned upright as their display matrix asks, and interlaced ones are made whole. One of another shape
    gets black bars: nothing is stretched.
    """

    def __init__(self, out: OutputContainer, *, width: int, height: int, rate: Fraction | int) -> None:
        # No look-ahead: a live recording would have its sound long before its pictures.
        options = {"preset": "veryfast", "tune": "zerolatency", "crf": "23", "bf": "0", "forced-idr": "1"}
        self.stream = out.add_stream("libx264", rate=rate, options=options)
        # Colour is stored for two by two pixels.
        self.stream.width, self.stream.height = max(2, width // 2 * 2), max(2, height // 2 * 2)
        self.stream.pix_fmt = "yuv420p"
        self.time_base = Fraction(1, _CLOCK)
        self.stream.time_base = self.stream.codec_context.time_base = self.time_base
        self._keyframe_s = float("-inf")
        self._last = float("-inf")
        self._graph: Graph | None = None
        self._shape: object = None
        self._is_interlaced = False

    def encode(self, frame: av.VideoFrame, at_s: float, pixel_aspect: Fraction | None = None) -> list[Packet[Stream]]:
        """Encode a picture that is shown at this second; one that is not later than the last is left out."""
        tick = round(at_s / self.time_base)
        if tick <= self._last:
            return []
        self._last = tick
        frame.pts, frame.time_base = tick, self.time_base
        return [packet for fitted in self._fit(frame, pixel_aspect) for packet in self._encode(fitted)]

    def _fit(self, frame: av.VideoFrame, pixel_aspect: Fraction | None) -> list[av.VideoFrame]:
        """Return the pictures that are ready: upright, whole, and in the encoder's size."""
        width, height = self.stream.width, self.stream.height
        turns, shown = _turns(frame), upright_size(frame, pixel_aspect)
        self._is_interlaced |= frame.interlaced_frame
        if not turns and not self._is_interlaced and shown == (width, height):
            return [*self._drain(), frame.reformat(width, height, "yuv420p")]
        shape = (frame.width, frame.height, frame.format.name, shown, turns, self._is_interlaced)
        ready = []
        if self._graph is None or shape != self._shape:
            ready = self._drain()
            scale = min(Fraction(width, shown[0]), Fraction(height, shown[1]))
            inner = [
                max(2, min(most, round(side * scale / 2) * 2))
                for side, most in zip(shown, (width, height), strict=True)
            ]
            filters = [("bwdif", "mode=send_frame:deint=interlaced")] if self._is_interlaced else []
            filters += [*turns, ("scale", f"{inner[0]}:{inner[1]}"), ("format", "yuv420p")]
            filters += [("pad", f"{width}:{height}:-2:-2"), ("setsar", "1")]
            self._graph, self._shape = _graph(frame, filters), shape
        self._graph.push(frame)
        return [*ready, *_pull(self._graph)]

    def _drain(self) -> list[av.VideoFrame]:
        """Return what the filters still hold: making an interlaced picture whole takes the next one."""
        graph, self._graph = self._graph, None
        if graph is None:
            return []
        graph.push(None)
        return list(_pull(graph))

    def _encode(self, frame: av.VideoFrame) -> list[Packet[Stream]]:
        at_s = frame.time or 0.0
        frame.pts, frame.time_base = round(at_s / self.time_base), self.time_base
        frame.pict_type = PictureType.NONE
        if not self._keyframe_s <= at_s < self._keyframe_s + _KEYFRAME_EVERY_S:
            self._keyframe_s = at_s
            frame.pict_type = PictureType.I
        return cast("list[Packet[Stream]]", self.stream.encode(frame))

    def flush(self) -> list[Packet[Stream]]:
        """Return what is still held back."""
        held = [packet for frame in self._drain() for packet in self._encode(frame)]
        return [*held, *cast("list[Packet[Stream]]", self.stream.encode(None))]


def _pull(graph: Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            frame = graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        if isinstance(frame, av.VideoFrame):
            yield frame


def _graph(frame: av.VideoFrame, filters: list[tuple[str, str]]) -> Graph:
    graph = Graph()
    steps = [
        graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, _CLOCK))
    ]
    steps += [graph.add(name, arguments) for name, arguments in filters]
    graph.link_nodes(*steps, graph.add("buffersink")).configure()
    return graph


def _turns(frame: av.VideoFrame) -> tuple[tuple[str, str], ...]:
    """Return the filters that turn a picture upright, as its display matrix asks."""
    # PyAV's type stubs take this container for a mapping of strings.
    every = cast("Iterable[SideData]", frame.side_data)
    data = next((data for data in every if data.type is SideDataType.DISPLAYMATRIX), None)
    if data is None:
        return ()
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(data))
    if abs(b) + abs(c) > abs(a) + abs(d):
        # Rows become columns; the two signs say from which corner.
        return (("transpose", {(1, 1): "0", (1, -1): "1", (-1, 1): "2", (-1, -1): "3"}[_sign(b), _sign(c)]),)
    return tuple((name, "") for name, side in (("hflip", a), ("vflip", d)) if side < 0)


def _sign(number: int) -> int:
    return -1 if number < 0 else 1


class SoundEncoder:
    """Encodes sound of any rate and format to AAC at 48 kHz, mono or stereo."""

    def __init__(self, out: OutputContainer, *, channels: int) -> None:
        self._layout = "mono" if channels == 1 else "stereo"
        self.stream = out.add_stream("aac", rate=_SOUND_RATE, layout=self._layout)
        self.stream.bit_rate = _SOUND_BITS
        self.time_base = Fraction(1, _SOUND_RATE)
        self._resampler: av.AudioResampler | None = None
        self._format: tuple[str, str, int] | None = None
        self._next = 0

    def encode(self, frame: av.AudioFrame, at_s: float) -> list[Packet[Stream]]:
        """Encode a stretch of sound that begins at this second; an overlap with the last one is moved behind it."""
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._resampler is None or form != self._format:
            self._resampler = av.AudioResampler(format="fltp", layout=self._layout, rate=_SOUND_RATE)
            self._format = form
        frame.pts = None
        packets: list[Packet[Stream]] = []
        for part in self._resampler.resample(frame):
            at = round(at_s / self.time_base)
            if at < self._next - _LEAST_GAP:
                continue  # where one run ends and the next begins, sound may overlap; moved on, it would come too late
            # Rounding makes no gaps: only what is really missing moves the sound.
            if self._next and at < self._next + _LEAST_GAP:
                at = self._next
            part.pts, part.time_base = at, self.time_base
            self._next = at + part.samples
            packets += cast("list[Packet[Stream]]", self.stream.encode(part))
        return packets

    def flush(self) -> list[Packet[Stream]]:
        """Return what is still held back."""
        return cast("list[Packet[Stream]]", self.stream.encode(None))
