"""Continuous understanding of live streams, and the indexes made of it: the service's newer API.

Alerts on these indexes are in `alerts`, with `of="indexes"`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from prefect_videodb.client.call import Call, nothing, path, present
from prefect_videodb.client.models import (
    RecordPage,
    RTStreamIndex,
    RTStreamIndexes,
    RTStreamUnderstanding,
    RTStreamUnderstandings,
)
from prefect_videodb.client.models.reading import knowing
from prefect_videodb.client.paging import NumberedPages
from prefect_videodb.errors import ConfigurationError


def understand(
    rtstream_id: str,
    *,
    segmentation: Mapping[str, Any] | None = None,
    analyzers: Sequence[Mapping[str, Any]] = (),
    store: bool = True,
    ws_connection_id: str | None = None,
) -> Call[RTStreamUnderstanding]:
    """Analyze a stream, window by window, until stopped.   POST /rtstream/{id}/understand.

    Not repeatable: made twice, there are two that bill.

    Args:
        rtstream_id: the stream.
        segmentation: the windows, as `{"type": "time", "window": "10s"}`.
        analyzers: what analyzes them: so far one, of type `vlm`.
        store: keep what it finds, so that it can be indexed.
        ws_connection_id: where it is sent as it comes.
    """
    body = {
        "segmentation": dict(segmentation or {}),
        "analyzers": [dict(analyzer) for analyzer in analyzers],
        "store": store,
    } | present(ws_connection_id=ws_connection_id)
    reader = knowing(RTStreamUnderstanding, rtstream_id=rtstream_id)
    return Call("POST", path("rtstream", rtstream_id, "understand"), reader, json=body)


def get(rtstream_id: str, understanding_id: str) -> Call[RTStreamUnderstanding]:
    """Read an understanding.   GET /rtstream/{id}/understand/{understanding_id}."""
    reader = knowing(RTStreamUnderstanding, understanding_id=understanding_id, rtstream_id=rtstream_id)
    return Call("GET", path("rtstream", rtstream_id, "understand", understanding_id), reader, repeatable=True)


def list_all(rtstream_id: str) -> Call[RTStreamUnderstandings]:
    """Read all understandings of a stream.   GET /rtstream/{id}/understand."""
    where = path("rtstream", rtstream_id, "understand")
    return Call("GET", where, RTStreamUnderstandings.model_validate, repeatable=True)


def start(rtstream_id: str, understanding_id: str) -> Call[None]:
    """Go on analyzing.   PATCH /rtstream/{id}/understand/{understanding_id}/status."""
    where = path("rtstream", rtstream_id, "understand", understanding_id, "status")
    return Call("PATCH", where, nothing, json={"action": "start"}, repeatable=True)


def stop(rtstream_id: str, understanding_id: str) -> Call[None]:
    """Analyze no more; what was found stays.   PATCH /rtstream/{id}/understand/{understanding_id}/status."""
    where = path("rtstream", rtstream_id, "understand", understanding_id, "status")
    return Call("PATCH", where, nothing, json={"action": "stop"}, repeatable=True)


def record_page(
    rtstream_id: str,
    understanding_id: str,
    start: float,
    end: float,
    *,
    output: str = "scene",
    page: int = 1,
    page_size: int = 100,
) -> Call[RecordPage]:
    """Read one page of what an analyzer found.   GET /rtstream/{id}/understand/{understanding_id}/records.

    Args:
        rtstream_id: the stream.
        understanding_id: the understanding.
        start: from here, in unix seconds.
        end: to here, in unix seconds.
        output: the name of the analyzer.
        page: which page, counted from 1.
        page_size: how many records a page has.

    Raises:
        ConfigurationError: the range ends before it starts.
    """
    if end < start:
        raise ConfigurationError(f"the range ends ({end}) before it has begun ({start}), in unix seconds")
    params = present(start=start, end=end, output=output, page=page, page_size=page_size)
    where = path("rtstream", rtstream_id, "understand", understanding_id, "records")
    return Call("GET", where, RecordPage.model_validate, params=params, repeatable=True)


def every_record_page(
    rtstream_id: str, understanding_id: str, start: float, end: float, *, output: str = "scene"
) -> NumberedPages[RecordPage]:
    """Read all pages of what an analyzer found: `client.follow(pages.first, pages.following)`."""
    return NumberedPages(
        lambda page: record_page(rtstream_id, understanding_id, start, end, output=output, page=page),
        lambda page: page.records,
    )


def index(
    rtstream_id: str, source: Mapping[str, Any], *, name: str | None = None, use_for: Sequence[str] | None = None
) -> Call[RTStreamIndex]:
    """Make what an understanding brings searchable, until stopped.   POST /rtstream/{id}/indexes.

    Not repeatable: made twice, there are two that bill.

    Args:
        rtstream_id: the stream.
        source: what to index: one of the understanding's `outputs`.
        name: what the index is called.
        use_for: what it can do; `semantic` when None.
    """
    body = {"source": dict(source)} | present(name=name, use_for=None if use_for is None else list(use_for))
    reader = knowing(RTStreamIndex, rtstream_id=rtstream_id)
    return Call("POST", path("rtstream", rtstream_id, "indexes"), reader, json=body)


def get_index(rtstream_id: str, index_id: str) -> Call[RTStreamIndex]:
    """Read an index.   GET /rtstream/{id}/indexes/{index_id}."""
    reader = knowing(RTStreamIndex, index_id=index_id, rtstream_id=rtstream_id)
    return Call("GET", path("rtstream", rtstream_id, "indexes", index_id), reader, repeatable=True)


def list_indexes(rtstream_id: str) -> Call[RTStreamIndexes]:
    """Read all indexes of a stream.   GET /rtstream/{id}/indexes."""
    return Call("GET", path("rtstream", rtstream_id, "indexes"), RTStreamIndexes.model_validate, repeatable=True)


def start_index(rtstream_id: str, index_id: str) -> Call[None]:
    """Go on indexing.   PATCH /rtstream/{id}/indexes/{index_id}/status."""
    where = path("rtstream", rtstream_id, "indexes", index_id, "status")
    return Call("PATCH", where, nothing, json={"action": "start"}, repeatable=True)


def stop_index(rtstream_id: str, index_id: str) -> Call[None]:
    """Index no more; what is indexed stays searchable.   PATCH /rtstream/{id}/indexes/{index_id}/status."""
    where = path("rtstream", rtstream_id, "indexes", index_id, "status")
    return Call("PATCH", where, nothing, json={"action": "stop"}, repeatable=True)


def index_record_page(
    rtstream_id: str,
    index_id: str,
    *,
    start: float | None = None,
    end: float | None = None,
    page: int = 1,
    page_size: int = 100,
) -> Call[RecordPage]:
    """Read one page of an index.   GET /rtstream/{id}/indexes/{index_id}/records.

    Raises:
        ConfigurationError: the range ends before it starts.
    """
    if start is not None and end is not None and end < start:
        raise ConfigurationError(f"the range ends ({end}) before it has begun ({start}), in unix seconds")
    params = present(page=page, page_size=page_size, start=start, end=end)
    where = path("rtstream", rtstream_id, "indexes", index_id, "records")
    return Call("GET", where, RecordPage.model_validate, params=params, repeatable=True)


def every_index_record_page(
    rtstream_id: str, index_id: str, *, start: float | None = None, end: float | None = None
) -> NumberedPages[RecordPage]:
    """Read all pages of an index: `client.follow(pages.first, pages.following)`."""
    return NumberedPages(
        lambda page: index_record_page(rtstream_id, index_id, start=start, end=end, page=page),
        lambda page: page.records,
    )
