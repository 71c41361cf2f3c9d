"""Searching live streams."""

from prefect_videodb.client import streams
from tests.client.wire.case import STREAM, Case, rest

_SEARCH = STREAM + "search(" + rest("rtstream_id") + ")"
_COLLECTION = """
collection = videodb.collection.Collection(conn, args.pop("collection_id", "default"))
# 0.5 gave `search` to another operation, and this one a new name.
getattr(collection, "legacy_search", collection.search)(args.pop("query"), namespace="rtstream", **args)
"""

CASES = [
    Case(streams.search, _SEARCH, {"rtstream_id": "rts-1", "query": "who was at the door?"}),
    Case(
        streams.search,
        _SEARCH,
        {
            "rtstream_id": "rts-1",
            "query": "Tür & Tor",
            "index_id": "a1b2",
            "result_threshold": 7,
            "score_threshold": 0.45,
            "dynamic_score_percentage": 20.0,
            "filter": [{"room": "hall"}],
        },
    ),
    Case(streams.search, _SEARCH, {"rtstream_id": "rts-1", "query": "x", "filter": [], "score_threshold": 0}),
    Case(streams.search_collection, _COLLECTION, {"query": "who was at the door?"}),
    Case(
        streams.search_collection,
        _COLLECTION,
        {
            "query": "Tür & Tor",
            "collection_id": "c-1",
            "scene_index_id": "a1b2",
            "result_threshold": 7,
            "score_threshold": 0.45,
            "dynamic_score_percentage": 20.0,
            "filter": [{"room": "hall"}],
        },
    ),
]
