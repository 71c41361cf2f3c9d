"""Continuous understanding of live streams, and the indexes made of it: the service's newer API.

Alerts on these indexes are made with `create_alert` and its sisters, with `of="indexes"`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from prefect import task

from prefect_videodb.blocks import VideoDBCredentials
from prefect_videodb.client import understandings
from prefect_videodb.client.models import Record, RecordPage, RTStreamIndex, RTStreamUnderstanding
from prefect_videodb.tasks._options import OPERATION, RunName


@task(task_run_name=RunName("understand-{rtstream_id}"), **OPERATION)
def understand_rtstream(
    credentials: VideoDBCredentials,
    rtstream_id: str,
    segmentation: Mapping[str, Any] | None = None,
    analyzers: Sequence[Mapping[str, Any]] = (),
    store: bool = True,
    ws_connection_id: str | None = None,
) -> RTStreamUnderstanding:
    """Analyze a stream, window by window, until `stop_rtstream_understanding`.

    Not repeated after its answer was lost: that could make two, and both bill.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`.
        segmentation: the windows, as `{"type": "time", "window": "10s"}`.
        analyzers: what analyzes them: so far one, of type `vlm`.
        store: keep what it finds, so that it can be indexed.
        ws_connection_id: where it is sent as it comes.

    Raises:
        AnswerLost: the understanding may be there: list them.

    Source: POST /rtstream/{id}/understand
    """
    return credentials.get_client().send(
        understandings.understand(
            rtstream_id,
            segmentation=segmentation,
            analyzers=analyzers,
            store=store,
            ws_connection_id=ws_connection_id,
        )
    )


@task(task_run_name=RunName("get-{understanding_id}"), **OPERATION)
def get_rtstream_understanding(
    credentials: VideoDBCredentials,
    rtstream_id: str,
    understanding_id: str,
) -> RTStreamUnderstanding:
    """Read an understanding of a stream.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`.
        understanding_id: the understanding, `und-…`.

    Source: GET /rtstream/{id}/understand/{understanding_id}
    """
    return credentials.get_client().send(understandings.get(rtstream_id, understanding_id))


@task(task_run_name=RunName("list-understandings-{rtstream_id}"), **OPERATION)
def list_rtstream_understandings(
    credentials: VideoDBCredentials,
    rtstream_id: str,
) -> list[RTStreamUnderstanding]:
    """Read all understandings of a stream.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`.

    Source: GET /rtstream/{id}/understand
    """
    return credentials.get_client().send(understandings.list_all(rtstream_id)).understandings


@task(task_run_name=RunName("start-{understanding_id}"), **OPERATION)
def start_rtstream_understanding(
    credentials: VideoDBCredentials,
    rtstream_id: str,
    understanding_id: str,
) -> None:
    """Go on analyzing.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`.
        understanding_id: the understanding, `und-…`.

    Source: PATCH /rtstream/{id}/understand/{understanding_id}/status
    """
    credentials.get_client().send(understandings.start(rtstream_id, understanding_id))


@task(task_run_name=RunName("stop-{understanding_id}"), **OPERATION)
def stop_rtstream_understanding(
    credentials: VideoDBCredentials,
    rtstream_id: str,
    understanding_id: str,
) -> None:
    """Analyze no more, and bill no more; what was found stays.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`.
        understanding_id: the understanding, `und-…`.

    Source: PATCH /rtstream/{id}/understand/{understanding_id}/status
    """
    credentials.get_client().send(understandings.stop(rtstream_id, understanding_id))


@task(task_run_name=RunName("get-records-{understanding_id}"), **OPERATION)
def get_rtstream_understanding_records(
    credentials: VideoDBCredentials,
    rtstream_id: str,
    understanding_id: str,
    start: float,
    end: float,
    output: str = "scene",
    page: int = 1,
    page_size: int = 100,
) -> RecordPage:
    """Read one page of what an analyzer found.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`.
        understanding_id: the understanding, `und-…`.
        start: from here, in unix seconds.
        end: to here, in unix seconds.
        output: the name of the analyzer.
        page: which page, counted from 1.
        page_size: how many records a page has.

    Source: GET /rtstream/{id}/understand/{understanding_id}/records
    """
    return credentials.get_client().send(
        understandings.record_page(
            rtstream_id, understanding_id, start, end, output=output, page=page, page_size=page_size
        )
    )


@task(task_run_name=RunName("get-all-records-{understanding_id}"), **OPERATION)
def get_all_rtstream_understanding_records(
    credentials: VideoDBCredentials,
    rtstream_id: str,
    understanding_id: str,
    start: float,
    end: float,
    output: str = "scene",
) -> list[Record]:
    """Read all that an analyzer found in a range.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`.
        understanding_id: the understanding, `und-…`.
        start: from here, in unix seconds.
        end: to here, in unix seconds.
        output: the name of the analyzer.

    Source: GET /rtstream/{id}/understand/{understanding_id}/records
    """
    pages = understandings.every_record_page(rtstream_id, understanding_id, start, end, output=output)
    return [record for page in credentials.get_client().follow(pages.first, pages.following) for record in page.records]


@task(task_run_name=RunName("index-{rtstream_id}"), **OPERATION)
def index_rtstream(
    credentials: VideoDBCredentials,
    rtstream_id: str,
    source: Mapping[str, Any],
    name: str | None = None,
    use_for: Sequence[str] | None = None,
) -> RTStreamIndex:
    """Make what an understanding brings searchable, until `stop_rtstream_index`.

    Not repeated after its answer was lost: that could make two, and both bill.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`.
        source: what to index: one of an understanding's `outputs`.
        name: what the index is called.
        use_for: what it can do; `semantic` when None.

    Raises:
        AnswerLost: the index may be there: list them.

    Source: POST /rtstream/{id}/indexes
    """
    return credentials.get_client().send(understandings.index(rtstream_id, source, name=name, use_for=use_for))


@task(task_run_name=RunName("get-{index_id}"), **OPERATION)
def get_rtstream_index(
    credentials: VideoDBCredentials,
    rtstream_id: str,
    index_id: str,
) -> RTStreamIndex:
    """Read an index of a stream.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`.
        index_id: the index, `idx-…`.

    Source: GET /rtstream/{id}/indexes/{index_id}
    """
    return credentials.get_client().send(understandings.get_index(rtstream_id, index_id))


@task(task_run_name=RunName("list-indexes-{rtstream_id}"), **OPERATION)
def list_rtstream_indexes(
    credentials: VideoDBCredentials,
    rtstream_id: str,
) -> list[RTStreamIndex]:
    """Read all indexes of a stream.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`.

    Source: GET /rtstream/{id}/indexes
    """
    return credentials.get_client().send(understandings.list_indexes(rtstream_id)).indexes


@task(task_run_name=RunName("start-{index_id}"), **OPERATION)
def start_rtstream_index(
    credentials: VideoDBCredentials,
    rtstream_id: str,
    index_id: str,
) -> None:
    """Go on indexing.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`.
        index_id: the index, `idx-…`.

    Source: PATCH /rtstream/{id}/indexes/{index_id}/status
    """
    credentials.get_client().send(understandings.start_index(rtstream_id, index_id))


@task(task_run_name=RunName("stop-{index_id}"), **OPERATION)
def stop_rtstream_index(
    credentials: VideoDBCredentials,
    rtstream_id: str,
    index_id: str,
) -> None:
    """Index no more; what is indexed stays searchable.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`.
        index_id: the index, `idx-…`.

    Source: PATCH /rtstream/{id}/indexes/{index_id}/status
    """
    credentials.get_client().send(understandings.stop_index(rtstream_id, index_id))


@task(task_run_name=RunName("get-records-{index_id}"), **OPERATION)
def get_rtstream_index_records(
    credentials: VideoDBCredentials,
    rtstream_id: str,
    index_id: str,
    start: float | None = None,
    end: float | None = None,
    page: int = 1,
    page_size: int = 100,
) -> RecordPage:
    """Read one page of an index.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`.
        index_id: the index, `idx-…`.
        start: from here, in unix seconds.
        end: to here, in unix seconds.
        page: which page, counted from 1.
        page_size: how many records a page has.

    Source: GET /rtstream/{id}/indexes/{index_id}/records
    """
    return credentials.get_client().send(
        understandings.index_record_page(rtstream_id, index_id, start=start, end=end, page=page, page_size=page_size)
    )


@task(task_run_name=RunName("get-all-records-{index_id}"), **OPERATION)
def get_all_rtstream_index_records(
    credentials: VideoDBCredentials,
    rtstream_id: str,
    index_id: str,
    start: float | None = None,
    end: float | None = None,
) -> list[Record]:
    """Read all of an index, or of a range of it.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`.
        index_id: the index, `idx-…`.
        start: from here, in unix seconds.
        end: to here, in unix seconds.

    Source: GET /rtstream/{id}/indexes/{index_id}/records
    """
    pages = understandings.every_index_record_page(rtstream_id, index_id, start=start, end=end)
    return [record for page in credentials.get_client().follow(pages.first, pages.following) for record in page.records]
