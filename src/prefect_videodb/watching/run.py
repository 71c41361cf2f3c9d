"""One execution of a watch: for whom, of what, and what it remembers."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from prefect_videodb.blocks import AlertWebhook, RTStreamSource, VideoDBCredentials
from prefect_videodb.recording.memory import Memory
from prefect_videodb.watching.life import DUE_BY
from prefect_videodb.watching.models import Trouble, WatchOptions
from prefect_videodb.watching.wanted import Wanted

# What it remembers of where it is shown.
ARTIFACT = "artifact"
# So many of the last troubles are kept: a watch may go on for years.
_TROUBLES = 20


@dataclass(frozen=True, slots=True)
class WatchRun:
    """One execution of the flow.

    `source` is None where the stream is there: adopted, or connected earlier. `server` is None where it is not known.
    """

    id: str
    server: str | None
    account: VideoDBCredentials
    source: RTStreamSource | None
    webhook: AlertWebhook
    wanted: Sequence[Wanted]
    every: timedelta
    options: WatchOptions
    memory: Memory

    def promise(self) -> None:
        """Say until when the next look is made, so that others can tell when nobody makes it."""
        slack = 2 * timedelta(seconds=self.options.start_timeout_s)
        self.memory.remember(**{DUE_BY: (datetime.now(UTC) + self.every + slack).isoformat()})

    def planned_end(self) -> datetime | None:
        """Give the end, which somebody may have moved; None when there is none."""
        window = self.memory.recall_window()
        return window.end if window else None

    def moment(self, key: str) -> datetime | None:
        """Give a moment that was remembered."""
        known = self.memory.recall(key)
        return datetime.fromisoformat(known) if known else None

    def number(self, key: str) -> int:
        """Give a count that was remembered; 0 when none was."""
        known = self.memory.recall(key) or ""
        return int(known) if known.isdecimal() else 0

    @property
    def event_ids(self) -> dict[str, str] | None:
        """The ids of the events, by the watch's key; None before everything was set up."""
        known = self.memory.recall("events")
        return dict(json.loads(known)) if known else None

    @property
    def troubles(self) -> list[Trouble]:
        """The last troubles."""
        return [Trouble.model_validate(known) for known in json.loads(self.memory.recall("troubles") or "[]")]

    @property
    def standing(self) -> set[str]:
        """What was amiss at the last look and could not be put right: the keys of what was found."""
        return set((self.memory.recall("standing") or "").split())


def kept(troubles: Sequence[Trouble]) -> str:
    """Write the last troubles down."""
    return json.dumps([trouble.model_dump(mode="json") for trouble in troubles[-_TROUBLES:]])
