"""Capture sessions: what a desktop client captures, as live streams."""

from collections.abc import Mapping
from typing import Any

from prefect_videodb.client.call import Call, path, present
from prefect_videodb.client.models import CaptureExport, CaptureSession, CaptureSessions, ClientToken
from prefect_videodb.client.models.reading import knowing
from prefect_videodb.errors import ConfigurationError
from prefect_videodb.redact import webhook_secrets


def create(
    end_user_id: str,
    *,
    collection_id: str = "default",
    callback_url: str | None = None,
    ws_connection_id: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Call[CaptureSession]:
    """Prepare a capture session, for a desktop client to capture into.   POST /collection/{id}/capture/session.

    Not repeatable: made twice, there are two.

    Args:
        end_user_id: whose screen and sound it is.
        collection_id: the collection.
        callback_url: where its stages are told; never shown.
        ws_connection_id: where they are told as well, from a WebSocket connection.
        metadata: what to keep with it.
    """
    body = {"end_user_id": end_user_id} | present(
        callback_url=callback_url or None,
        ws_connection_id=ws_connection_id or None,
        metadata=dict(metadata) if metadata else None,
    )
    return Call(
        "POST",
        path("collection", collection_id, "capture", "session"),
        knowing(CaptureSession, collection_id=collection_id),
        json=body,
        secrets=webhook_secrets(callback_url) if callback_url else (),
    )


def get(session_id: str, *, collection_id: str = "default") -> Call[CaptureSession]:
    """Read a capture session; its streams are there once it is active.   GET /collection/{id}/capture/session/{id}."""
    known = knowing(CaptureSession, session_id=session_id, collection_id=collection_id)

    def read(data: Any) -> CaptureSession:
        # Seen wrapped once more, as the vendor's SDK knows.
        inner = data.get("data") if isinstance(data, dict) else None
        return known(inner if isinstance(inner, dict) else data)

    return Call("GET", path("collection", collection_id, "capture", "session", session_id), read, repeatable=True)


def list_all(*, collection_id: str = "default", status: str | None = None) -> Call[CaptureSessions]:
    """Read the capture sessions of a collection.   GET /collection/{id}/capture/session."""
    return Call(
        "GET",
        path("collection", collection_id, "capture", "session"),
        CaptureSessions.model_validate,
        params=present(status=status),
        repeatable=True,
    )


def export(
    session_id: str,
    *,
    collection_id: str = "default",
    video_channel_id: str | None = None,
    ws_connection_id: str | None = None,
) -> Call[CaptureExport]:
    """Make a video of a session, or tell how far that is.   POST /collection/{id}/capture/session/{id}/export.

    Repeatable: it is repeated until `export_status` is `exported` or `failed`.

    Args:
        session_id: the session, stopped.
        collection_id: the collection.
        video_channel_id: of which screen; the primary one when None.
        ws_connection_id: where its end is told, from a WebSocket connection.
    """
    return Call(
        "POST",
        path("collection", collection_id, "capture", "session", session_id, "export"),
        CaptureExport.model_validate,
        json=present(video_channel_id=video_channel_id, connection_id=ws_connection_id),
        repeatable=True,
    )


def client_token(*, expires_in: int = 86400) -> Call[ClientToken]:
    """Make a token for a desktop client to capture with, good for so many seconds.   POST /capture/session/token.

    Repeatable: a token that nobody got lapses.

    Raises:
        ConfigurationError: it would be good for no time at all.
    """
    if expires_in <= 0:
        raise ConfigurationError(f"a token is good for a number of seconds, more than 0; not {expires_in}")
    where = path("capture", "session", "token")
    return Call("POST", where, ClientToken.model_validate, json={"expires_in": expires_in}, repeatable=True)
