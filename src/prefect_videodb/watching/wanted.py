"""What must be there for a watch: its live index, its event, and the alert that calls back. Pure."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import SecretStr

from prefect_videodb.recording.ownership import mark
from prefect_videodb.watching.models import Watch


@dataclass(frozen=True, slots=True)
class Wanted:
    """One watch, the name of its index, and where its alerts are told."""

    watch: Watch
    index_name: str
    callback: SecretStr

    @property
    def event_key(self) -> str:
        """What tells its event from those of the other watches: the label and the prompt."""
        return _digest([self.watch.label, self.watch.prompt])

    @property
    def kind(self) -> Literal["visuals", "audio"]:
        """The kind of its index, as the service calls it."""
        return "visuals" if self.watch.kind == "visual" else "audio"

    @property
    def batch(self) -> dict[str, Any]:
        """How its index is batched."""
        batch: dict[str, Any] = {"type": "time", "value": self.watch.batch_s}
        if self.watch.kind == "visual":
            batch["frame_count"] = self.watch.frame_count
        return batch


def index_name(watch: Watch, flow_run_id: str, server: str | None = None) -> str:
    """Give the name of a watch's index: what it does, and whose it is. Watches that ask for the same share one."""
    frames = watch.frame_count if watch.kind == "visual" else None
    what = _digest([watch.kind, watch.describe, watch.batch_s, frames, watch.model_name])
    return f"{watch.kind} {what} {mark(flow_run_id, server)}"


def one_for_each_index(wanted: Iterable[Wanted]) -> Sequence[Wanted]:
    """Give of the watches that share an index the first."""
    first: dict[str, Wanted] = {}
    for one in wanted:
        first.setdefault(one.index_name, one)
    return list(first.values())


def _digest(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]
