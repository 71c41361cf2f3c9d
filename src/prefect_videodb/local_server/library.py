"""Collections: the shelves that streams and videos stand on."""

import sqlite3
import time
from datetime import UTC, datetime
from typing import Any

from prefect_videodb.local_server import ids
from prefect_videodb.local_server.errors import NotFound
from prefect_videodb.local_server.store import Store

DEFAULT_COLLECTION = "default"


class Library:
    """The collections of one server; `default` is always there."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._store.execute(
            "INSERT OR IGNORE INTO collections VALUES (?, 'Default', 'The collection that is always there', 0, ?)",
            *(DEFAULT_COLLECTION, time.time()),
        )

    def create(self, *, name: str, description: str, is_public: bool) -> dict[str, Any]:
        """Create a collection. Names are not unique."""
        collection_id = ids.collection_id()
        self._store.execute(
            "INSERT INTO collections VALUES (?, ?, ?, ?, ?)", collection_id, name, description, is_public, time.time()
        )
        return self.get(collection_id)

    def get(self, collection_id: str) -> dict[str, Any]:
        """Return a collection as the service describes it.

        Raises:
            NotFound: when there is none with this id.
        """
        row = self._store.one("SELECT * FROM collections WHERE id = ?", collection_id)
        if row is None:
            raise NotFound(f"Collection with id {collection_id} not found")
        return _described(row)

    def all(self) -> list[dict[str, Any]]:
        """Return all collections, the oldest first."""
        return [_described(row) for row in self._store.all("SELECT * FROM collections ORDER BY created_at, id")]


def _described(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "name": row["name"],
        "description": row["description"],
        "is_public": bool(row["is_public"]),
        "created_at": datetime.fromtimestamp(row["created_at"], UTC).isoformat(),
    }
