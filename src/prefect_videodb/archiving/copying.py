"""Copy a download into the bucket, verify it, and say beside it that it is whole."""

import base64
import hashlib
from datetime import UTC, datetime

from prefect_videodb._logging import get_logger
from prefect_videodb.archiving.download import Download
from prefect_videodb.archiving.keys import Keys
from prefect_videodb.archiving.parts import Digest, part_bytes, parts
from prefect_videodb.archiving.sidecar import Sidecar
from prefect_videodb.archiving.store import Store
from prefect_videodb.client.models import Video
from prefect_videodb.errors import CopyDamaged
from prefect_videodb.redact import redact_urls


def find(store: Store, keys: Keys, video_id: str) -> Sidecar | None:
    """Give the sidecar of a video that lies whole in the store, as it was written; None when it must be copied."""
    sidecar = Sidecar.read(store.read(keys.sidecar), video_id)
    if sidecar is None:
        return None
    lying = store.look(keys.video)
    if lying is None or (lying.size, lying.etag) != (sidecar.size_bytes, sidecar.etag):
        get_logger().warning("%s is not what its sidecar says, and is copied again", keys.video)
        return None
    return sidecar


def copy(store: Store, keys: Keys, download: Download, video: Video) -> Sidecar:
    """Copy a download in parts, one of which is in memory at a time, and write the sidecar when all is verified.

    Raises:
        StorageError: the store refused, failed, or holds something else than was sent; nothing is left open there.
        VideoDBError: the download failed.
    """
    size = part_bytes(download.length)
    digest = Digest()
    with store.upload(keys.video, download.content_type) as upload:
        for part in parts(download.chunks(), size):
            store.send(upload, part, digest.add(part))
            get_logger().info("Archiving %s: %.0f %%", video.id, 100 * digest.size / download.length)
        completed_as = store.complete(upload)
    sidecar = Sidecar(
        video_id=video.id,
        name=redact_urls(video.name) if video.name else None,
        collection_id=video.collection_id,
        length_s=video.length,
        size_bytes=digest.size,
        content_type=download.content_type,
        sha256=digest.sha256,
        etag=_verified(store, keys, digest, completed_as),
        part_bytes=size,
        archived_at=datetime.now(UTC),
    )
    content = sidecar.content()
    store.write(keys.sidecar, content, base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode())
    return sidecar


def _verified(store: Store, keys: Keys, digest: Digest, completed_as: str | None) -> str:
    """Compare what lies there with what was sent, and give the store's ETag of it.

    Where the ETag is no checksum, it must be that of the object which the store made of the parts, each of which it
    compared with its own checksum.

    Raises:
        CopyDamaged: it is something else.
    """
    lying = store.look(keys.video)
    if lying is not None and lying.size == digest.size:
        proven = lying.checksum == digest.etag if lying.checksum else lying.etag == completed_as
        if proven:
            return lying.etag
    found = f"{lying.size} bytes, {lying.etag}" if lying else "nothing"
    raise CopyDamaged(
        f"bucket {store.bucket!r}: {keys.video} was sent ({digest.size} bytes, {digest.etag}), and {found} lies there; "
        "archive again",
        retry_is_safe=True,
    )
