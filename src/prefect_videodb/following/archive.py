"""Copy the clip of an alert into the archive. What goes wrong is told, and loses nothing else."""

from pydantic import SecretStr

from prefect_videodb.archiving.models import Archived
from prefect_videodb.blocks import VideoDBCredentials
from prefect_videodb.errors import ConfigurationError
from prefect_videodb.following.models import FollowUp
from prefect_videodb.recording.inputs import load_archive
from prefect_videodb.recording.text import one_line
from prefect_videodb.redact import redact_urls
from prefect_videodb.tasks import archive_video


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
    state = archive_video(
        account,
        f"{follow_up.rtstream_id}-{start:.0f}-{end:.0f}",
        block,
        url=SecretStr(link),
        return_state=True,
    )
    result = state.result(raise_on_failure=False)
    if isinstance(result, Archived):
        follow_up.archived = result
    else:
        follow_up.missing.append(f"The clip was not archived: {redact_urls(one_line(str(result)))}")
