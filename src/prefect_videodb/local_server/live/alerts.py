"""Events, which say in words what to watch for, and the alerts that watch an index for them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from prefect_videodb.local_server import ids
from prefect_videodb.local_server.deliveries import Deliveries
from prefect_videodb.local_server.errors import NotFound
from prefect_videodb.local_server.links import absolute
from prefect_videodb.local_server.live.hub import Hub
from prefect_videodb.local_server.pages import Pages
from prefect_videodb.local_server.search import share_of_words
from prefect_videodb.local_server.store import Store
from prefect_videodb.local_server.streams import manifest_path

# An event holds where this share of its words is found.
ENOUGH = 0.75
# What people write around the thing that they want to be told of.
_FILLER = """
alert alerts app appear appears application camera contain contains detect detected detects displayed displays event
frame happens hear heard image mentioned mentions message notify opened opens open phrase picture scene screen see seen
shown shows somebody speaker speech spoken stream text user users video visible watch whenever word words
"""
FILLER = frozenset(_FILLER.split())

Status = Literal["enabled", "disabled"]


@dataclass(frozen=True, slots=True)
class Batch:
    """What an index says of one span of a stream; unix seconds."""

    stream_id: str
    stream_name: str
    start: float
    end: float
    text: str


class Alerts:
    """The events and alerts of one server."""

    def __init__(self, store: Store, *, deliveries: Deliveries, pages: Pages, hub: Hub) -> None:
        self._store = store
        self._deliveries = deliveries
        self._pages = pages
        self._hub = hub

    def create_event(self, prompt: str, label: str) -> str:
        """Create an event and return its id. Labels are not unique."""
        event_id = ids.short_id()
        self._store.execute("INSERT INTO events VALUES (?, ?, ?, ?)", event_id, prompt, label, time.time())
        return event_id

    def events(self) -> list[dict[str, Any]]:
        """Return all events, the oldest first."""
        rows = self._store.all("SELECT * FROM events ORDER BY created_at, id")
        return [{"event_id": row["id"], "event_prompt": row["prompt"], "label": row["label"]} for row in rows]

    def create(
        self, index_id: str, *, event_id: str, callback_url: str, ws_connection_id: str | None, base_url: str
    ) -> str:
        """Watch an index for an event, and return the alert's id. Nothing prevents a second one.

        Without a `callback_url` it is told over the WebSocket alone.

        Raises:
            NotFound: when there is no such event.
        """
        if self._store.one("SELECT 1 FROM events WHERE id = ?", event_id) is None:
            raise NotFound(f"Event with id {event_id} not found")
        alert_id = ids.short_id()
        self._store.execute(
            "INSERT INTO alerts VALUES (?, ?, ?, ?, ?, ?, 'enabled', 0, ?)",
            *(alert_id, index_id, event_id, callback_url, ws_connection_id, base_url, time.time()),
        )
        return alert_id

    def of_index(self, index_id: str) -> list[dict[str, Any]]:
        """Return the alerts of an index, the oldest first."""
        rows = self._store.all(
            "SELECT alerts.*, prompt, label FROM alerts JOIN events ON events.id = event_id "
            "WHERE index_id = ? ORDER BY alerts.created_at, alerts.id",
            index_id,
        )
        return [
            {
                "alert_id": row["id"],
                "event_id": row["event_id"],
                "prompt": row["prompt"],
                "label": row["label"],
                "callback_url": row["callback_url"],
                "status": row["status"],
            }
            for row in rows
        ]

    def set_status(self, index_id: str, alert_id: str, status: Status) -> None:
        """Enable or disable an alert. One that is enabled again tells an event that holds at the next batch.

        Raises:
            NotFound: when the index has no such alert.
        """
        changed = self._store.execute(
            "UPDATE alerts SET status = ?, holds = 0 WHERE id = ? AND index_id = ?", status, alert_id, index_id
        )
        if not changed:
            raise NotFound(f"Alert with id {alert_id} not found")

    def watch(self, index_id: str, batch: Batch) -> list[Callable[[], None]]:
        """Look whether events became true, inside the caller's transaction; return what to do after it."""
        after = []
        rows = self._store.all(
            "SELECT alerts.*, prompt, label FROM alerts JOIN events ON events.id = event_id "
            "WHERE index_id = ? AND status = 'enabled'",
            index_id,
        )
        for row in rows:
            share = share_of_words(batch.text, row["prompt"], beside=FILLER)
            holds = share >= ENOUGH
            if holds != bool(row["holds"]):
                self._store.execute("UPDATE alerts SET holds = ? WHERE id = ?", holds, row["id"])
            if holds and not row["holds"]:
                firing = self._firing(dict(row), batch, share)
                if row["callback_url"]:
                    self._deliveries.add(f"alert {row['id']}", row["callback_url"], firing)
                after.append(self._teller(row["ws_connection_id"], batch, firing))
        return after

    def _firing(self, alert: dict[str, Any], batch: Batch, share: float) -> dict[str, Any]:
        stream_path = manifest_path(batch.stream_id, batch.start, batch.end)
        firing = {
            "event_id": f"event-{alert['event_id']}",
            "label": alert["label"],
            "confidence": round(share, 2),
            "explanation": f"The words of the event were found: {batch.text}",
            "timestamp": _iso(time.time()),
            "start_time": _iso(batch.start),
            "end_time": _iso(batch.end),
            "stream_url": stream_path,
            "player_url": self._pages.path(stream_path, title=f"{alert['label']}: {batch.stream_name}"),
        }
        links: dict[str, Any] = absolute(firing, alert["base_url"])
        return links

    def _teller(self, connection_id: str | None, batch: Batch, firing: dict[str, Any]) -> Callable[[], None]:
        # Sources of the vendor name label, text and time differently: each finds what it looks for.
        data = {
            **firing,
            "event_label": firing["label"],
            "text": firing["explanation"],
            "timestamp": round(datetime.fromisoformat(firing["timestamp"]).timestamp() * 1000),
            "start": round(batch.start * 1000),
            "end": round(batch.end * 1000),
        }
        frame = {"channel": "alert", "rtstream_id": batch.stream_id, "rtstream_name": batch.stream_name, "data": data}

        def tell() -> None:
            self._deliveries.send()
            self._hub.send(connection_id, frame)

        return tell


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()
