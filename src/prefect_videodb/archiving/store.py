"""The user's bucket: what archiving asks of it, and each failure as an error that says what to do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from itertools import islice
from typing import TYPE_CHECKING, Self

from prefect_videodb._logging import get_logger
from prefect_videodb.archiving.failures import NotThere, failed, refused
from prefect_videodb.archiving.sidecar import MOST_BYTES
from prefect_videodb.blocks import RecordingArchive
from prefect_videodb.errors import StorageError
from prefect_videodb.redact import redact_url

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

_MAX_PAGES = 100  # of a thousand uploads each, all of one key
_OF_PARTS = re.compile(r"[0-9a-f]{32}-\d+")


@dataclass(frozen=True, slots=True)
class Lying:
    """An object as the store describes it; `checksum` is the MD5 of the parts' MD5s, None where it gives no such."""

    size: int
    etag: str
    checksum: str | None


@dataclass
class Upload:
    """An upload in parts that is under way."""

    key: str
    id: str
    sent: list["CompletedPartTypeDef"] = field(default_factory=list)


class Store:
    """The bucket of an archive; close it, or use it as a context manager.

    Every method raises `StorageError`, of the class that says what to do about it.
    """

    def __init__(self, archive: RecordingArchive) -> None:
        self.bucket = archive.bucket
        self._at = f"bucket {archive.bucket!r} at {redact_url(archive.endpoint_url) if archive.endpoint_url else 'AWS'}"
        self._secrets = archive.secrets()
        self._client = archive.get_client()

    def read(self, key: str) -> bytes | None:
        """Read a small object; None when there is none."""
        with suppress(NotThere), self._telling("reading the sidecar"):
            answer = self._client.get_object(Bucket=self.bucket, Key=key)
            with answer["Body"] as body:
                return body.read(MOST_BYTES)
        return None

    def look(self, key: str) -> Lying | None:
        """Describe an object; None when there is none."""
        with suppress(NotThere), self._telling("looking at the video"):
            answer = self._client.head_object(Bucket=self.bucket, Key=key)
            etag = answer["ETag"].strip('"')
            # What the store encrypts with a key of the user has an ETag that looks like a checksum and is none.
            encrypted = answer.get("ServerSideEncryption", "AES256") != "AES256" or "SSECustomerAlgorithm" in answer
            return Lying(answer["ContentLength"], etag, etag if _OF_PARTS.fullmatch(etag) and not encrypted else None)
        return None

    def write(self, key: str, content: bytes, content_md5: str) -> None:
        """Write a small object of JSON."""
        with self._telling("writing the sidecar"):
            self._client.put_object(
                Bucket=self.bucket, Key=key, Body=content, ContentMD5=content_md5, ContentType="application/json"
            )

    @contextmanager
    def upload(self, key: str, content_type: str) -> Iterator[Upload]:
        """Begin an upload in parts. However the block ends, no upload of this key is left open.

        What is left open is billed: by a process that was killed, or where the answer to its beginning was lost.
        """
        if left := self._abort_uploads(key):
            get_logger().info("Aborted %d uploads of %s that were left open", left, key)
        try:
            with self._telling("beginning the upload"):
                answer = self._client.create_multipart_upload(Bucket=self.bucket, Key=key, ContentType=content_type)
            yield Upload(key, answer["UploadId"])
        finally:
            try:
                self._abort_uploads(key)
            except StorageError as error:
                get_logger().warning("An upload may be left open, which the next try aborts: %s", error)

    def _abort_uploads(self, key: str) -> int:
        with self._telling("looking for uploads that were left open"):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=key)
            listed = islice(pages, _MAX_PAGES)
            left = [upload for page in listed for upload in page.get("Uploads", []) if upload.get("Key") == key]
        for upload in left:
            with suppress(NotThere), self._telling("aborting an upload"):
                self._client.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload.get("UploadId", ""))
        return len(left)

    def send(self, upload: Upload, part: BytesIO, content_md5: str) -> None:
        """Send the next part."""
        number = len(upload.sent) + 1
        part.seek(0)
        try:
            with self._telling(f"sending part {number}"):
                answer = self._client.upload_part(
                    Bucket=self.bucket,
                    Key=upload.key,
                    UploadId=upload.id,
                    PartNumber=number,
                    Body=part,
                    ContentMD5=content_md5,
                )
        except NotThere as gone:
            gone.retry_is_safe = True  # another run that archives the same video aborted it
            raise
        upload.sent.append({"ETag": answer["ETag"], "PartNumber": number})

    def complete(self, upload: Upload) -> str | None:
        """Make one object of the parts, and give its ETag.

        None says that the upload is gone: it may be done, and its answer was lost. A look at the object tells.
        """
        with suppress(NotThere), self._telling("completing the upload"):
            answer = self._client.complete_multipart_upload(
                Bucket=self.bucket, Key=upload.key, UploadId=upload.id, MultipartUpload={"Parts": upload.sent}
            )
            return answer["ETag"].strip('"')
        return None

    @contextmanager
    def _telling(self, doing: str) -> Iterator[None]:
        """Tell every failure as an error of ours."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - heavy: only who archives needs it

        try:
            yield
        except ClientError as error:
            raise refused(f"{self._at}: {doing}", error, self._secrets) from None
        except BotoCoreError as error:
            raise failed(f"{self._at}: {doing}", error, self._secrets) from None

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
