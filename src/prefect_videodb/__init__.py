"""Prefect tasks, blocks and flows for VideoDB's live streams.

The blocks are loaded when they are asked for: the client and the local server work without Prefect, and who uses only
those does not pay for importing it.
"""

import importlib
from typing import TYPE_CHECKING, Any

from prefect_videodb._version import __version__

if TYPE_CHECKING:
    from prefect_videodb.blocks import AlertWebhook, RecordingArchive, RTStreamSource, VideoDBCredentials

_BLOCKS = frozenset({"AlertWebhook", "RTStreamSource", "RecordingArchive", "VideoDBCredentials"})
__all__ = ["AlertWebhook", "RTStreamSource", "RecordingArchive", "VideoDBCredentials", "__version__"]


def __getattr__(name: str) -> Any:
    if name in _BLOCKS:
        return getattr(importlib.import_module("prefect_videodb.blocks"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
