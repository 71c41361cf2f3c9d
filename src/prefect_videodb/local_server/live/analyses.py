"""What callers ask to be looked at or listened to in a stream: scene indexes, understandings, and indexes of these.

What they say comes from the analyst, batch by batch.
"""

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from prefect_videodb.local_server import ids
from prefect_videodb.local_server.errors import BadRequest, NotFound
from prefect_videodb.local_server.live.records import Records
from prefect_videodb.local_server.store import Store
from prefect_videodb.local_server.streams import Streams

Kind = Literal["scene_index", "understanding"]
Segmenter = Literal["word", "sentence", "time"]
_NAMES: dict[Kind, str] = {"scene_index": "Scene index", "understanding": "Understanding"}


@dataclass(frozen=True, slots=True)
class Visuals:
    """Look at `frame_count` pictures of every `window_s` seconds."""

    window_s: float
    frame_count: int


@dataclass(frozen=True, slots=True)
class Audio:
    """Take what is said in batches of `value` words, sentences or seconds."""

    segmenter: Segmenter
    value: float


@dataclass(frozen=True, slots=True)
class Analysis:
    """One that runs, and how far it is."""

    id: str
    kind: Kind
    stream_id: str
    work: Visuals | Audio
    ws_connection_id: str | None
    since: float
    """Unix seconds: the start of the next window; words before it are not taken."""
    utterance_id: int
    word: int
    """The next word to take, counted in the utterance after `utterance_id`."""


class Analyses:
    """The scene indexes, understandings and understandings' indexes of one server."""

    def __init__(self, store: Store, streams: Streams, records: Records) -> None:
        self._store = store
        self._streams = streams
        self._records = records

    # --- scene indexes and understandings -----------------------------------------------------------------------------

    def create(
        self,
        kind: Kind,
        stream_id: str,
        work: Visuals | Audio,
        *,
        details: Mapping[str, Any],
        ws_connection_id: str | None,
    ) -> str:
        """Look at or listen to a stream from now on, and return the id of what does. Nothing prevents a second one.

        Raises:
            BadRequest: when the stream is not connected with what is needed.
        """
        stream = self._streams.get(stream_id)
        needed = "video" if isinstance(work, Visuals) else "audio"
        if needed not in stream["media_types"]:
            raise BadRequest(f"The RTStream is connected without {needed}: name it in media_types")
        new_id = ids.understanding_id() if kind == "understanding" else ids.short_id()
        now = time.time()
        config = {"time": work.window_s, "frame_count": work.frame_count} if isinstance(work, Visuals) else {
            "segmenter": work.segmenter, "segmentation_value": work.value
        }  # fmt: skip
        self._store.execute(
            "INSERT INTO analyses VALUES (?, ?, ?, ?, ?, ?, ?, 'running', ?, ?, 0, ?)",
            *(new_id, kind, stream_id, "time" if isinstance(work, Visuals) else "transcript"),
            *(json.dumps(config), json.dumps(details), ws_connection_id, now, self._last_utterance(stream_id), now),
        )
        return new_id

    def get(self, kind: Kind, stream_id: str, analysis_id: str) -> dict[str, Any]:
        """Return a scene index or an understanding as the service describes it.

        Raises:
            NotFound: when the stream has none with this id.
        """
        return _described(self._row(kind, stream_id, analysis_id))

    def of_stream(self, kind: Kind, stream_id: str) -> list[dict[str, Any]]:
        """Return all of a stream, the oldest first."""
        rows = self._store.all(
            "SELECT * FROM analyses WHERE kind = ? AND stream_id = ? ORDER BY created_at, id",
            *(kind, self._streams.get(stream_id)["id"]),
        )
        return [_described(row) for row in rows]

    def set_prompt(self, stream_id: str, index_id: str, prompt: str) -> dict[str, Any]:
        """Note another prompt of a scene index, and return the index.

        Raises:
            NotFound: when the stream has none with this id.
        """
        with self._store.transaction():
            details = json.loads(self._row("scene_index", stream_id, index_id)["details"]) | {"prompt": prompt}
            self._store.execute("UPDATE analyses SET details = ? WHERE id = ?", json.dumps(details), index_id)
        return self.get("scene_index", stream_id, index_id)

    def start(self, kind: Kind, stream_id: str, analysis_id: str) -> dict[str, Any]:
        """Go on from now; nothing changes for one that runs."""
        if self._row(kind, stream_id, analysis_id)["status"] != "running":
            self._store.execute(
                "UPDATE analyses SET status = 'running', since = ?, utterance_id = ?, word = 0 WHERE id = ?",
                *(time.time(), self._last_utterance(stream_id), analysis_id),
            )
        return self.get(kind, stream_id, analysis_id)

    def stop(self, kind: Kind, stream_id: str, analysis_id: str) -> dict[str, Any]:
        """End it; what it said stays."""
        row = self._row(kind, stream_id, analysis_id)
        self._store.execute("UPDATE analyses SET status = 'stopped' WHERE id = ?", row["id"])
        return self.get(kind, stream_id, analysis_id)

    # --- what the analyst needs ---------------------------------------------------------------------------------------

    def running(self) -> list[Analysis]:
        """Return all that run."""
        return [_analysis(row) for row in self._store.all("SELECT * FROM analyses WHERE status = 'running'")]

    def advance(self, analysis: Analysis, *, since: float, utterance_id: int, word: int) -> bool:
        """Note how far an analysis is, inside the transaction of what it said; False when it was stopped meanwhile."""
        changed = self._store.execute(
            "UPDATE analyses SET since = ?, utterance_id = ?, word = ? "
            "WHERE id = ? AND status = 'running' AND since = ? AND utterance_id = ? AND word = ?",
            *(since, utterance_id, word, analysis.id, analysis.since, analysis.utterance_id, analysis.word),
        )
        return bool(changed)

    def fail(self, analysis_id: str) -> None:
        """Note that an analysis cannot go on."""
        self._store.execute("UPDATE analyses SET status = 'failed' WHERE id = ?", analysis_id)

    def indexes_of(self, analysis: Analysis) -> list[str]:
        """Return where a batch of this analysis belongs: into itself, and what indexes it."""
        if analysis.kind == "scene_index":
            return [analysis.id]
        row = self._store.one("SELECT details FROM analyses WHERE id = ?", analysis.id)
        stored = [analysis.id] if row and json.loads(row["details"])["store"] else []
        indexes = self._store.all(
            "SELECT id FROM understanding_indexes WHERE understanding_id = ? AND status = 'running'", analysis.id
        )
        return [*stored, *(index["id"] for index in indexes)]

    # --- indexes of understandings ------------------------------------------------------------------------------------

    def create_index(
        self, stream_id: str, understanding_id: str, output: str, *, name: str | None, use_for: Sequence[str]
    ) -> dict[str, Any]:
        """Index what an understanding brings: what it brought already, and what comes.

        Raises:
            NotFound: when the stream has no such understanding, or that no such output.
        """
        outputs = self.get("understanding", stream_id, understanding_id)["outputs"]
        if output not in outputs:
            raise NotFound(f"The understanding has no output {output}")
        index_id = ids.index_id()
        with self._store.transaction():
            self._store.execute(
                "INSERT INTO understanding_indexes VALUES (?, ?, ?, ?, ?, ?, 'running', ?)",
                *(index_id, stream_id, understanding_id, output, name or output, json.dumps(list(use_for))),
                time.time(),
            )
            self._records.copy(understanding_id, index_id)
        return self.get_index(stream_id, index_id)

    def get_index(self, stream_id: str, index_id: str) -> dict[str, Any]:
        """Return an index as the service describes it.

        Raises:
            NotFound: when the stream has none with this id.
        """
        row = self._store.one("SELECT * FROM understanding_indexes WHERE id = ? AND stream_id = ?", index_id, stream_id)
        if row is None:
            raise NotFound(f"Index with id {index_id} not found")
        return _index_described(row)

    def indexes(self, stream_id: str) -> list[dict[str, Any]]:
        """Return all indexes of a stream, the oldest first."""
        rows = self._store.all(
            "SELECT * FROM understanding_indexes WHERE stream_id = ? ORDER BY created_at, id",
            self._streams.get(stream_id)["id"],
        )
        return [_index_described(row) for row in rows]

    def set_index_status(self, stream_id: str, index_id: str, status: Literal["running", "stopped"]) -> dict[str, Any]:
        """Let an index take what comes, or no more. What came in between is not taken later."""
        self.get_index(stream_id, index_id)
        self._store.execute("UPDATE understanding_indexes SET status = ? WHERE id = ?", status, index_id)
        return self.get_index(stream_id, index_id)

    def _last_utterance(self, stream_id: str) -> int:
        row = self._store.one("SELECT max(id) AS id FROM utterances WHERE stream_id = ?", stream_id)
        return int(row["id"]) if row and row["id"] is not None else 0

    def _row(self, kind: Kind, stream_id: str, analysis_id: str) -> sqlite3.Row:
        row = self._store.one(
            "SELECT * FROM analyses WHERE kind = ? AND stream_id = ? AND id = ?", kind, stream_id, analysis_id
        )
        if row is None:
            raise NotFound(f"{_NAMES[kind]} with id {analysis_id} not found")
        return row


def _analysis(row: sqlite3.Row) -> Analysis:
    config = json.loads(row["config"])
    work: Visuals | Audio
    if row["extraction_type"] == "time":
        work = Visuals(config["time"], config["frame_count"])
    else:
        work = Audio(config["segmenter"], config["segmentation_value"])
    return Analysis(
        id=row["id"],
        kind=row["kind"],
        stream_id=row["stream_id"],
        work=work,
        ws_connection_id=row["ws_connection_id"],
        since=row["since"],
        utterance_id=row["utterance_id"],
        word=row["word"],
    )


def _described(row: sqlite3.Row) -> dict[str, Any]:
    details = json.loads(row["details"])
    common = {"rtstream_id": row["stream_id"], "status": row["status"], "created_at": _iso(row["created_at"])}
    if row["kind"] == "understanding":
        [analyzer] = details["analyzers"]
        output = analyzer["name"]
        outputs = {output: {"type": "understanding_output", "understanding_id": row["id"], "output": output}}
        return {"understanding_id": row["id"], **common, **details, "outputs": outputs}
    config = {name: _number(value) for name, value in json.loads(row["config"]).items()}
    return {
        "rtstream_index_id": row["id"],
        **common,
        **details,
        "extraction_type": row["extraction_type"],
        "extraction_config": config,
    }


def _index_described(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "index_id": row["id"],
        "rtstream_id": row["stream_id"],
        "name": row["name"],
        "status": row["status"],
        "use_for": json.loads(row["use_for"]),
        "source_understanding_id": row["understanding_id"],
        "output": row["output"],
        "created_at": _iso(row["created_at"]),
    }


def _number(value: object) -> str:
    """Write a value of a configuration as the service answers it: numbers as text."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()
