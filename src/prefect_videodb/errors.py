"""Every error of this package: one class for each thing a caller may want to do about it.

::

    VideoDBError
    ├── ConfigurationError      a missing key, a bad URL, an argument that cannot be: fix it
    ├── TransportError          the network failed
    │   ├── NotConnected        the request never left: repeating is always safe
    │   └── AnswerLost          it left and no answer came: the service may have acted
    ├── ServiceError            the service answered, but not with success
    │   ├── AuthenticationError 401: fix the key
    │   ├── OutOfCredits        402: top up
    │   ├── NotFound            404: look again
    │   ├── RateLimited         429: wait `retry_after_s`
    │   ├── ServiceUnavailable  5xx: try later
    │   ├── NotSupported        501: what answers does not do this, now or later
    │   ├── InvalidRequest      400, 422, or refused with `success: false`: fix the request
    │   │   ├── NothingFound    a search without a hit: an empty result
    │   │   └── NoSpokenWords   silence: there is nothing to index
    │   └── JobFailed           a long job ended without success
    ├── SourceError             the live source cannot be ingested, or delivered nothing: look at the source
    ├── StorageError            the user's own store did not do what was asked of it
    │   ├── StorageDenied       401, 403: fix the access key, or what it may do
    │   ├── BucketNotFound      404: fix the bucket's name, or make the bucket
    │   ├── StorageFull         413, 507, a quota: make room
    │   ├── StorageUnavailable  not reached, 429, 5xx: try later
    │   └── CopyDamaged         what lies in the store is not what was sent
    ├── JobUnfinished           a long job outlived one wait: keep waiting, `job` resumes it
    └── UnexpectedAnswer        the answer cannot be read; `raw` holds it

`retry_is_safe` says whether sending the same request again can do harm: a request that creates something is not
repeated after its answer was lost. Messages hold no secret.
"""

from typing import Any


class VideoDBError(Exception):
    """Base of every error of this package."""

    retry_is_safe: bool = False

    def __init__(self, message: str, *, retry_is_safe: bool | None = None) -> None:
        super().__init__(message)
        if retry_is_safe is not None:
            self.retry_is_safe = retry_is_safe


class ConfigurationError(VideoDBError, ValueError):
    """Something the caller gave cannot be used: the message says what, and what to give instead."""


class TransportError(VideoDBError):
    """The network failed between here and the service."""


class NotConnected(TransportError):
    """No connection could be made: the request never left, so repeating it is always safe."""

    retry_is_safe = True


class AnswerLost(TransportError):
    """The request left and no answer came back: the service may or may not have acted upon it."""


class ServiceError(VideoDBError):
    """The service answered, but not with success.

    Attributes:
        status: HTTP status of the answer.
        raw: the answer's body, with secrets blotted out.
    """

    def __init__(self, message: str, *, status: int = 0, raw: str = "", retry_is_safe: bool | None = None) -> None:
        super().__init__(message, retry_is_safe=retry_is_safe)
        self.status = status
        self.raw = raw


class AuthenticationError(ServiceError):
    """401: the API key is missing, wrong or revoked."""


class OutOfCredits(ServiceError):
    """402: the account has no credits left."""


class NotFound(ServiceError):
    """404: nothing has this id, or not any more."""


class RateLimited(ServiceError):
    """429: too many requests; this one was not carried out, so repeating it is safe.

    Attributes:
        retry_after_s: how long the service asks to wait, in seconds; None when it does not say.
    """

    retry_is_safe = True
    retry_after_s: float | None = None


class NotSupported(ServiceError):
    """501: what answers, such as the local server, does not do this, and will not when it is asked again."""


class ServiceUnavailable(ServiceError):
    """5xx: the service or a gateway before it failed.

    Attributes:
        retry_after_s: how long the service asks to wait, in seconds; None when it does not say.
    """

    retry_after_s: float | None = None


class InvalidRequest(ServiceError):
    """400, 422, or an answer with `success: false`: the service understood and refused."""


class NothingFound(InvalidRequest):
    """A search without a single hit. The service calls that an error; read it as an empty result."""


class NoSpokenWords(InvalidRequest):
    """No spoken words in the video: there is nothing to index."""


class JobFailed(ServiceError):
    """A long job ended without success."""


class SourceError(VideoDBError):
    """The live source cannot be ingested, or delivered nothing to keep."""


class StorageError(VideoDBError):
    """The user's own store did not do what was asked of it. The video at VideoDB is as it was."""


class StorageDenied(StorageError):
    """The store refused the access key, or what it was asked to do."""


class BucketNotFound(StorageError):
    """The store has no bucket of this name."""


class StorageFull(StorageError):
    """The store has no room, or a quota is used up."""


class StorageUnavailable(StorageError):
    """The store could not be reached, or failed."""


class CopyDamaged(StorageError):
    """What lies in the store is not what was sent."""


class JobUnfinished(VideoDBError):
    """A long job outlived one wait. It goes on at the service: wait again with `job`.

    Attributes:
        job: what `Client.wait` takes to go on waiting.
        percentage: how far it was, 0 to 100; None when the service did not say.
    """

    def __init__(
        self,
        message: str,
        *,
        job: Any = None,
        percentage: float | None = None,
        retry_is_safe: bool | None = None,
    ) -> None:
        super().__init__(message, retry_is_safe=retry_is_safe)
        self.job = job
        self.percentage = percentage


class UnexpectedAnswer(VideoDBError):
    """The service answered something that cannot be read.

    Attributes:
        status: HTTP status of the answer.
        raw: the answer's body, with secrets blotted out.
    """

    def __init__(self, message: str, *, status: int = 0, raw: str = "", retry_is_safe: bool | None = None) -> None:
        super().__init__(message, retry_is_safe=retry_is_safe)
        self.status = status
        self.raw = raw
