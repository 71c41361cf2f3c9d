"""Encoders for what cannot be copied: pictures to H.264, sound to AAC, stamped with seconds the caller names."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Final, cast

import av
from av.video.frame import PictureType

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.packet import Packet
    from av.stream import Stream

_CLOCK: Final = 90_000
_KEYFRAME_EVERY_S: Final = 2.0
_SOUND_RATE: Final = 48_000
_SOUND_BITS: Final = 96_000
_LEAST_GAP: Final = _SOUND_RATE // 10


class PictureEncoder:
    """Encodes pictures of any size and format to H.264 of one size, with a keyframe every two seconds."""

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

    def encode(self, frame: av.VideoFrame, at_s: float) -> list[Packet[Stream]]:
        """Encode a picture that is shown at this second; one that is not later than the last is left out."""
        tick = round(at_s / self.time_base)
        if tick <= self._last:
            return []
        self._last = tick
        scaled = frame.reformat(self.stream.width, self.stream.height, "yuv420p")
        scaled.pts, scaled.time_base = tick, self.time_base
        scaled.pict_type = PictureType.NONE
        if not self._keyframe_s <= at_s < self._keyframe_s + _KEYFRAME_EVERY_S:
            self._keyframe_s = at_s
            scaled.pict_type = PictureType.I
        return cast("list[Packet[Stream]]", self.stream.encode(scaled))

    def flush(self) -> list[Packet[Stream]]:
        """Return what is still held back."""
        return cast("list[Packet[Stream]]", self.stream.encode(None))


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
