"""An alert as it is told, tolerant: keys may be missing, times come in every form that was ever seen."""

import hashlib
import json
import math
import re
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from prefect_videodb.client.models.reading import Number, Text, as_seconds

# `…/manifests/<stream>/<start>-<end>.m3u8`, in microseconds.
MANIFEST = re.compile(r"/manifests/(?P<stream>[A-Za-z0-9_.-]{1,200})/(?P<start>\d{1,20})-(?P<end>\d{1,20})\.m3u8")
# Before this, in unix seconds, a number counts from the beginning of the stream, and is no moment; after the other one
# it counts milliseconds.
FIRST_MOMENT = 1_000_000_000
_FIRST_MILLISECONDS = 100_000_000_000
_PREFIX = "event-"


def _label(value: Any) -> str:
    return value if isinstance(value, str) and value.strip() else "alert"


def _time(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    with suppress(OverflowError):
        return value if isinstance(value, str) else float(value)
    return None


Time = Annotated[str | float | None, BeforeValidator(_time)]


class Alert(BaseModel):
    """What VideoDB tells when an event is seen or heard. Only the label is sure to be there, and not even that."""

    model_config = ConfigDict(extra="allow")

    label: Annotated[str, BeforeValidator(_label)] = Field(
        default="alert",
        validation_alias=AliasChoices("label", "event_label"),
        title="Label",
        description="What the event is called.",
    )
    route: Text = Field(default=None, title="Route", description="The route of the webhook that it came in by.")
    event_id: Text = Field(default=None, title="Event", description="Which event; the same in every firing.")
    confidence: Number = Field(default=None, title="Confidence", description="From 0 to 1.")
    explanation: Text = Field(
        default=None,
        validation_alias=AliasChoices("explanation", "text"),
        title="Explanation",
        description="What was seen or heard.",
    )
    timestamp: Time = Field(default=None, title="Told at", description="When it was told.")
    start_time: Time = Field(
        default=None,
        validation_alias=AliasChoices("start_time", "start"),
        title="From",
        description="Where the batch begins.",
    )
    end_time: Time = Field(
        default=None,
        validation_alias=AliasChoices("end_time", "end"),
        title="To",
        description="Where the batch ends.",
    )
    rtstream_id: Text = Field(
        default=None, title="Stream", description="The stream, rts-…; read out of the stream's URL when left empty."
    )
    stream_url: Text = Field(default=None, title="Stream URL", description="The batch, as HLS.")
    player_url: Text = Field(default=None, title="Player URL", description="The batch, as a page.")
    flow_run_id: Text = Field(
        default=None, title="Watched by", description="The flow run that asked for the alert, where it said so."
    )

    @property
    def stream(self) -> str | None:
        """The stream's id, where it is told or can be read out of the URL."""
        found = MANIFEST.search(self.stream_url or "")
        return self.rtstream_id or (found["stream"] if found else None)

    @property
    def told_at(self) -> datetime | None:
        """When it was told."""
        return moment(self.timestamp)

    @property
    def batch(self) -> tuple[datetime, datetime] | None:
        """The span in which the event is, start and end; None where neither the times nor the URL say."""
        spans = [(self.start_time, self.end_time)]
        if found := MANIFEST.search(self.stream_url or ""):
            spans.append((int(found["start"]) / 1e6, int(found["end"]) / 1e6))
        for first, last in spans:
            start, end = moment(first), moment(last)
            if start and end and start <= end:
                return start, end
        return None


def moment(value: Any) -> datetime | None:
    """Read an ISO time, or unix seconds or milliseconds; None for what is no moment, as seconds of a stream."""
    seconds = seconds_of(value)
    if seconds is None or seconds < FIRST_MOMENT:
        return None
    with suppress(ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(seconds, UTC)
    return None


def identity(alert: Alert, route: str) -> str:
    """Return the key of one firing: the same however often and in whatever form it is told, and of no other firing.

    That is: the route, the event, the stream, where the batch begins and ends. Where an alert does not tell these, it
    is all that it tells. The event and the route may be those of several cameras, whose batches begin at the same time.
    """
    event = event_of_alert(alert)
    start, end = seconds_of(alert.start_time), seconds_of(alert.end_time)
    if start is not None and end is not None:
        parts: list[Any] = [route, event, alert.stream, _tenths(start), _tenths(end)]
    elif found := MANIFEST.search(alert.stream_url or ""):
        parts = [route, event, found[0]]
    else:
        parts = [route, alert.model_dump(mode="json", exclude={"route", "flow_run_id"})]
    return digest_of(parts)


def event_of_alert(alert: Alert) -> str:
    """Return which event it is: its id, in whatever way that is written, or else its label."""
    return alert.event_id.removeprefix(_PREFIX) if alert.event_id else alert.label


def _tenths(seconds: float) -> int:
    """Return a time in tenths of a second: floats of the same moment differ in their last digits.

    Told in another precision the same moment may have another identity: `firing` finds what is one all the same.
    """
    return math.floor(seconds * 10 + 0.005)


def digest_of(parts: list[Any]) -> str:
    """Make an identity of what it is made of."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:40]


def seconds_of(value: Any) -> float | None:
    """Return a time in seconds, of unix or of a stream; None for what is no time."""
    with suppress(ValueError, TypeError, OverflowError, ValidationError):
        seconds = float(as_seconds(value))
        if seconds == seconds and abs(seconds) != float("inf"):  # noqa: PLR0124 - NaN alone differs from itself
            return seconds / 1000 if seconds >= _FIRST_MILLISECONDS else seconds
    return None
