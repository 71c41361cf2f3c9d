"""As much of the service's events, live indexes and alerts as tests need: it holds what it was asked to hold."""

import threading
from typing import TYPE_CHECKING, Any

from tests.support.recording_server import RecordingServer, Reply, Request, envelope

if TYPE_CHECKING:
    from collections.abc import Callable


class LiveService:
    """Events, and of one stream the live indexes with their alerts; names are not unique, as at the service.

    Attributes:
        before: may answer instead of it, before anything was done.
        after: may answer instead of it, after it was done.
    """

    def __init__(self, server: RecordingServer) -> None:
        self.events: list[dict[str, Any]] = []
        self.indexes: list[dict[str, Any]] = []
        self.alerts: list[dict[str, Any]] = []
        self.before: Callable[[Request], Reply | None] = lambda _request: None
        self.after: Callable[[Request], Reply | None] = lambda _request: None
        self._lock = threading.Lock()
        server.answer = self._answer

    def _answer(self, request: Request) -> Reply:
        with self._lock:
            instead = self.before(request)
            if instead is not None:
                return instead
            done = self._act(request)
            return self.after(request) or done

    def _act(self, request: Request) -> Reply:  # noqa: PLR0911 - one for each route
        parts = request.path.strip("/").split("/")
        match (request.method, *parts):
            case ("POST", "rtstream", "event"):
                return envelope({"event_id": self._add(self.events, "event_id", request.json)})
            case ("GET", "rtstream", "event"):
                return envelope({"events": self.events})
            case ("POST", "rtstream", _, "index", "scene"):
                index_id = self._add(self.indexes, "rtstream_index_id", request.json | {"status": "running"})
                return envelope(self._one(self.indexes, "rtstream_index_id", index_id), http_status=201)
            case ("GET", "rtstream", _, "index", "scene"):
                return envelope({"scene_indexes": self.indexes})
            case ("PATCH", "rtstream", _, "index", "scene", index_id, "status"):
                index = self._one(self.indexes, "rtstream_index_id", index_id)
                index["status"] = {"start": "running", "stop": "stopped"}[request.json["action"]]
                return envelope({})
            case ("GET", "rtstream", _, "index", index_id):
                return envelope(self._one(self.indexes, "rtstream_index_id", index_id))
            case ("POST", "rtstream", _, "index" | "indexes", _, "alert"):
                return envelope({"alert_id": self._add(self.alerts, "alert_id", request.json | {"status": "enabled"})})
            case ("GET", "rtstream", _, "index" | "indexes", _, "alert"):
                return envelope({"alerts": self.alerts})
            case ("PATCH", "rtstream", _, "index" | "indexes", _, "alert", alert_id, "status"):
                alert = self._one(self.alerts, "alert_id", alert_id)
                alert["status"] = {"enable": "enabled", "disable": "disabled"}[request.json["action"]]
                return envelope({})
        return envelope(http_status=404, message=f"{request.method} {request.path} is not here")

    @staticmethod
    def _add(held: list[dict[str, Any]], key: str, values: dict[str, Any]) -> str:
        held.append({key: f"{len(held):016x}", **values})
        return str(held[-1][key])

    @staticmethod
    def _one(held: list[dict[str, Any]], key: str, value: str) -> dict[str, Any]:
        (found,) = (entry for entry in held if entry[key] == value)
        return found
