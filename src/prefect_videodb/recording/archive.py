"""Copy the videos of a recording into the archive. What goes wrong is told, and loses nothing else."""

from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from prefect_videodb._logging import get_logger
from prefect_videodb.archiving.models import Archived
from prefect_videodb.blocks import RecordingArchive, VideoDBCredentials
from prefect_videodb.errors import ConfigurationError, VideoDBError
from prefect_videodb.recording.inputs import load_archive
from prefect_videodb.recording.models import MeetingRecording, RecordingOptions
from prefect_videodb.recording.text import escape
from prefect_videodb.redact import foreign, redact_urls
from prefect_videodb.tasks import archive_video


def archive_videos(
    account: VideoDBCredentials, options: RecordingOptions, recording: MeetingRecording, audio_urls: Mapping[str, str]
) -> None:
    """Archive the video, and those of earlier parts, and write down which were and which were not.

    Args:
        account: the account.
        options: name the archive.
        recording: its videos.
        audio_urls: where those of them lie that are sound alone, which VideoDB does not give as videos, by id.
    """
    try:
        archive = load_archive(options.archive)
    except ConfigurationError as error:
        _tell(recording, str(error))
        return
    for video_id in (*recording.earlier_video_ids, recording.video_id):
        url = audio_urls.get(video_id)
        result = archived_or_why(
            account,
            video_id,
            archive,
            collection_id=options.collection_id,
            url=SecretStr(url) if url else None,
            timeout_s=options.job_timeout_minutes * 60,
        )
        if isinstance(result, Archived):
            recording.archived.append(result)
        else:
            _tell(recording, f"{video_id}: {result}")


def archived_or_why(
    account: VideoDBCredentials, video_id: str, archive: RecordingArchive, **options: Any
) -> Archived | str:
    """Archive a video with the task `archive_video`; give where it lies, or why it does not."""
    state = archive_video(account, video_id, archive, **options, return_state=True)
    result = state.result(raise_on_failure=False)
    if isinstance(result, Archived):
        return result
    return str(result) if isinstance(result, VideoDBError) else foreign(redact_urls(str(result)))


def place(copy: Archived) -> str:
    """Say where a copy lies, in markdown."""
    return f"{escape(copy.key)} in bucket {escape(copy.bucket)}, {copy.size_bytes:,} bytes"


def _tell(recording: MeetingRecording, trouble: str) -> None:
    recording.not_archived.append(trouble)
    get_logger().error("Not archived: %s", recording.not_archived[-1])
