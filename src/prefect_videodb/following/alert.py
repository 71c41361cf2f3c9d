"""An alert as it is told, tolerant: keys may be missing, times come in every form that was ever seen."""

import re
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from prefect_videodb.client.models.reading import as_seconds
from prefect_videodb.recording.models import Window

# `…/manifests/<stream>/<start>-<end>.m3u8`, in microseconds.
_MANIFEST = re.compile(r"/manifests/(?P<stream>[A-Za-z0-9_.-]{1,200})/(?P<start>\d{1,20})-(?P<end>\d{1,20})\.m3u8")
# Before this, in unix seconds, a number counts from the beginning of the stream, and is no moment; after the other one
# it counts milliseconds.
_FIRST_MOMENT = 1_000_000_000
_FIRST_MILLISECONDS = 100_000_000_000


class Alert(BaseModel):
    """What VideoDB tells when an event is seen or heard. Only the label is sure to be there, and not even that."""

    model_config = ConfigDict(extra="allow")

    label: str = Field(
        default="alert",
        validation_alias=AliasChoices("label", "event_label"),
        title="Label",
        description="What the event is called.",
    )
    event_id: str | None = Field(default=None, title="Event", description="Which event; the same in every firing.")
    confidence: float | None = Field(default=None, title="Confidence", description="From 0 to 1.")
    explanation: str | None = Field(
        default=None,
        validation_alias=AliasChoices("explanation", "text"),
        title="Explanation",
        description="What was seen or heard.",
    )
    timestamp: str | float | None = Field(default=None, title="Told at", description="When it was told.")
    start_time: str | float | None = Field(default=None, title="From", description="Where the batch begins.")
    end_time: str | float | None = Field(default=None, title="To", description="Where the batch ends.")
    rtstream_id: str | None = Field(
        default=None, title="Stream", description="The stream, rts-…; read out of the stream's URL when left empty."
    )
    stream_url: str | None = Field(default=None, title="Stream URL", description="The batch, as HLS.")
    player_url: str | None = Field(default=None, title="Player URL", description="The batch, as a page.")

    @property
    def stream(self) -> str | None:
        """The stream's id, where it is told or can be read out of the URL."""
        found = _MANIFEST.search(self.stream_url or "")
        return self.rtstream_id or (found["stream"] if found else None)

    @property
    def told_at(self) -> datetime | None:
        """When it was told."""
        return moment(self.timestamp)

    @property
    def batch(self) -> Window | None:
        """The batch in which the event is; None where neither the times nor the URL say."""
        start, end = moment(self.start_time), moment(self.end_time)
        if start and end and start <= end:
            return Window(start=start, end=end)
        found = _MANIFEST.search(self.stream_url or "")
        if found:
            start, end = moment(int(found["start"]) / 1e6), moment(int(found["end"]) / 1e6)
            if start and end and start <= end:
                return Window(start=start, end=end)
        return None


def moment(value: Any) -> datetime | None:
    """Read an ISO time, or unix seconds or milliseconds; None for what is no moment, as seconds of a stream."""
    with suppress(ValueError, TypeError, OverflowError, OSError, ValidationError):
        seconds = float(as_seconds(value))
        if seconds >= _FIRST_MILLISECONDS:
            seconds /= 1000
        if seconds >= _FIRST_MOMENT:
            return datetime.fromtimestamp(seconds, UTC)
    return None
