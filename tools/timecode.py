"""The strip at the foot of the sample meeting that tells where in the loop a picture comes from.

Sixteen cells of 16 x 16 pixels, aligned to the macroblocks of H.264 so that compression leaves them alone:
a light and a dark cell to measure against, twelve bits of tenths of a second (highest first), one cell of
even parity, and one dark cell. It reads the luma plane byte by byte: no NumPy is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import av

CELL_PX: Final = 16
CELLS: Final = 16
LIGHT_LUMA: Final = 150
DARK_LUMA: Final = 40
_BITS: Final = 12
_LEAST_CONTRAST: Final = 40
_SAMPLES: Final = (4, 6, 8, 10, 12)


class NoTimecodeError(ValueError):
    """The picture does not carry a readable strip."""


def cells(tenths: int) -> list[bool]:
    """Return which cells of the strip are light at so many tenths of a second, from left to right."""
    if not 0 <= tenths < 1 << _BITS:
        message = f"the strip counts to {(1 << _BITS) - 1} tenths of a second, not {tenths}"
        raise ValueError(message)
    bits = [bool(tenths >> shift & 1) for shift in reversed(range(_BITS))]
    return [True, False, *bits, sum(bits) % 2 == 1, False]


def read(frame: av.VideoFrame) -> float:
    """Return the position in the sample meeting, in seconds to a tenth, that a decoded picture shows.

    Raise `NoTimecodeError` when the picture has no strip: it is not of the sample, or it was scaled.
    """
    if frame.width < CELL_PX * CELLS or frame.height < CELL_PX:
        raise NoTimecodeError("the picture is smaller than the strip")
    plane = (frame if frame.format.name in {"yuv420p", "yuvj420p"} else frame.reformat(format="yuv420p")).planes[0]
    luma = memoryview(plane)
    top = frame.height - CELL_PX

    def level(cell: int) -> float:
        points = [luma[(top + y) * plane.line_size + cell * CELL_PX + x] for y in _SAMPLES for x in _SAMPLES]
        return sum(points) / len(points)

    levels = [level(cell) for cell in range(CELLS)]
    if levels[0] - levels[1] < _LEAST_CONTRAST:
        raise NoTimecodeError("the picture has no strip at its foot")
    middle = (levels[0] + levels[1]) / 2
    lights = [value > middle for value in levels]
    tenths = sum(
        1 << shift for shift, light in zip(reversed(range(_BITS)), lights[2 : 2 + _BITS], strict=True) if light
    )
    if lights != cells(tenths):
        raise NoTimecodeError("the strip at the foot of the picture is damaged")
    return tenths / 10
