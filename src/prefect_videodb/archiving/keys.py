"""Where a video lies in the bucket. Pure."""

from dataclasses import dataclass

from prefect_videodb.client.call import path


@dataclass(frozen=True, slots=True)
class Keys:
    """The two objects of an archived video; it is complete when the sidecar is there."""

    video: str
    sidecar: str


def keys_of(prefix: str, video_id: str) -> Keys:
    """Name the objects of a video. The id is quoted, so that none can lead out of its folder.

    Raises:
        ConfigurationError: the id cannot be one.
    """
    folder = f"{prefix.strip('/')}{path(video_id)}".lstrip("/")
    return Keys(video=f"{folder}/video.mp4", sidecar=f"{folder}/recording.json")
