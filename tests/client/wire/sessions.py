"""Capture sessions."""

from prefect_videodb.client import sessions
from tests.client.wire.case import COLLECTION, Case, rest

_SESSION = (
    "videodb.capture_session.CaptureSession(conn, args['session_id'], args.get('collection_id', 'default'))"
    ".export(" + rest("session_id", "collection_id") + ")"
)
_LIST = COLLECTION + "list_capture_sessions(" + rest("collection_id") + ")"
_CREATE = COLLECTION + "create_capture_session(" + rest("collection_id") + ")"
_GET = COLLECTION + "get_capture_session(args['session_id'])"

CASES = [
    Case(sessions.create, _CREATE, {"end_user_id": "u-1"}),
    Case(
        sessions.create,
        _CREATE,
        {
            "end_user_id": "u-1",
            "collection_id": "c-1",
            "callback_url": "http://127.0.0.1/hook?token=t",
            "ws_connection_id": "ws-1",
            "metadata": {"room": "Zoë"},
        },
    ),
    Case(sessions.get, _GET, {"session_id": "cap-1"}),
    Case(sessions.get, _GET, {"session_id": "cap-1", "collection_id": "c-1"}),
    Case(sessions.list_all, _LIST),
    Case(sessions.list_all, _LIST, {"collection_id": "c-1", "status": "active"}),
    Case(sessions.export, _SESSION, {"session_id": "cap-1"}),
    Case(
        sessions.export,
        _SESSION,
        {"session_id": "cap-1", "collection_id": "c-1", "video_channel_id": "v-1", "ws_connection_id": "ws-1"},
    ),
    Case(sessions.client_token, "conn.generate_client_token()"),
    Case(sessions.client_token, "conn.generate_client_token(**args)", {"expires_in": 600}),
]
