"""What `watch_stream` is asked for and what it gives."""

from enum import StrEnum
from typing import Literal

from pydantic import AwareDatetime, BaseModel, Field

from prefect_videodb.strict import StrictModel


class Watch(StrictModel):
    """Something to watch for, and which follow-up an alert of it starts."""

    label: str = Field(
        min_length=1,
        max_length=200,
        title="Label",
        description="What its alerts are called, e.g. door_opened.",
    )
    prompt: str = Field(
        min_length=1,
        max_length=10_000,
        title="Watch for",
        description="In words: what must be seen or said, e.g. `The door is open`.",
    )
    route: str = Field(
        default="follow-up",
        min_length=1,
        max_length=200,
        title="Route",
        description="Of the AlertWebhook block: which deployment its alerts start.",
    )
    kind: Literal["visual", "audio"] = Field(
        default="visual", title="Kind", description="`visual` watches what is seen, `audio` what is said."
    )
    describe: str | None = Field(
        default=None,
        max_length=10_000,
        title="Describe",
        description="What the live index is told to describe. Left empty, the service's own prompt. Watches of the "
        "same kind, batch and description share one index, which is billed once.",
    )
    batch_s: float = Field(
        default=10.0,
        gt=0,
        le=3600,
        title="Batch (seconds)",
        description="How much is looked at or listened to at once; an alert comes soon after its batch.",
    )
    frame_count: int = Field(
        default=1, ge=1, le=100, title="Pictures in a batch", description="How many are looked at, of what is seen."
    )
    model_name: Literal["mini", "basic", "pro", "ultra"] | None = Field(
        default=None, title="Model", description="Left empty, the service's own."
    )


class WatchOptions(StrictModel):
    """What may be different from one watch to the next; the defaults suit a camera that is always on."""

    collection_id: str = Field(
        default="default",
        min_length=1,
        title="Collection",
        description="The VideoDB collection that a stream goes into.",
    )
    start_timeout_s: float = Field(
        default=60.0,
        gt=0,
        le=3600,
        title="Time-out of the start (seconds)",
        description="How long the source may take to be ingested.",
    )
    reconnect_after_minutes: float = Field(
        default=5.0,
        gt=0,
        le=24 * 60,
        title="Reconnect after (minutes)",
        description="When nothing was seen for so long, the source is connected anew, then less and less often.",
    )
    hold_process: bool = Field(
        default=False,
        title="Hold a process",
        description="Wait between the looks inside the process. Left off, a run of a deployment waits in Prefect, "
        "and is executed again for each look.",
    )


class Part(StrEnum):
    """What was not as it should be."""

    SERVICE = "service"
    SOURCE = "source"
    STREAM = "stream"
    INDEX = "index"
    ALERT = "alert"
    ROUTE = "route"
    RECEIVER = "receiver"


class Trouble(BaseModel):
    """Something that was not as it should be, and what was done about it."""

    part: Part
    at: AwareDatetime = Field(description="When it was noticed.")
    since: AwareDatetime | None = Field(
        default=None, description="The look before, when it was in order: in between, an event may have gone unnoticed."
    )
    found: str
    done: str


class StreamWatch(BaseModel):
    """A watch that is over."""

    name: str
    rtstream_id: str
    adopted: bool = Field(description="The stream was there before, and was left running.")
    start: AwareDatetime
    end: AwareDatetime
    ended_by: Literal["end time", "stream stopped"] = Field(
        description="`stream stopped`: an adopted stream was stopped by whoever it belongs to."
    )
    watches: list[Watch]
    troubles: list[Trouble] = Field(default=[], description="The last ones, in the order in which they were noticed.")
    amiss: list[str] = Field(
        default=[], description="What was not in order at the last look, and what is to be done about it."
    )
