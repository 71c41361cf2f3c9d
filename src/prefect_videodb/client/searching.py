"""The newer search, of a video or of all videos of a collection. It cannot see the spoken-word index of `videos`."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import TypeAdapter

from prefect_videodb.client.call import Call, path, present
from prefect_videodb.client.models import AskResponse, SearchResponse, SearchResult

Within = Literal["video", "collection"]
Filter = Mapping[str, Any] | Sequence[Any]
Fields = Mapping[str, Any] | Sequence[str] | str
Sort = str | Sequence[tuple[str, str]]
Names = Sequence[str] | str
Aggregate = dict[str, Any] | list[Any]
_AGGREGATE: TypeAdapter[Aggregate] = TypeAdapter(Aggregate)


def search(
    within: Within,
    within_id: str,
    query: str,
    *,
    top_k: int | None = None,
    mode: str | None = None,
    score_threshold: float | None = None,
    filter: Filter | None = None,  # noqa: A002 - the service's name for it
    return_fields: Fields | None = None,
    include_clip: bool | None = None,
    session_id: str | None = None,
    config: Mapping[str, Any] | None = None,
) -> Call[SearchResponse]:
    """Search; the service chooses the indexes.   POST /video|collection/{id}/search/v2.

    Args:
        within: in a `video`, or in all of a `collection`.
        within_id: which one.
        query: what to look for.
        top_k: how many hits at most.
        mode: how thoroughly.
        score_threshold: the least score of a hit.
        filter: conditions on fields.
        return_fields: which fields to give with a hit.
        include_clip: give links that play the hits.
        session_id: go on with a deep search that asked back.
        config: what the mode takes beside.
    """
    body = {"query": query} | present(
        top_k=top_k,
        mode=mode,
        score_threshold=score_threshold,
        filter=filter,
        return_fields=return_fields,
        include_clip=include_clip,
        session_id=session_id,
        config=config,
    )
    where = path(within, within_id, "search", "v2")
    return Call("POST", where, SearchResponse.model_validate, json=body, repeatable=session_id is None)


def ask(
    within: Within,
    within_id: str,
    question: str,
    *,
    top_k: int = 15,
    mode: str = "default",
    include_sources: bool = False,
) -> Call[AskResponse]:
    """Ask, and get the answer in words.   POST /video|collection/{id}/ask."""
    body = {"question": question, "top_k": top_k, "mode": mode, "include_sources": include_sources}
    return Call("POST", path(within, within_id, "ask"), AskResponse.model_validate, json=body, repeatable=True)


def semantic_search(
    within: Within,
    within_id: str,
    query: str,
    *,
    index_names: Names | None = None,
    top_k: int = 10,
    score_threshold: float | None = None,
    filter: Filter | None = None,  # noqa: A002 - the service's name for it
    return_fields: Fields | None = None,
    index_ids: Names | None = None,
) -> Call[SearchResult]:
    """Search by meaning, in the indexes of these names or ids.   POST /video|collection/{id}/semantic-search.

    Raises:
        NothingFound: not one hit, where the service calls that an error.
    """
    body = {
        "query": query,
        "index_names": index_names,
        "index_ids": index_ids,
        "top_k": top_k,
        "score_threshold": score_threshold,
        "filter": filter,
        "return_fields": return_fields,
    }
    where = path(within, within_id, "semantic-search")
    return Call("POST", where, SearchResult.model_validate, json=body, repeatable=True)


def query(
    within: Within,
    within_id: str,
    *,
    index_name: str | None = None,
    filter: Filter | None = None,  # noqa: A002 - the service's name for it
    limit: int = 100,
    return_fields: Fields | None = None,
    sort: Sort | None = None,
    index_id: str | None = None,
) -> Call[SearchResult]:
    """Give the records of an index that meet conditions.   POST /video|collection/{id}/query.

    Raises:
        NothingFound: not one, where the service calls that an error.
    """
    body = {
        "index_name": index_name,
        "index_id": index_id,
        "filter": filter,
        "limit": limit,
        "return_fields": return_fields,
        "sort": sort,
    }
    return Call("POST", path(within, within_id, "query"), SearchResult.model_validate, json=body, repeatable=True)


def aggregate(
    within: Within,
    within_id: str,
    *,
    index_name: str | None = None,
    filter: Filter | None = None,  # noqa: A002 - the service's name for it
    group_by: str | None = None,
    metric: str = "count",
    limit: int = 100,
    sort: Sort | None = None,
    index_id: str | None = None,
) -> Call[Aggregate]:
    """Count, or measure otherwise, the records of an index.   POST /video|collection/{id}/aggregate.

    What comes is the service's own: an object, or a list of them.
    """
    body = {
        "index_name": index_name,
        "index_id": index_id,
        "filter": filter,
        "group_by": group_by,
        "metric": metric,
        "limit": limit,
        "sort": sort,
    }
    where = path(within, within_id, "aggregate")
    return Call("POST", where, _AGGREGATE.validate_python, json=body, repeatable=True)
