"""Events, and the alerts that watch a live index for them."""

from typing import Any, Literal

from pydantic import SecretStr

from prefect_videodb.client.call import Call, nothing, path, present
from prefect_videodb.client.models import Alert, Alerts, Event, Events
from prefect_videodb.client.models.reading import knowing
from prefect_videodb.redact import webhook_secrets

# Of which indexes: the live scene indexes, or those made of an understanding.
Indexes = Literal["index", "indexes"]


def create_event(event_prompt: str, label: str) -> Call[Event]:
    """Say in words what to watch for.   POST /rtstream/event.

    Not repeatable: labels are not unique, and an event cannot be deleted.
    """
    body = {"event_prompt": event_prompt, "label": label}
    return Call("POST", path("rtstream", "event"), _event(event_prompt, label), json=body)


def _event(event_prompt: str, label: str) -> Any:
    return knowing(Event, event_prompt=event_prompt, label=label)  # the service answers with the id alone


def list_events() -> Call[Events]:
    """Read all events of the account.   GET /rtstream/event."""
    return Call("GET", path("rtstream", "event"), Events.model_validate, repeatable=True)


def create(
    rtstream_id: str,
    index_id: str,
    event_id: str,
    callback_url: str,
    *,
    ws_connection_id: str | None = None,
    of: Indexes = "index",
) -> Call[Alert]:
    """Watch a live index for an event.   POST /rtstream/{id}/index/{index_id}/alert.

    Not repeatable: made twice, everything is told twice.

    Args:
        rtstream_id: the stream.
        index_id: the index.
        event_id: the event.
        callback_url: where to tell it; a token in it is all that guards it, and it is never shown. Empty: over the
            WebSocket connection alone.
        ws_connection_id: where to tell it as well, from a WebSocket connection.
        of: `indexes` for an index made of an understanding (POST /rtstream/{id}/indexes/{index_id}/alert).
    """
    body = {"event_id": event_id, "callback_url": callback_url} | present(ws_connection_id=ws_connection_id)
    return Call(
        "POST",
        path("rtstream", rtstream_id, of, index_id, "alert"),
        knowing(Alert, event_id=event_id, callback_url=SecretStr(callback_url)),
        json=body,
        secrets=webhook_secrets(callback_url),
    )


def list_all(rtstream_id: str, index_id: str, *, of: Indexes = "index") -> Call[Alerts]:
    """Read all alerts of an index.   GET /rtstream/{id}/index/{index_id}/alert."""
    return Call("GET", path("rtstream", rtstream_id, of, index_id, "alert"), _alerts, repeatable=True)


def _alerts(data: Any) -> Alerts:
    return Alerts.model_validate({"alerts": data} if isinstance(data, list) else data)


def enable(rtstream_id: str, index_id: str, alert_id: str, *, of: Indexes = "index") -> Call[None]:
    """Watch again.   PATCH /rtstream/{id}/index/{index_id}/alert/{alert_id}/status."""
    return _act(rtstream_id, index_id, alert_id, of, "enable")


def disable(rtstream_id: str, index_id: str, alert_id: str, *, of: Indexes = "index") -> Call[None]:
    """Watch no more; an alert cannot be deleted.   PATCH /rtstream/{id}/index/{index_id}/alert/{alert_id}/status."""
    return _act(rtstream_id, index_id, alert_id, of, "disable")


def _act(rtstream_id: str, index_id: str, alert_id: str, of: Indexes, action: str) -> Call[None]:
    where = path("rtstream", rtstream_id, of, index_id, "alert", alert_id, "status")
    return Call("PATCH", where, nothing, json={"action": action}, repeatable=True)
