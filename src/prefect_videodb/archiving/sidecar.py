"""What lies beside an archived video, written last: its presence says that the video is whole. Pure."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ValidationError

# More is none of ours.
MOST_BYTES = 1 << 16


class Sidecar(BaseModel):
    """What is known of an archived video. It holds no URL: what plays or downloads a video may be a secret."""

    format: Literal["prefect-videodb recording 1"] = "prefect-videodb recording 1"
    video_id: str
    name: str | None = None
    collection_id: str | None = None
    length_s: float | None = None
    size_bytes: int
    content_type: str
    sha256: str
    etag: str
    part_bytes: int
    archived_at: datetime

    def content(self) -> bytes:
        """Give the object's bytes."""
        return self.model_dump_json(indent=2).encode() + b"\n"

    @classmethod
    def read(cls, content: bytes | None, video_id: str) -> "Sidecar | None":
        """Read a sidecar; None when there is none, or none of this video."""
        try:
            found = cls.model_validate_json(content or b"")
        except ValidationError:
            return None
        return found if found.video_id == video_id else None
