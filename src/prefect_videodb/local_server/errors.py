"""What the embedded server refuses, and how the service would say it.

ServerError                  the server cannot run at all: for the person who starts it
├── FolderInUse              another server works in this data folder
└── PortInUse                another program listens there
ApiError                     an answer to the caller: HTTP status and message
├── BadRequest      400      the request is wrong and will stay wrong
├── Unauthorized    401      the key is missing or unknown
├── NotFound        404      there is no such thing
├── Misdirected     421      the Host header names another server
├── TooLarge        413      the body is larger than any real request
├── Unsupported     501      VideoDB does this, this server does not
└── Unavailable     503      not now: repeat it
Interrupted                  the server is closing: the work goes on at its next start
"""

from typing import ClassVar


class ServerError(Exception):
    """The server cannot start; the message says what to do."""


class FolderInUse(ServerError):
    """Another server works in this data folder."""


class PortInUse(ServerError):
    """Another program listens on this port."""


class ApiError(Exception):
    """An answer other than success."""

    status: ClassVar[int] = 400

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadRequest(ApiError):
    """The request is wrong and will stay wrong when repeated."""


class Unauthorized(ApiError):
    """The key is missing or unknown."""

    status = 401


class NotFound(ApiError):
    """There is no such thing."""

    status = 404


class Misdirected(ApiError):
    """The Host header names another server."""

    status = 421


class TooLarge(ApiError):
    """The body is larger than any real request."""

    status = 413


class Unsupported(ApiError):
    """VideoDB does this, this server does not."""

    status = 501


class Unavailable(ApiError):
    """It cannot be done now; the same request may succeed later."""

    status = 503


class Interrupted(BaseException):
    """The server is closing; the work is taken up again when it starts."""
