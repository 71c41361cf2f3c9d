"""The newer search, of videos and of collections: only the newer SDK has it."""

from typing import Any

from prefect_videodb.client import searching
from tests.client.wire.case import Case

_NEW = "videodb.video.Video.semantic_search"
_WITHIN = """
where = args.pop("within_id")
target = (videodb.video.Video(conn, id=where, collection_id="default") if args.pop("within") == "video"
          else videodb.collection.Collection(conn, where))
target."""
_VIDEO: dict[str, Any] = {"within": "video", "within_id": "m-z-1"}
_COLLECTION: dict[str, Any] = {"within": "collection", "within_id": "c-1"}
_ASKED: dict[str, Any] = {"query": "what was decided \u2013 and why?"}
_FILTER: dict[str, Any] = {"filter": {"speaker": {"eq": "Ada"}}}
_FIELDS: dict[str, Any] = {"return_fields": ["speaker", "text"]}
_INDEX: dict[str, Any] = {"index_name": "talk", "index_id": "idx-1", "limit": 7, "sort": [["start", "asc"]]}


def _cases(operation: Any, required: dict[str, Any], optional: dict[str, Any]) -> list[Case]:
    code = _WITHIN + operation.__name__ + "(**args)"
    return [
        Case(operation, code, where | required | more, needs=_NEW)
        for where in (_VIDEO, _COLLECTION)
        for more in ({}, optional)
    ]


CASES = [
    *_cases(
        searching.search,
        _ASKED,
        {
            "top_k": 3,
            "mode": "deep",
            "score_threshold": 0.45,
            "include_clip": False,
            "session_id": "s-1",
            "config": {"depth": 2},
        }
        | _FILTER
        | _FIELDS,
    ),
    *_cases(searching.ask, {"question": "Why?"}, {"top_k": 3, "mode": "deep", "include_sources": True}),
    *_cases(
        searching.semantic_search,
        _ASKED,
        {"index_names": "talk", "index_ids": ["idx-1"], "top_k": 3, "score_threshold": 0} | _FILTER | _FIELDS,
    ),
    *_cases(searching.query, {}, _INDEX | _FILTER | _FIELDS),
    *_cases(searching.aggregate, {}, _INDEX | _FILTER | {"group_by": "speaker", "metric": "sum"}),
]
