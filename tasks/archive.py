"""Copy finished videos into a bucket of one's own."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from prefect import task
from pydantic import SecretStr

from prefect_videodb._logging import get_logger
from prefect_videodb.archiving.copying import copy, find
from prefect_videodb.archiving.download import Download
from prefect_videodb.archiving.keys import keys_of
from prefect_videodb.archiving.models import Archived
from prefect_videodb.archiving.store import Store
from prefect_videodb.blocks import RecordingArchive, VideoDBCredentials
from prefect_videodb.client import Client, videos
from prefect_videodb.client.hosts import LinkRule
from prefect_videodb.client.models import Video
from prefect_videodb.errors import (
    AnswerLost,
    ConfigurationError,
    NotFound,
    ServiceUnavailable,
    UnexpectedAnswer,
)
from prefect_videodb.redact import webhook_secrets
from prefect_videodb.tasks._jobs import polling
from prefect_videodb.tasks._options import OPERATION, RunName
from prefect_videodb.tasks._secrets import plain
from prefect_videodb.tasks.videos import delete_video


@task(task_run_name=RunName("archive-{video_id}"), **OPERATION)
def archive_video(
    credentials: VideoDBCredentials,
    video_id: str,
    archive: RecordingArchive,
    collection_id: str = "default",
    url: SecretStr | str | None = None,
    delete_from_videodb: bool = False,
    timeout_s: float = 3600.0,
) -> Archived:
    """Copy a finished video into a bucket of one's own, unless it lies there already.

    It is complete when `recording.json` lies beside it, which is written last: killed at any point, it is called again.

    Args:
        credentials: the account.
        video_id: the video, `m-…`.
        archive: the bucket.
        collection_id: the collection that the video belongs to.
        url: the `stream_url` to copy instead of asking for the video's own: of a recording of sound alone, which
            VideoDB does not give as a video, the export's. Give it as a secret: who has it may watch.
        delete_from_videodb: delete the video at VideoDB when the copy is verified.
        timeout_s: how long VideoDB may take to make the file, in seconds.

    Returns:
        Where it lies, with its size and checksums.

    Raises:
        StorageError: the store refused or failed; its class says why, its message what to do.
        NotFound: there is no such video, neither at VideoDB nor in the archive.
        JobUnfinished: VideoDB did not make the file in time; call it again.
        VideoDBError: the file could not be downloaded.

    Source: GET /video/{id}, POST /download, DELETE /video/{id}
    """
    if url is not None and delete_from_videodb:
        raise ConfigurationError("VideoDB deletes videos only: what is archived by its url cannot be deleted there")
    began = time.monotonic()
    keys = keys_of(archive.prefix, video_id)
    with Store(archive) as store:
        sidecar = find(store, keys, video_id)
        was_there = sidecar is not None
        if sidecar is None:
            rule = LinkRule(credentials.base_url, allow_private=archive.allow_private_hosts)
            with _downloading(credentials, video_id, collection_id, plain(url), timeout_s, rule) as (video, download):
                sidecar = copy(store, keys, download, video)
    get_logger().info("%s lies in bucket %s at %s: %d bytes", video_id, archive.bucket, keys.video, sidecar.size_bytes)
    if delete_from_videodb:
        with suppress(NotFound):  # an earlier try did
            delete_video.fn(credentials, video_id)
    return Archived(
        **sidecar.model_dump(include={"video_id", "name", "length_s", "size_bytes", "sha256", "etag", "archived_at"}),
        bucket=archive.bucket,
        key=keys.video,
        was_there=was_there,
        deleted_from_videodb=delete_from_videodb,
        took_s=round(time.monotonic() - began, 3),
    )


@contextmanager
def _downloading(
    credentials: VideoDBCredentials,
    video_id: str,
    collection_id: str,
    url: str | None,
    timeout_s: float,
    rule: LinkRule,
) -> Iterator[tuple[Video, Download]]:
    """Have VideoDB make a file of the video, and open it. Links expire: each try asks for its own."""
    client = credentials.get_client()
    if url is None:
        video = client.send(videos.get(video_id, collection_id=collection_id))
    else:
        video = Video(id=video_id, collection_id=collection_id, stream_url=url)
    link = _link(client, video, timeout_s)
    with Download(link, timeout_s=credentials.timeout_s, where=f"video {video_id}", rule=rule) as download:
        yield video, download


def _link(client: Client, video: Video, timeout_s: float) -> str:
    if not video.stream_url:
        raise UnexpectedAnswer(f"VideoDB gives no link of {video.id}: is it finished?")
    call = replace(videos.download(video.stream_url, video.id), secrets=webhook_secrets(video.stream_url))
    try:
        made = client.send(call, polling=polling("Making the file", timeout_s))
    except (AnswerLost, ServiceUnavailable) as lost:
        lost.retry_is_safe = True  # at worst the service makes the same file twice
        raise
    if not made.download_url:
        raise UnexpectedAnswer(f"VideoDB made a file of {video.id} and does not tell where it lies")
    return made.download_url
