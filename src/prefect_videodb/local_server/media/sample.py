"""The meeting that the package brings along, so that there is something to record without a camera."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_ASSETS: Final = Path(__file__).resolve().parent.parent / "assets"


@dataclass(frozen=True, slots=True)
class SpokenSentence:
    """One sentence of the sample meeting; the times are seconds from the beginning of the file."""

    start_s: float
    end_s: float
    speaker: str
    text: str
    is_action_item: bool = False
    """Whether it gives somebody something to do; every 30 s of the endless loop hold at least one that does."""


def sample_meeting() -> Path:
    """Return the sample's mp4: 64 s of slides with two voices (H.264 720p, a keyframe each second; AAC mono)."""
    return _ASSETS / "sample_meeting.mp4"


def sample_transcript() -> list[SpokenSentence]:
    """Return what is really said in the sample, in order."""
    facts = json.loads((_ASSETS / "sample_meeting.json").read_text(encoding="utf-8"))
    return [
        SpokenSentence(
            start_s=sentence["start_s"],
            end_s=sentence["end_s"],
            speaker=sentence["speaker"],
            text=sentence["text"],
            is_action_item=sentence["action_item"],
        )
        for sentence in facts["sentences"]
    ]
