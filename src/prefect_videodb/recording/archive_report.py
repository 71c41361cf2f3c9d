"""The artifact that a person reads after a video was archived."""

from prefect.artifacts import create_markdown_artifact

from prefect_videodb._showing import only_showing
from prefect_videodb.archiving.models import Archived
from prefect_videodb.recording.text import LONGEST_WORD_OF_A_TITLE, clock, escape, timecode


def publish(archived: Archived) -> None:
    """Show the report in the UI. What only shows must not fail an archiving: when Prefect is away, the log says so."""
    with only_showing("The report"):
        create_markdown_artifact(
            markdown(archived), key="archived-recording", description=f"Archive of {escape(archived.video_id)}"
        )


def markdown(archived: Archived) -> str:
    """Write up where a video lies, how large it is, its checksum, and how long it took."""
    length = "" if archived.length_s is None else f", {timecode(archived.length_s)} long"
    took = "It lay there already." if archived.was_there else f"Copying it took {archived.took_s:.1f} s."
    deleted = " It is deleted at VideoDB." if archived.deleted_from_videodb else ""
    return "\n".join(
        [
            f"# {escape(archived.name or archived.video_id, LONGEST_WORD_OF_A_TITLE)}",
            "",
            f"Archived {clock(archived.archived_at)}. {took}{deleted}",
            "",
            f"- Video {escape(archived.video_id)}{length}",
            f"- Bucket {escape(archived.bucket)}, key {escape(archived.key)}",
            f"- {archived.size_bytes:,} bytes",
            f"- SHA-256 {archived.sha256}, ETag {escape(archived.etag)}",
        ]
    )
