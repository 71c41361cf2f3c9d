"""Capture sessions: what a desktop client captures, as live streams."""

from collections.abc import Mapping
from typing import Any

from prefect import task
from pydantic import SecretStr

from prefect_videodb._logging import get_logger
from prefect_videodb.blocks import VideoDBCredentials
from prefect_videodb.client import sessions
from prefect_videodb.client.models import CaptureExport, CaptureSession, ClientToken, RTStream
from prefect_videodb.errors import JobFailed
from prefect_videodb.tasks._options import OPERATION, RunName
from prefect_videodb.tasks._secrets import plain
from prefect_videodb.tasks._waiting import wait_until

_EXPORTED = "exported"
_FAILED = "failed"


@task(task_run_name="create-capture-session", **OPERATION)
def create_capture_session(
    credentials: VideoDBCredentials,
    end_user_id: str,
    collection_id: str = "default",
    callback_url: SecretStr | str | None = None,
    ws_connection_id: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> CaptureSession:
    """Prepare a capture session, for a desktop client to capture into.

    Not repeated after its answer was lost: that could make two.

    Args:
        credentials: the account.
        end_user_id: whose screen and sound it is.
        collection_id: the collection.
        callback_url: where its stages are told; never logged.
        ws_connection_id: where they are told as well, from a WebSocket connection.
        metadata: what to keep with it.

    Raises:
        OutOfCredits: top up first.

    Source: POST /collection/{id}/capture/session
    """
    call = sessions.create(
        end_user_id,
        collection_id=collection_id,
        callback_url=plain(callback_url),
        ws_connection_id=ws_connection_id,
        metadata=metadata,
    )
    return credentials.get_client().send(call)


@task(task_run_name=RunName("get-capture-session-{session_id}"), **OPERATION)
def get_capture_session(
    credentials: VideoDBCredentials, session_id: str, collection_id: str = "default"
) -> CaptureSession:
    """Read a capture session.

    Args:
        credentials: the account.
        session_id: the session, `cap-…`.
        collection_id: the collection.

    Raises:
        NotFound: there is no such session.

    Source: GET /collection/{id}/capture/session/{session_id}
    """
    return credentials.get_client().send(sessions.get(session_id, collection_id=collection_id))


@task(task_run_name="list-capture-sessions", **OPERATION)
def list_capture_sessions(
    credentials: VideoDBCredentials, collection_id: str = "default", status: str | None = None
) -> list[CaptureSession]:
    """Read the capture sessions of a collection.

    Args:
        credentials: the account.
        collection_id: the collection.
        status: only those of this status.

    Source: GET /collection/{id}/capture/session
    """
    page = credentials.get_client().send(sessions.list_all(collection_id=collection_id, status=status))
    if page.next_page:
        # How to ask for them is not known: neither the service's description nor the vendor's SDK does.
        get_logger().warning("The service has more capture sessions than it gives at once: give a status")
    return page.sessions


@task(task_run_name=RunName("get-{category}-of-{session_id}"), **OPERATION)
def get_capture_session_rtstream(
    credentials: VideoDBCredentials, session_id: str, category: str, collection_id: str = "default"
) -> list[RTStream]:
    """Give the live streams of one channel of a capture session; none before it is active.

    Args:
        credentials: the account.
        session_id: the session, `cap-…`.
        category: the channel: `mic`, `screen` or `system_audio`.
        collection_id: the collection.

    Source: GET /collection/{id}/capture/session/{session_id}
    """
    return credentials.get_client().send(sessions.get(session_id, collection_id=collection_id)).get_rtstream(category)


@task(task_run_name=RunName("export-capture-session-{session_id}"), **OPERATION)
def export_capture_session(
    credentials: VideoDBCredentials,
    session_id: str,
    collection_id: str = "default",
    video_channel_id: str | None = None,
    ws_connection_id: str | None = None,
    timeout_s: float = 1800.0,
    interval_s: float = 5.0,
) -> CaptureExport:
    """Make a permanent video of a stopped session, and wait for it. Repeated, it gives the same one.

    Args:
        credentials: the account.
        session_id: the session, `cap-…`.
        collection_id: the collection.
        video_channel_id: of which screen; the primary one when None.
        ws_connection_id: where its end is told, from a WebSocket connection.
        timeout_s: how long to wait for it, in seconds.
        interval_s: the pause between two looks, in seconds.

    Raises:
        JobFailed: the export failed.
        JobUnfinished: it outlived `timeout_s`; it goes on.

    Source: POST /collection/{id}/capture/session/{session_id}/export
    """
    call = sessions.export(
        session_id,
        collection_id=collection_id,
        video_channel_id=video_channel_id,
        ws_connection_id=ws_connection_id,
    )
    client = credentials.get_client()
    export = wait_until(
        lambda: client.send(call),
        lambda seen: (seen.export_status or "").lower() in {_EXPORTED, _FAILED},
        timeout_s=timeout_s,
        interval_s=interval_s,
    )
    if (export.export_status or "").lower() == _FAILED:
        raise JobFailed(f"the export of capture session {session_id} failed")
    return export


@task(task_run_name="generate-client-token", **OPERATION)
def generate_client_token(credentials: VideoDBCredentials, expires_in: int = 86400) -> ClientToken:
    """Make a token for a desktop client to capture with. It is hidden: `token.get_secret_value()` gives it.

    Args:
        credentials: the account.
        expires_in: for how long it is good, in seconds.

    Source: POST /capture/session/token
    """
    return credentials.get_client().send(sessions.client_token(expires_in=expires_in))
