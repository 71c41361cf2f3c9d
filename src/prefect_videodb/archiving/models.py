"""What archiving gives."""

from datetime import datetime

from pydantic import BaseModel, Field

# The flow's name at Prefect.
ARCHIVE_RECORDING = "archive-recording"


class Archived(BaseModel):
    """A video that lies whole in the archive."""

    video_id: str
    name: str | None = None
    length_s: float | None = Field(default=None, description="How long it plays, in seconds.")
    bucket: str
    key: str = Field(description="Where in the bucket the video lies; recording.json lies beside it.")
    size_bytes: int
    sha256: str
    etag: str = Field(description="The store's own checksum of the parts.")
    archived_at: datetime = Field(description="When it was complete.")
    was_there: bool = Field(default=False, description="It lay there already: nothing was copied this time.")
    deleted_from_videodb: bool = False
    took_s: float = Field(default=0.0, description="How long this time took, in seconds.")
