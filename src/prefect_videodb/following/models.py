"""What `follow_up_alert` may be told, and what it gives."""

from datetime import datetime

from pydantic import BaseModel, Field

from prefect_videodb.archiving.models import Archived
from prefect_videodb.recording.models import Links, Window
from prefect_videodb.strict import StrictModel

# The flow's name at Prefect.
FOLLOW_UP_ALERT = "follow-up-alert"
# What the UI shows while a follow-up is parked.
AWAITING_CLIP = "AwaitingClip"


class FollowUpOptions(StrictModel):
    """What may be different from one follow-up to the next; the defaults suit most alerts."""

    pad_before_s: float = Field(
        default=5.0, ge=0, le=600, title="Before (seconds)", description="How much of what came before is in the clip."
    )
    pad_after_s: float = Field(
        default=5.0, ge=0, le=600, title="After (seconds)", description="How much of what came after is in the clip."
    )
    settle_s: float = Field(
        default=15.0,
        ge=0,
        le=600,
        title="Settle (seconds)",
        description="How long after its end a window of the stream may take until it can be played whole.",
    )
    context: bool = Field(
        default=True,
        title="Context",
        description="Read what was said and what the live indexes tell of the clip's window.",
    )
    make_file: bool = Field(
        default=False, title="Make a file", description="Have VideoDB make a file of the clip that can be downloaded."
    )
    archive: str | None = Field(
        default=None,
        title="Archive",
        description="The RecordingArchive block into whose bucket the clip is copied; none when left empty.",
    )
    hold_process: bool = Field(
        default=False,
        title="Hold a process",
        description="Wait for the clip inside the process. Left off, a run of a deployment waits in Prefect when it "
        "must wait for more than half a minute.",
    )


class Line(BaseModel):
    """Something that was said or seen."""

    at: datetime
    text: str


class FollowUp(BaseModel):
    """An alert, and what there is about it."""

    label: str
    explanation: str | None = None
    confidence: float | None = None
    told_at: datetime | None = None
    rtstream_id: str | None = None
    window: Window | None = Field(default=None, description="What the clip shows: the batch with its padding.")
    clip: Links = Field(default=Links(), description="Where it plays.")
    file_url: str | None = Field(default=None, description="The clip as a file, where one was asked for.")
    archived: Archived | None = Field(default=None, description="Where the clip lies in the archive.")
    said: list[Line] = Field(default=[], description="What was said in the window, where the stream is transcribed.")
    seen: list[Line] = Field(default=[], description="What the live indexes of the stream tell of the window.")
    missing: list[str] = Field(default=[], description="What could not be found out, and why.")
    notified: list[str] = Field(default=[], description="The notification blocks that took the notification.")
