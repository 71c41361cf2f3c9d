"""The newer search, of a video or of all videos of a collection.

It cannot see the spoken-word index that `index_spoken_words` makes; `search_video` does.
"""

from collections.abc import Mapping
from typing import Any

from prefect import task

from prefect_videodb.blocks import VideoDBCredentials
from prefect_videodb.client import Call, searching
from prefect_videodb.client.models import AskResponse, SearchResponse, SearchResult
from prefect_videodb.client.searching import Aggregate, Fields, Filter, Names, Sort
from prefect_videodb.errors import NothingFound
from prefect_videodb.tasks._options import OPERATION, RunName


def _found(credentials: VideoDBCredentials, call: Call[SearchResult]) -> SearchResult:
    """Send a search: finding nothing is a result."""
    try:
        return credentials.get_client().send(call)
    except NothingFound:
        return SearchResult()


@task(task_run_name=RunName("search-v2-{video_id}"), **OPERATION)
def search_video_v2(
    credentials: VideoDBCredentials,
    video_id: str,
    query: str,
    top_k: int | None = None,
    mode: str | None = None,
    score_threshold: float | None = None,
    filter: Filter | None = None,  # noqa: A002 - the service's name for it
    return_fields: Fields | None = None,
    include_clip: bool | None = None,
    session_id: str | None = None,
    config: Mapping[str, Any] | None = None,
) -> SearchResponse:
    """Search a video; the service chooses the indexes. Finding nothing is a result.

    Args:
        credentials: the account.
        video_id: the video, `m-…`; understood and indexed.
        query: what to look for.
        top_k: how many hits at most.
        mode: how thoroughly.
        score_threshold: the least score of a hit.
        filter: conditions on fields.
        return_fields: which fields to give with a hit.
        include_clip: give links that play the hits.
        session_id: go on with a deep search that asked back.
        config: what the mode takes beside.

    Source: POST /video/{id}/search/v2
    """
    call = searching.search(
        "video",
        video_id,
        query,
        top_k=top_k,
        mode=mode,
        score_threshold=score_threshold,
        filter=filter,
        return_fields=return_fields,
        include_clip=include_clip,
        session_id=session_id,
        config=config,
    )
    try:
        return credentials.get_client().send(call)
    except NothingFound:
        return SearchResponse()


@task(task_run_name=RunName("ask-{video_id}"), **OPERATION)
def ask_video(
    credentials: VideoDBCredentials,
    video_id: str,
    question: str,
    top_k: int = 15,
    mode: str = "default",
    include_sources: bool = False,
) -> AskResponse:
    """Ask a video, and get the answer in words.

    Args:
        credentials: the account.
        video_id: the video, `m-…`; understood and indexed.
        question: what to answer.
        top_k: from how many hits.
        mode: how thoroughly.
        include_sources: give the hits that the answer rests upon.

    Source: POST /video/{id}/ask
    """
    call = searching.ask("video", video_id, question, top_k=top_k, mode=mode, include_sources=include_sources)
    return credentials.get_client().send(call)


@task(task_run_name=RunName("semantic-search-{video_id}"), **OPERATION)
def semantic_search_video(
    credentials: VideoDBCredentials,
    video_id: str,
    query: str,
    index_names: Names | None = None,
    top_k: int = 10,
    score_threshold: float | None = None,
    filter: Filter | None = None,  # noqa: A002 - the service's name for it
    return_fields: Fields | None = None,
    index_ids: Names | None = None,
) -> SearchResult:
    """Search a video by meaning. Finding nothing is a result.

    Args:
        credentials: the account.
        video_id: the video, `m-…`; understood and indexed.
        query: what to look for.
        index_names: in the indexes of these names.
        top_k: how many hits at most.
        score_threshold: the least score of a hit.
        filter: conditions on fields.
        return_fields: which fields to give with a hit.
        index_ids: in these indexes.

    Source: POST /video/{id}/semantic-search
    """
    call = searching.semantic_search(
        "video",
        video_id,
        query,
        index_names=index_names,
        top_k=top_k,
        score_threshold=score_threshold,
        filter=filter,
        return_fields=return_fields,
        index_ids=index_ids,
    )
    return _found(credentials, call)


@task(task_run_name=RunName("query-{video_id}"), **OPERATION)
def query_video(
    credentials: VideoDBCredentials,
    video_id: str,
    index_name: str | None = None,
    filter: Filter | None = None,  # noqa: A002 - the service's name for it
    limit: int = 100,
    return_fields: Fields | None = None,
    sort: Sort | None = None,
    index_id: str | None = None,
) -> SearchResult:
    """Give the records of a video that meet conditions. That there is none is a result.

    Args:
        credentials: the account.
        video_id: the video, `m-…`; understood and indexed.
        index_name: of the index of this name.
        filter: conditions on fields.
        limit: how many at most.
        return_fields: which fields to give.
        sort: by which fields, and in which direction.
        index_id: of this index.

    Source: POST /video/{id}/query
    """
    call = searching.query(
        "video",
        video_id,
        index_name=index_name,
        filter=filter,
        limit=limit,
        return_fields=return_fields,
        sort=sort,
        index_id=index_id,
    )
    return _found(credentials, call)


@task(task_run_name=RunName("aggregate-{video_id}"), **OPERATION)
def aggregate_video(
    credentials: VideoDBCredentials,
    video_id: str,
    index_name: str | None = None,
    filter: Filter | None = None,  # noqa: A002 - the service's name for it
    group_by: str | None = None,
    metric: str = "count",
    limit: int = 100,
    sort: Sort | None = None,
    index_id: str | None = None,
) -> Aggregate:
    """Count, or measure otherwise, the records of a video.

    Args:
        credentials: the account.
        video_id: the video, `m-…`; understood and indexed.
        index_name: of the index of this name.
        filter: conditions on fields.
        group_by: by which field.
        metric: `count`, or what else to measure.
        limit: how many groups at most.
        sort: by which fields, and in which direction.
        index_id: of this index.

    Source: POST /video/{id}/aggregate
    """
    call = searching.aggregate(
        "video",
        video_id,
        index_name=index_name,
        filter=filter,
        group_by=group_by,
        metric=metric,
        limit=limit,
        sort=sort,
        index_id=index_id,
    )
    return credentials.get_client().send(call)


@task(task_run_name=RunName("search-v2-{collection_id}"), **OPERATION)
def search_collection_v2(
    credentials: VideoDBCredentials,
    collection_id: str,
    query: str,
    top_k: int | None = None,
    mode: str | None = None,
    score_threshold: float | None = None,
    filter: Filter | None = None,  # noqa: A002 - the service's name for it
    return_fields: Fields | None = None,
    include_clip: bool | None = None,
    session_id: str | None = None,
    config: Mapping[str, Any] | None = None,
) -> SearchResponse:
    """Search all videos of a collection; the service chooses the indexes. Finding nothing is a result.

    Args:
        credentials: the account.
        collection_id: the collection; its videos understood and indexed.
        query: what to look for.
        top_k: how many hits at most.
        mode: how thoroughly.
        score_threshold: the least score of a hit.
        filter: conditions on fields.
        return_fields: which fields to give with a hit.
        include_clip: give links that play the hits.
        session_id: go on with a deep search that asked back.
        config: what the mode takes beside.

    Source: POST /collection/{id}/search/v2
    """
    call = searching.search(
        "collection",
        collection_id,
        query,
        top_k=top_k,
        mode=mode,
        score_threshold=score_threshold,
        filter=filter,
        return_fields=return_fields,
        include_clip=include_clip,
        session_id=session_id,
        config=config,
    )
    try:
        return credentials.get_client().send(call)
    except NothingFound:
        return SearchResponse()


@task(task_run_name=RunName("ask-{collection_id}"), **OPERATION)
def ask_collection(
    credentials: VideoDBCredentials,
    collection_id: str,
    question: str,
    top_k: int = 15,
    mode: str = "default",
    include_sources: bool = False,
) -> AskResponse:
    """Ask all videos of a collection, and get the answer in words.

    Args:
        credentials: the account.
        collection_id: the collection; its videos understood and indexed.
        question: what to answer.
        top_k: from how many hits.
        mode: how thoroughly.
        include_sources: give the hits that the answer rests upon.

    Source: POST /collection/{id}/ask
    """
    call = searching.ask("collection", collection_id, question, top_k=top_k, mode=mode, include_sources=include_sources)
    return credentials.get_client().send(call)


@task(task_run_name=RunName("semantic-search-{collection_id}"), **OPERATION)
def semantic_search_collection(
    credentials: VideoDBCredentials,
    collection_id: str,
    query: str,
    index_names: Names | None = None,
    top_k: int = 10,
    score_threshold: float | None = None,
    filter: Filter | None = None,  # noqa: A002 - the service's name for it
    return_fields: Fields | None = None,
    index_ids: Names | None = None,
) -> SearchResult:
    """Search all videos of a collection by meaning. Finding nothing is a result.

    Args:
        credentials: the account.
        collection_id: the collection; its videos understood and indexed.
        query: what to look for.
        index_names: in the indexes of these names.
        top_k: how many hits at most.
        score_threshold: the least score of a hit.
        filter: conditions on fields.
        return_fields: which fields to give with a hit.
        index_ids: in these indexes.

    Source: POST /collection/{id}/semantic-search
    """
    call = searching.semantic_search(
        "collection",
        collection_id,
        query,
        index_names=index_names,
        top_k=top_k,
        score_threshold=score_threshold,
        filter=filter,
        return_fields=return_fields,
        index_ids=index_ids,
    )
    return _found(credentials, call)


@task(task_run_name=RunName("query-{collection_id}"), **OPERATION)
def query_collection(
    credentials: VideoDBCredentials,
    collection_id: str,
    index_name: str | None = None,
    filter: Filter | None = None,  # noqa: A002 - the service's name for it
    limit: int = 100,
    return_fields: Fields | None = None,
    sort: Sort | None = None,
    index_id: str | None = None,
) -> SearchResult:
    """Give the records of all videos of a collection that meet conditions. That there is none is a result.

    Args:
        credentials: the account.
        collection_id: the collection; its videos understood and indexed.
        index_name: of the index of this name.
        filter: conditions on fields.
        limit: how many at most.
        return_fields: which fields to give.
        sort: by which fields, and in which direction.
        index_id: of this index.

    Source: POST /collection/{id}/query
    """
    call = searching.query(
        "collection",
        collection_id,
        index_name=index_name,
        filter=filter,
        limit=limit,
        return_fields=return_fields,
        sort=sort,
        index_id=index_id,
    )
    return _found(credentials, call)


@task(task_run_name=RunName("aggregate-{collection_id}"), **OPERATION)
def aggregate_collection(
    credentials: VideoDBCredentials,
    collection_id: str,
    index_name: str | None = None,
    filter: Filter | None = None,  # noqa: A002 - the service's name for it
    group_by: str | None = None,
    metric: str = "count",
    limit: int = 100,
    sort: Sort | None = None,
    index_id: str | None = None,
) -> Aggregate:
    """Count, or measure otherwise, the records of all videos of a collection.

    Args:
        credentials: the account.
        collection_id: the collection; its videos understood and indexed.
        index_name: of the index of this name.
        filter: conditions on fields.
        group_by: by which field.
        metric: `count`, or what else to measure.
        limit: how many groups at most.
        sort: by which fields, and in which direction.
        index_id: of this index.

    Source: POST /collection/{id}/aggregate
    """
    call = searching.aggregate(
        "collection",
        collection_id,
        index_name=index_name,
        filter=filter,
        group_by=group_by,
        metric=metric,
        limit=limit,
        sort=sort,
        index_id=index_id,
    )
    return credentials.get_client().send(call)
