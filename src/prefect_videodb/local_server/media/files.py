"""The media files of this server's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import av

if TYPE_CHECKING:
    from pathlib import Path

    from av.container import InputContainer


def open_file(path: Path) -> InputContainer:
    """Open a media file; a segment of a few packets is too short for FFmpeg to recognize what it is."""
    return av.open(f"file:{path}", "r", format="mpegts" if path.suffix == ".ts" else None)
