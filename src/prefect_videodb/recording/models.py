"""What `record_meeting` is asked for and what it gives."""

import math
from typing import Literal

from pydantic import AwareDatetime, BaseModel, Field

from prefect_videodb.archiving.models import Archived
from prefect_videodb.client.videos import SearchType
from prefect_videodb.strict import StrictModel

MOST_HITS = 100
WhenLate = Literal["remaining", "full", "skip"]


class RecordingOptions(StrictModel):
    """What may be different from one recording to the next; the defaults suit a meeting."""

    collection_id: str = Field(
        default="default", min_length=1, title="Collection", description="The VideoDB collection that it goes into."
    )
    language_code: str | None = Field(
        default=None,
        title="Language",
        description="The language spoken: en, en_us, hi … Left empty, American English.",
    )
    search_type: SearchType = Field(
        default="semantic", title="Search by", description="`semantic` searches by meaning, `keyword` by words."
    )
    hits_per_query: int = Field(
        default=5, ge=1, le=MOST_HITS, title="Hits per query", description="How many hits of each query at most."
    )
    score_threshold: float = Field(
        default=0.2, ge=0, le=1, title="Least score", description="The least score of a hit, from 0 to 1."
    )
    pad_before_s: float = Field(
        default=1.5,
        ge=0,
        le=60,
        title="Before a hit (seconds)",
        description="How much of what came before is in the clip.",
    )
    pad_after_s: float = Field(
        default=3.0,
        ge=0,
        le=60,
        title="After a hit (seconds)",
        description="How much of what came after is in the clip.",
    )
    when_late: WhenLate = Field(
        default="remaining",
        title="When it begins late",
        description="`remaining` records what is left of the planned window, and nothing after its end; `full` records "
        "the full length from when it begins; `skip` records nothing when it begins more than five minutes late. "
        "A run that records nothing ends as `Skipped`.",
    )
    start_timeout_s: float = Field(
        default=300.0,
        gt=0,
        le=3600,
        title="Time-out of the start (seconds)",
        description="How long a source that the service cannot ingest yet is tried before the recording is given up.",
    )
    most_streams: int | None = Field(
        default=None,
        ge=1,
        title="Most streams at a time",
        description="Where so many streams of the account are connected already, the recording waits for one to end, "
        "as long as for a source. Left empty, there is no limit. Recordings that begin in the same second may all find "
        "room.",
    )
    hold_process: bool = Field(
        default=False,
        title="Hold a process",
        description="Wait inside the process that records. Left off, a run of a deployment waits in Prefect and is "
        "executed again at the end; hold it where starting an execution takes a worker minutes.",
    )
    export_when_cancelled: bool = Field(
        default=True,
        title="Export when cancelled",
        description="Make a permanent video of what was recorded until then when the run is cancelled: no search, no "
        "clip and no report. With all of them, `change-recording` ends a recording.",
    )
    archive: str | None = Field(
        default=None,
        min_length=1,
        title="Archive",
        description="The RecordingArchive block of this name: the video is copied into its bucket when it is exported. "
        "Left empty, it is not.",
    )
    job_timeout_minutes: float = Field(
        default=60.0,
        gt=0,
        title="Time-out of a job (minutes)",
        description="How long exporting, indexing and compiling may each take.",
    )


class Window(BaseModel):
    """When it was recorded."""

    start: AwareDatetime
    end: AwareDatetime

    @property
    def unix(self) -> tuple[int, int]:
        """The window in whole unix seconds that hold it; at least one second long."""
        start, end = math.floor(self.start.timestamp()), math.ceil(self.end.timestamp())
        return start, max(end, start + 1)


class Links(BaseModel):
    """Where something plays: `stream_url` is HLS, `player_url` a page for people."""

    stream_url: str | None = None
    player_url: str | None = None


class Hit(BaseModel):
    """A sentence that a query found; seconds from the start of the video."""

    query: str
    start_s: float
    end_s: float
    text: str
    score: float | None = None
    player_url: str | None = None


class Span(BaseModel):
    """A part of the video, in seconds from its start."""

    start_s: float
    end_s: float


class MeetingRecording(BaseModel):
    """What a recorded meeting left behind."""

    name: str
    rtstream_id: str
    video_id: str
    media: Literal["video", "audio"] = Field(
        default="video", description="`audio`: only sound was recorded, whatever was asked for."
    )
    window: Window
    time_zone: str = Field(default="UTC", description="In which its times are shown.")
    ended_early: bool = Field(default=False, description="Somebody stopped the stream before the planned end.")
    playback: Links = Field(description="The window of the live stream.")
    video: Links = Field(description="The permanent video.")
    video_length_s: float | None = None
    missing_s: float = Field(
        default=0.0,
        description="How much of the window the video lacks, in seconds: it began late, or the stream was away.",
    )
    missing: list[Window] = Field(
        default=[],
        description="The times of which there is no video: before the first one, where it began late, and between the "
        "videos, where it was interrupted. Where within one video the service lost the source, it does not tell.",
    )
    overrun_s: float = Field(
        default=0.0,
        description="How long the video goes on after the planned end, in seconds: it was stopped late. What is "
        "searched, and the clip, is of the window alone.",
    )
    earlier_video_ids: list[str] = Field(
        default=[],
        description="Videos of what was recorded before the stream was stopped in between.",
    )
    spoken_words: Literal["indexed", "none", "not searched"] = Field(
        default="not searched",
        description="`none`: nobody spoke, or there is no sound. `not searched`: there was no query, or only sound was "
        "recorded, which VideoDB does not search.",
    )
    hits: list[Hit] = Field(default=[], description="What the queries found, in the order of time.")
    clip: Links | None = Field(default=None, description="The hits in one clip; None when nothing was found.")
    clip_parts: list[Span] = Field(default=[], description="The parts of the video that the clip is made of.")
    archived: list[Archived] = Field(
        default=[], description="Where the video, and those of earlier parts, lie in the archive that was asked for."
    )
    not_archived: list[str] = Field(default=[], description="What could not be archived, and why.")
    steps_s: dict[str, float] = Field(
        default={},
        description="What each step took, in seconds, over all executions of the run: `record` from the window's start "
        "to its end. What an execution that was killed had spent is not known.",
    )
