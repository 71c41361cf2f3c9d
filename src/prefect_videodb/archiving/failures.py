"""What a store answers when it refuses, and what boto3 raises, as errors of ours that say what to do. Pure."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prefect_videodb.errors import (
    BucketNotFound,
    CopyDamaged,
    StorageDenied,
    StorageError,
    StorageFull,
    StorageUnavailable,
)
from prefect_videodb.redact import foreign, redact_urls

if TYPE_CHECKING:
    from botocore.exceptions import BotoCoreError, ClientError

_NOT_THERE = 404
_TOO_MANY = 429
_SERVER_ERROR = 500
_REDIRECT = range(300, 400)
_DENIED = frozenset({401, 403})
_FULL = frozenset({413, 507})
_FULL_CODES = frozenset({"EntityTooLarge", "QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"})
_ELSEWHERE_CODES = frozenset({"AuthorizationHeaderMalformed", "IllegalLocationConstraintException"})
_DAMAGED_CODES = frozenset({"BadDigest", "InvalidPart", "XAmzContentSHA256Mismatch"})
_BUSY_CODES = frozenset({"SlowDown", "RequestTimeout"})
_LONGEST = 300
_RIGHTS = "s3:GetObject, s3:PutObject, s3:AbortMultipartUpload, s3:ListBucketMultipartUploads, s3:ListBucket"


class NotThere(StorageError):
    """The store has no such object, or knows the upload no more."""


def refused(doing: str, error: "ClientError", secrets: Iterable[str]) -> StorageError:
    """Read a refusal of the store."""
    told = error.response.get("Error", {})
    code = str(told.get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    kind, advice, safe = _meaning(code, status)
    message = _shown(f"{code}: {told.get('Message', '')}", secrets)
    return kind(f"{doing} was refused: {advice} ({message}; HTTP {status})", retry_is_safe=safe)


def _meaning(code: str, status: int) -> tuple[type[StorageError], str, bool]:  # noqa: PLR0911 - one for each answer
    """Say which error it is, what to do, and whether doing all of it again can do harm."""
    if code == "NoSuchBucket":
        return (
            BucketNotFound,
            "there is no such bucket; make it, or correct its name in the RecordingArchive block",
            False,
        )
    if code in _FULL_CODES or status in _FULL:
        return StorageFull, "there is no room left, or a quota is used up; make room and archive again", False
    if code in _ELSEWHERE_CODES or status in _REDIRECT:
        return StorageError, "the bucket lies in another region; correct it in the RecordingArchive block", False
    if status in _DENIED:
        advice = f"correct the access key in the RecordingArchive block, or allow it {_RIGHTS}"
        return StorageDenied, advice, False
    if code in _DAMAGED_CODES:
        return CopyDamaged, "what arrived is not what was sent; archive again", True
    if code in _BUSY_CODES or status == _TOO_MANY or status >= _SERVER_ERROR:
        return StorageUnavailable, "the store is busy or failed; try later", True
    if status == _NOT_THERE:
        return NotThere, "it is not there; where another run archives the same video, let that one end", False
    return StorageError, "see what the store says", False


def failed(doing: str, error: "BotoCoreError", secrets: Iterable[str]) -> StorageError:
    """Read what boto3 says of a store that did not answer, or that it did not ask."""
    from botocore import exceptions  # noqa: PLC0415 - heavy: only who archives needs it

    message = _shown(str(error), secrets)
    if isinstance(error, exceptions.ConnectionError | exceptions.HTTPClientError | exceptions.IncompleteReadError):
        advice = "is the endpoint URL of the RecordingArchive block right, and the store up?"
        return StorageUnavailable(f"{doing} had no answer: {message}; {advice}", retry_is_safe=True)
    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        advice = "fill an access key into the RecordingArchive block, or give the worker one that boto3 finds"
        return StorageDenied(f"{doing}: no access key: {advice}")
    return StorageError(f"{doing} could not be asked for: {message}")


def _shown(text: str, secrets: Iterable[str]) -> str:
    return foreign(redact_urls(text), secrets, longest=_LONGEST)
