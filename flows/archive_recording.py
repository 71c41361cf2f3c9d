"""Archive a finished video: copy it into a bucket of one's own."""

from typing import Annotated, Any

from prefect import Flow, flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.runtime import flow_run as this_run
from pydantic import BeforeValidator, Field

from prefect_videodb._logging import get_logger
from prefect_videodb.archiving.models import ARCHIVE_RECORDING, Archived
from prefect_videodb.blocks import RecordingArchive, VideoDBCredentials
from prefect_videodb.durable.recovery import Recovery, recover_crashed
from prefect_videodb.recording.archive_report import publish
from prefect_videodb.recording.inputs import load_archive, load_credentials, no_inline_block, without_secrets
from prefect_videodb.recording.text import one_line
from prefect_videodb.tasks import archive_video


def _run_name() -> str:
    return one_line(f"archive {this_run.parameters.get('video_id')}")[:200]


def go_on_after_a_crash(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Reschedule a run whose process died: it begins from the top, or finds what it had finished."""
    if recover_crashed(flow_run.id) is Recovery.GIVEN_UP:
        get_logger().error("%s %s and does not go on: its video is not archived", flow.name, state.name)


@without_secrets
@flow(name=ARCHIVE_RECORDING, persist_result=True, flow_run_name=_run_name, on_crashed=[go_on_after_a_crash])
def archive_recording(
    video_id: Annotated[str, Field(min_length=1, max_length=200)],
    archive: Annotated[RecordingArchive | str, BeforeValidator(no_inline_block)] = "default",
    credentials: Annotated[VideoDBCredentials | str, BeforeValidator(no_inline_block)] = "default",
    delete_from_videodb: bool = False,
) -> Archived:
    """Archive a finished video.

    Copies it into a bucket of your own, at AWS S3 or in any store that speaks S3, verifies the copy, and writes
    `recording.json` beside it when it is whole. What lies there already is verified and not copied again.

    Args:
        video_id: The video, as m-….
        archive: The bucket: a RecordingArchive block, or its name.
        credentials: The VideoDB account: a VideoDBCredentials block, or its name.
        delete_from_videodb: Delete the video at VideoDB when the copy is verified. That cannot be undone.

    Returns:
        Where it lies, its size, its checksums.

    Raises:
        ConfigurationError: there is no such block, or it cannot be used.
        StorageError: the store refused or failed; the message says what to do.
        VideoDBError: the service refused or failed; see `prefect_videodb.errors`.
    """
    archived = archive_video(
        load_credentials(credentials), video_id, load_archive(archive), delete_from_videodb=delete_from_videodb
    )
    publish(archived)
    return archived
