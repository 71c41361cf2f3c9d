"""What indexes and understandings say of a stream, batch by batch."""

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prefect_videodb.local_server.live.alerts import Alerts, Batch
from prefect_videodb.local_server.store import Store


class Records:
    """The records of one server's live indexes and understandings."""

    def __init__(self, store: Store, alerts: Alerts) -> None:
        self._store = store
        self._alerts = alerts

    def add(self, index_ids: Iterable[str], batch: Batch, metadata: Mapping[str, Any]) -> list[Callable[[], None]]:
        """Keep a batch in some indexes and look at their alerts, inside the caller's transaction.

        Returns:
            what to do after the transaction.
        """
        after = []
        for index_id in index_ids:
            self._store.execute(
                "INSERT INTO records (index_id, start_at, end_at, text, metadata) VALUES (?, ?, ?, ?, ?)",
                *(index_id, batch.start, batch.end, batch.text, json.dumps(metadata)),
            )
            after += self._alerts.watch(index_id, batch)
        return after

    def copy(self, source_id: str, target_id: str) -> None:
        """Give an index what an understanding has brought so far."""
        self._store.execute(
            "INSERT INTO records (index_id, start_at, end_at, text, metadata) "
            "SELECT ?, start_at, end_at, text, metadata FROM records WHERE index_id = ? ORDER BY id",
            *(target_id, source_id),
        )

    def page(
        self, index_id: str, *, start: float | None, end: float | None, page: int, page_size: int
    ) -> tuple[list[dict[str, Any]], bool]:
        """Return one page of what overlaps a range in unix seconds, the newest first, and whether more follows."""
        rows = self._store.all(
            "SELECT * FROM records WHERE index_id = ?1 AND (?2 IS NULL OR end_at > ?2) "
            "AND (?3 IS NULL OR start_at < ?3) ORDER BY start_at DESC, id DESC LIMIT ?4 OFFSET ?5",
            *(index_id, start, end, page_size + 1, (page - 1) * page_size),
        )
        return [_described(row) for row in rows[:page_size]], len(rows) > page_size

    def all(self, index_id: str) -> list[dict[str, Any]]:
        """Return everything that an index says, the oldest first."""
        rows = self._store.all("SELECT * FROM records WHERE index_id = ? ORDER BY start_at, id", index_id)
        return [_described(row) for row in rows]


def _described(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "start": row["start_at"],
        "end": row["end_at"],
        "text": row["text"],
        "metadata": json.loads(row["metadata"]),
    }
