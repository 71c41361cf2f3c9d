"""Events, and the alerts that watch a live index for them."""

from prefect import task
from pydantic import SecretStr

from prefect_videodb._logging import get_logger
from prefect_videodb.blocks import VideoDBCredentials
from prefect_videodb.client import Client, alerts
from prefect_videodb.client.alerts import Indexes
from prefect_videodb.client.models import Alert, Event
from prefect_videodb.tasks._ensure import adopted_or_created
from prefect_videodb.tasks._options import OPERATION, RunName
from prefect_videodb.tasks._secrets import plain

DISABLED = "disabled"
_PREFIX = "event-"


@task(task_run_name=RunName("create-event-{label}"), **OPERATION)
def create_event(credentials: VideoDBCredentials, event_prompt: str, label: str) -> Event:
    """Say in words what to watch for.

    Not repeated after its answer was lost: that could make two, and none can be deleted. `ensure_event` looks first.

    Args:
        credentials: the account.
        event_prompt: what to watch for.
        label: what it is called. Labels are not unique.

    Raises:
        AnswerLost: the event may be there: look for its label.

    Source: POST /rtstream/event
    """
    return credentials.get_client().send(alerts.create_event(event_prompt, label))


@task(task_run_name=RunName("ensure-event-{label}"), **OPERATION)
def ensure_event(credentials: VideoDBCredentials, label: str, event_prompt: str) -> Event:
    """Adopt the event of exactly this label and prompt, or create one. Repeated, it makes no second one.

    Args:
        credentials: the account.
        label: what it is called.
        event_prompt: what to watch for.

    Source: GET /rtstream/event, POST /rtstream/event
    """
    client = credentials.get_client()
    return adopted_or_created(
        lambda: _adopt_event(client, label, event_prompt),
        lambda: client.send(alerts.create_event(event_prompt, label)),
    )


def _adopt_event(client: Client, label: str, event_prompt: str) -> Event | None:
    events = client.send(alerts.list_events()).events
    same = [event for event in events if event.label == label and event.prompt == event_prompt]
    # Of several, whoever looks takes the same.
    return min(same, key=lambda event: event.id, default=None)


@task(task_run_name="list-events", **OPERATION)
def list_events(credentials: VideoDBCredentials) -> list[Event]:
    """Read all events of the account.

    Source: GET /rtstream/event
    """
    return credentials.get_client().send(alerts.list_events()).events


@task(task_run_name=RunName("create-alert-{index_id}"), **OPERATION)
def create_alert(
    credentials: VideoDBCredentials,
    rtstream_id: str,
    index_id: str,
    event_id: str,
    callback_url: SecretStr | str,
    ws_connection_id: str | None = None,
    of: Indexes = "index",
) -> Alert:
    """Watch a live index for an event.

    Not repeated after its answer was lost: made twice, everything is told twice. `ensure_alert` looks first.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`.
        index_id: the index.
        event_id: the event.
        callback_url: where to tell it; never logged, as a token in it is all that guards it. Empty: over the WebSocket
            connection alone.
        ws_connection_id: where to tell it as well, from a WebSocket connection.
        of: `index` for a live scene index, `indexes` for an index made of an understanding.

    Raises:
        AnswerLost: the alert may be there: look for its event and callback.

    Source: POST /rtstream/{id}/index/{index_id}/alert
    """
    call = alerts.create(rtstream_id, index_id, event_id, plain(callback_url), ws_connection_id=ws_connection_id, of=of)
    return credentials.get_client().send(call)


@task(task_run_name=RunName("ensure-alert-{index_id}"), **OPERATION)
def ensure_alert(
    credentials: VideoDBCredentials,
    rtstream_id: str,
    index_id: str,
    event_id: str,
    callback_url: SecretStr | str,
    ws_connection_id: str | None = None,
    of: Indexes = "index",
) -> Alert:
    """Adopt the alert for this event that calls back here, or create one. Repeated, it makes no second one.

    A disabled one is enabled. Where there are several, one is adopted and the others are disabled, as each tells.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`.
        index_id: the index.
        event_id: the event.
        callback_url: where to tell it; never logged. Empty: over the WebSocket connection alone.
        ws_connection_id: where a new alert is told as well. One that is adopted tells where it did before.
        of: `index` for a live scene index, `indexes` for an index made of an understanding.

    Source: GET /rtstream/{id}/index/{index_id}/alert, POST /rtstream/{id}/index/{index_id}/alert
    """
    url = plain(callback_url)
    call = alerts.create(rtstream_id, index_id, event_id, url, ws_connection_id=ws_connection_id, of=of)

    def look() -> Alert | None:
        same = [
            alert
            for alert in client.send(alerts.list_all(rtstream_id, index_id, of=of)).alerts
            if definition(alert.event_id) == definition(event_id) and (plain(alert.callback_url) or "") == url
        ]
        if not same:
            return None
        found, *others = sorted(same, key=lambda alert: (alert.status == DISABLED, alert.id))
        for other in others:
            if other.status != DISABLED:
                client.send(alerts.disable(rtstream_id, index_id, other.id, of=of))
        if found.status == DISABLED:
            client.send(alerts.enable(rtstream_id, index_id, found.id, of=of))
            found = found.model_copy(update={"status": "enabled"})
        get_logger().info("Adopting alert %s", found.id)
        return found

    client = credentials.get_client()
    return adopted_or_created(look, lambda: client.send(call))


def definition(event_id: str | None) -> str | None:
    """Read an event's id without the prefix that a firing puts before it."""
    return None if event_id is None else event_id.removeprefix(_PREFIX)


@task(task_run_name=RunName("list-alerts-{index_id}"), **OPERATION)
def list_alerts(credentials: VideoDBCredentials, rtstream_id: str, index_id: str, of: Indexes = "index") -> list[Alert]:
    """Read all alerts of an index.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`.
        index_id: the index.
        of: `index` for a live scene index, `indexes` for an index made of an understanding.

    Source: GET /rtstream/{id}/index/{index_id}/alert
    """
    return credentials.get_client().send(alerts.list_all(rtstream_id, index_id, of=of)).alerts


@task(task_run_name=RunName("enable-alert-{alert_id}"), **OPERATION)
def enable_alert(
    credentials: VideoDBCredentials, rtstream_id: str, index_id: str, alert_id: str, of: Indexes = "index"
) -> None:
    """Watch again.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`.
        index_id: the index.
        alert_id: the alert.
        of: `index` for a live scene index, `indexes` for an index made of an understanding.

    Source: PATCH /rtstream/{id}/index/{index_id}/alert/{alert_id}/status
    """
    credentials.get_client().send(alerts.enable(rtstream_id, index_id, alert_id, of=of))


@task(task_run_name=RunName("disable-alert-{alert_id}"), **OPERATION)
def disable_alert(
    credentials: VideoDBCredentials, rtstream_id: str, index_id: str, alert_id: str, of: Indexes = "index"
) -> None:
    """Watch no more; an alert cannot be deleted.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`.
        index_id: the index.
        alert_id: the alert.
        of: `index` for a live scene index, `indexes` for an index made of an understanding.

    Source: PATCH /rtstream/{id}/index/{index_id}/alert/{alert_id}/status
    """
    credentials.get_client().send(alerts.disable(rtstream_id, index_id, alert_id, of=of))
