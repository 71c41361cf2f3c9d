"""Events and alerts."""

from typing import Any

from prefect_videodb.client import alerts
from tests.client.wire.case import Case

_IDS: dict[str, Any] = {"rtstream_id": "rts-1", "index_id": "a1b2"}
_ALERT = {"event_id": "e-1", "callback_url": "http://127.0.0.1/hook/t0ken?x=1&y=\u00e9"}
_WS = {"ws_connection_id": "ws-1"}
_ONE = _IDS | {"alert_id": "al-1"}
# One SDK class for the live scene indexes, one for those made of an understanding; ours is one argument.
_INDEX = """
kind = videodb.rtstream.RTStreamIndex if args.pop("of", "index") == "indexes" else videodb.rtstream.RTStreamSceneIndex
index = kind(conn, args.pop("index_id"), args.pop("rtstream_id"))
index."""
_V2: dict[str, Any] = {"of": "indexes"}
_NEW = "videodb.rtstream.RTStreamIndex"

CASES = [
    Case(
        alerts.create_event, "conn.create_event(**args)", {"event_prompt": "The door \u2013 is open", "label": "door"}
    ),
    Case(alerts.list_events, "conn.list_events()"),
    Case(alerts.create, _INDEX + "create_alert(**args)", _IDS | _ALERT),
    Case(alerts.create, _INDEX + "create_alert(**args)", _IDS | _ALERT | _WS),
    Case(alerts.create, _INDEX + "create_alert(**args)", _IDS | _ALERT | _WS | _V2, needs=_NEW),
    Case(alerts.list_all, _INDEX + "list_alerts()", _IDS),
    Case(alerts.list_all, _INDEX + "list_alerts()", _IDS | _V2, needs=_NEW),
    Case(alerts.enable, _INDEX + "enable_alert(**args)", _ONE),
    Case(alerts.enable, _INDEX + "enable_alert(**args)", _ONE | _V2, needs=_NEW),
    Case(alerts.disable, _INDEX + "disable_alert(**args)", _ONE),
    Case(alerts.disable, _INDEX + "disable_alert(**args)", _ONE | _V2, needs=_NEW),
]
