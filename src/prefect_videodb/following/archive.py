"""Copy the clip of an alert into the archive. What goes wrong is told, and loses nothing else."""

from pydantic import SecretStr

from prefect_videodb.archiving.models import Archived
from prefect_videodb.blocks import VideoDBCredentials
from prefect_videodb.errors import ConfigurationError
from prefect_videodb.following.models import FollowUp
from prefect_videodb.recording.archive import archived_or_why
from prefect_videodb.recording.inputs import load_archive


def archive_clip(follow_up: FollowUp, account: VideoDBCredentials, archive: str) -> None:
    """Archive the clip under the stream and the window that it shows: executed again, it is the same one."""
    link, window = follow_up.clip.stream_url, follow_up.window
    if not (link and window and follow_up.rtstream_id):
        follow_up.missing.append("There is no clip that could be archived.")
        return
    start, end = window.unix
    try:
        block = load_archive(archive)
    except ConfigurationError as error:
        follow_up.missing.append(f"The clip was not archived: {error}")
        return
    key = f"{follow_up.rtstream_id}-{start:.0f}-{end:.0f}"
    result = archived_or_why(account, key, block, url=SecretStr(link))
    if isinstance(result, Archived):
        follow_up.archived = result
    else:
        follow_up.missing.append(f"The clip was not archived: {result}")
