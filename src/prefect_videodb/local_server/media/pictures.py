"""What can honestly be said of a picture: how bright it is, of which colours, what changed, and what is written in it.

Never what it shows: that would need a model, and a guess would be a lie.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import av
import av.error
from av.video.reformatter import Interpolation

from prefect_videodb.local_server.media.errors import BadMedia
from prefect_videodb.local_server.media.files import open_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from av.video.frame import VideoFrame

# Pictures are compared by cells of this grid; each cell is the mean of what it covers.
_GRID: Final = (64, 36)
_CELLS: Final = _GRID[0] * _GRID[1]
# Of 255: compression alone moves a cell by two or three.
_CELL_MOVED: Final = 12
# Less of the picture than this is a cursor, a clock, or somebody who moves.
CHANGED_SHARE: Final = 0.05
_COLOUR_GRID: Final = (32, 18)
_COLOUR_SHARE: Final = 0.15
_MOST_COLOURS: Final = 3
_HUES: Final = (
    (15, "red"),
    (45, "orange"),
    (70, "yellow"),
    (165, "green"),
    (200, "cyan"),
    (260, "blue"),
    (335, "purple"),
)
_DARK, _BRIGHT = 60.0, 180.0
_READING_S: Final = 20.0
_WIDEST_READ: Final = 1280
_LONGEST_TEXT: Final = 2000
_LEAST_LETTERS: Final = 3


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one picture."""

    brightness: float
    """Mean of all pixels, 0 (black) to 255 (white)."""
    colours: tuple[str, ...]
    """The names of those that cover most of it, the largest first."""
    text: str | None
    """What is written in it; None where no OCR is installed."""
    cells: bytes
    """Its cells' brightness, to compare it with another picture."""

    def changed(self, before: Facts) -> float:
        """Return which share of the picture looks different from `before`, from 0 to 1."""
        moved = sum(abs(a - b) > _CELL_MOVED for a, b in zip(self.cells, before.cells, strict=True))
        return moved / _CELLS


def ocr_installed() -> bool:
    """Say whether text in pictures can be read on this machine."""
    return shutil.which("tesseract") is not None


def facts_at(path: Path, at_s: float = 0.0, *, before: Facts | None = None) -> Facts:
    """Look at the keyframe at or before `at_s` seconds of a file.

    Where it looks like `before`, that one's text is taken: reading costs a third of a second. Raise `BadMedia` when
    the file holds no picture.
    """
    frame = keyframe(path, at_s)
    cells = _pixels(frame, *_GRID, "gray")
    seen = Facts(sum(cells) / len(cells), _colours(frame), None, cells)
    if before is not None and before.text is not None and seen.changed(before) == 0:
        return Facts(seen.brightness, seen.colours, before.text, cells)
    return Facts(seen.brightness, seen.colours, _read(frame), cells)


def describe(pictures: Sequence[Facts], before: Facts | None) -> str:
    """Say what there is to say of some pictures that follow on each other, and on `before`."""
    last = pictures[-1]
    chain = [*([before] if before else []), *pictures]
    change = max((b.changed(a) for a, b in pairwise(chain)), default=0.0)
    parts = []
    if change >= CHANGED_SHARE:
        parts.append(f"The picture changed in {round(change * 100)} % of its area")
    elif before is not None or len(pictures) > 1:
        parts.append("The picture stayed as it was")
    parts.append(_light(last.brightness) + (f"; mostly {' and '.join(last.colours)}" if last.colours else ""))
    text = " / ".join(dict.fromkeys(line for facts in pictures for line in (facts.text or "").splitlines()))
    if text:
        parts.append(f"Text: {text[:_LONGEST_TEXT]}")
    return ". ".join(parts)


def keyframe(path: Path, at_s: float) -> VideoFrame:
    """Return the keyframe at or before `at_s` seconds of a file, or its first one. Raise `BadMedia` if it has none."""
    try:
        with open_file(path) as media:
            if not media.streams.video:
                raise BadMedia(f"{path.name} holds no picture")
            stream = media.streams.video[0]
            stream.codec_context.skip_frame = "NONKEY"
            if at_s > 0:
                media.seek(round(at_s * 1_000_000) + (media.start_time or 0), backward=True)
            for frame in media.decode(stream):
                return frame
    except (av.error.FFmpegError, OSError) as error:
        raise BadMedia(f"{path.name} cannot be read: {error.strerror}") from error
    raise BadMedia(f"{path.name} holds no picture")


def shots(path: Path) -> list[float]:
    """Return where the picture of a file changes, in seconds: the beginning first. Raise `BadMedia` if it has none."""
    cuts: list[float] = []
    before = None
    try:
        with open_file(path) as media:
            if not media.streams.video:
                raise BadMedia(f"{path.name} holds no picture")
            media.streams.video[0].codec_context.skip_frame = "NONKEY"
            for frame in media.decode(video=0):
                seen = Facts(0.0, (), None, _pixels(frame, *_GRID, "gray"))
                if before is None or seen.changed(before) >= CHANGED_SHARE:
                    cuts.append(0.0 if before is None else frame.time or 0.0)
                    before = seen
    except (av.error.FFmpegError, OSError) as error:
        raise BadMedia(f"{path.name} cannot be read: {error.strerror}") from error
    return cuts


def write_jpeg(path: Path, at_s: float, target: Path) -> None:
    """Write the keyframe at or before `at_s` seconds of a file as a JPEG. Raise `BadMedia` when there is none."""
    frame = keyframe(path, at_s)
    with av.open(str(target), "w", format="image2", options={"update": "1"}) as output:
        stream = output.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuvj420p"
        picture = frame.reformat(format="yuvj420p")
        picture.pts = 0
        picture.time_base = Fraction(1)
        output.mux(stream.encode(picture))
        output.mux(stream.encode(None))


def _light(brightness: float) -> str:
    if brightness < _DARK:
        return "Dark"
    return "Bright" if brightness > _BRIGHT else "Of medium brightness"


def _pixels(frame: VideoFrame, width: int, height: int, form: str) -> bytes:
    """Return a picture's pixels at another size, row after row without padding."""
    small = frame.reformat(width, height, form, interpolation=Interpolation.AREA)
    plane = small.planes[0]
    row = width * (3 if form == "rgb24" else 1)
    data = bytes(plane)
    return b"".join(data[y * plane.line_size : y * plane.line_size + row] for y in range(height))


def _colours(frame: VideoFrame) -> tuple[str, ...]:
    pixels = _pixels(frame, *_COLOUR_GRID, "rgb24")
    names = [_colour(*pixels[i : i + 3]) for i in range(0, len(pixels), 3)]
    shares = {name: names.count(name) / len(names) for name in set(names)}
    most = sorted((name for name, share in shares.items() if share >= _COLOUR_SHARE), key=lambda name: -shares[name])
    return tuple(most[:_MOST_COLOURS])


@lru_cache(maxsize=4096)
def _colour(red: int, green: int, blue: int) -> str:
    """Name a colour as a person would who has a dozen words for it."""
    most, least = max(red, green, blue), min(red, green, blue)
    light, chroma = (most + least) / 2, most - least
    if chroma < 32:  # noqa: PLR2004 - greyish
        return "black" if light < 50 else "white" if light > 205 else "grey"  # noqa: PLR2004 - of 255
    if most == red:
        hue = 60 * ((green - blue) / chroma % 6)
    elif most == green:
        hue = 60 * ((blue - red) / chroma + 2)
    else:
        hue = 60 * ((red - green) / chroma + 4)
    name = next((name for bound, name in _HUES if hue < bound), "red")
    return f"dark {name}" if light < 80 else name  # noqa: PLR2004 - of 255


def _read(frame: VideoFrame) -> str | None:
    """Return what is written in a picture, or None when nobody here can read or it took too long."""
    program = shutil.which("tesseract")
    if program is None:
        return None
    scale = min(1.0, _WIDEST_READ / frame.width)
    width, height = round(frame.width * scale), round(frame.height * scale)
    picture = f"P5 {width} {height} 255\n".encode() + _pixels(frame, width, height, "gray")
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command
            [program, "stdin", "stdout", "--psm", "3"],
            input=picture,
            capture_output=True,
            timeout=_READING_S,
            check=False,
            # A recording that runs beside goes first.
            env={**os.environ, "OMP_THREAD_LIMIT": "1"},
            process_group=0,
        )
    except subprocess.TimeoutExpired:
        return None
    lines = (" ".join(line.split()) for line in done.stdout.decode(errors="replace").splitlines())
    return "\n".join(line for line in lines if sum(c.isalpha() for c in line) >= _LEAST_LETTERS)
