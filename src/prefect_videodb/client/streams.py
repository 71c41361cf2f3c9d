"""Live streams (RTStream): connect, look, start, stop, play back, export, search."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from prefect_videodb.client.call import Call, nothing, path, present
from prefect_videodb.client.models import Export, Playback, RTStream, RTStreamPage, RTStreamSearchResult
from prefect_videodb.client.models.reading import knowing
from prefect_videodb.client.paging import Seen
from prefect_videodb.errors import ConfigurationError
from prefect_videodb.redact import url_secrets

MediaType = Literal["audio", "video"]
# As many as the service gives at once.
_PAGE = 100
_MEDIA_TYPES = frozenset({"audio", "video"})


def connect(
    url: str,
    name: str,
    *,
    collection_id: str = "default",
    media_types: Sequence[MediaType] = ("video",),
    sample_rate: int | None = None,
    store: bool | None = None,
    enable_transcript: bool | None = None,
    ws_connection_id: str | None = None,
) -> Call[RTStream]:
    """Connect a live source: from now on the service ingests it, and bills, until `stop`.   POST /rtstream.

    Not repeatable: names are not unique, and connecting twice makes two streams.

    Raises:
        ConfigurationError: `media_types` is empty or names something else than audio and video.
    """
    if not media_types or not _MEDIA_TYPES.issuperset(media_types):
        raise ConfigurationError(f"media types are 'audio' and 'video', at least one; not {list(media_types)!r}")
    body = {"collection_id": collection_id, "url": url, "name": name, "media_types": list(media_types)}
    body |= present(
        sample_rate=sample_rate,
        store=store,
        enable_transcript=enable_transcript,
        ws_connection_id=ws_connection_id,
    )
    return Call("POST", path("rtstream"), RTStream.model_validate, json=body, secrets=url_secrets(url))


def get(rtstream_id: str) -> Call[RTStream]:
    """Read a stream.   GET /rtstream/{id}."""
    return Call("GET", path("rtstream", rtstream_id), RTStream.model_validate, repeatable=True)


def list_page(
    *,
    limit: int | None = None,
    offset: int | None = None,
    status: str | None = None,
    name: str | None = None,
    ordering: str | None = None,
) -> Call[RTStreamPage]:
    """Read one page of the account's streams; `name` matches any part.   GET /rtstream.

    The service gives 10 unless told.
    """
    params = present(limit=limit, offset=offset, status=status, name=name, ordering=ordering)
    return Call("GET", path("rtstream"), RTStreamPage.model_validate, params=params, repeatable=True)


class EveryPage:
    """Read all pages of the account's streams: `client.follow(pages.first, pages.following)`.

    Args:
        status: only those of this status.
        name: only those whose name holds this.
    """

    def __init__(self, *, status: str | None = None, name: str | None = None) -> None:
        self._status = status
        self._name = name
        self._offset = 0
        self._seen = Seen(str(self.first))

    @property
    def first(self) -> Call[RTStreamPage]:
        """The call for the first page."""
        return list_page(limit=_PAGE, offset=0, status=self._status, name=self._name)

    def following(self, page: RTStreamPage) -> Call[RTStreamPage] | None:
        """Return the call for the page after this one; None when it is the last.

        A page that holds nothing new is the last: the service may take no notice of the offset. A full page is not,
        whatever count the service gives.

        Raises:
            UnexpectedAnswer: the list has no end.
        """
        self._offset += len(page.results)
        is_counted = page.count is not None and self._offset >= page.count and len(page.results) < _PAGE
        if is_counted or not self._seen.add(stream.id for stream in page.results):
            return None
        return list_page(limit=_PAGE, offset=self._offset, status=self._status, name=self._name)


def update(rtstream_id: str, *, name: str | None = None, sample_rate: int | None = None) -> Call[RTStream]:
    """Change a stream's name or sample rate.   PATCH /rtstream/{id}.

    Raises:
        ConfigurationError: there is nothing to change.
    """
    body = present(name=name, sample_rate=sample_rate)
    if not body:
        raise ConfigurationError("give a name or a sample rate: there is nothing to change")
    reader = knowing(RTStream, id=rtstream_id)
    return Call("PATCH", path("rtstream", rtstream_id), reader, json=body, repeatable=True)


def start(rtstream_id: str) -> Call[None]:
    """Start a stopped stream again. A connected one refuses.   PATCH /rtstream/{id}/status."""
    return Call("PATCH", path("rtstream", rtstream_id, "status"), nothing, json={"action": "start"}, repeatable=True)


def stop(rtstream_id: str) -> Call[None]:
    """Stop a stream: only this ends ingesting and billing.   PATCH /rtstream/{id}/status."""
    return Call("PATCH", path("rtstream", rtstream_id, "status"), nothing, json={"action": "stop"}, repeatable=True)


def playback(
    rtstream_id: str,
    start: int,
    end: int,
    *,
    player_title: str | None = None,
    player_description: str | None = None,
    player_slug_prefix: str | None = None,
) -> Call[Playback]:
    """Get the links that play a window of a stream, in unix seconds.   GET /rtstream/{id}/stream.

    Raises:
        ConfigurationError: the window ends before it starts.
    """
    if end <= start:
        raise ConfigurationError(f"the window ends ({end}) before it has begun ({start}), in unix seconds")
    params = {"start": start, "end": end} | present(
        player_title=player_title or None,
        player_description=player_description or None,
        player_slug_prefix=player_slug_prefix or None,
    )
    return Call(
        "GET",
        path("rtstream", rtstream_id, "stream"),
        Playback.model_validate,
        params=params,
        repeatable=True,
    )


def export(rtstream_id: str, *, name: str | None = None) -> Call[Export]:
    """Make a permanent video of the latest completed recording of a stopped stream.   POST /rtstream/{id}/export.

    Repeatable: called again it returns the same video.
    """
    return Call(
        "POST",
        path("rtstream", rtstream_id, "export"),
        Export.model_validate,
        json=present(name=name),
        repeatable=True,
    )


def search(
    rtstream_id: str,
    query: str,
    *,
    index_id: str | None = None,
    result_threshold: int | None = None,
    score_threshold: float | None = None,
    dynamic_score_percentage: float | None = None,
    filter: Sequence[Mapping[str, Any]] | None = None,  # noqa: A002 - the service's name for it
) -> Call[RTStreamSearchResult]:
    """Search the live indexes of a stream.   POST /rtstream/{id}/search.

    Args:
        rtstream_id: the stream.
        query: what to look for.
        index_id: in this live index only.
        result_threshold: how many hits at most.
        score_threshold: the least score of a hit, 0 to 1.
        dynamic_score_percentage: keep the hits within this share of the best scores.
        filter: conditions on the metadata of scenes.

    Raises:
        NothingFound: not one hit, where the service calls that an error.
    """
    body = {"query": query} | present(
        scene_index_id=index_id,
        result_threshold=result_threshold,
        score_threshold=score_threshold,
        dynamic_score_percentage=dynamic_score_percentage,
        filter=None if filter is None else list(filter),
    )

    def read(data: Any) -> RTStreamSearchResult:
        found = RTStreamSearchResult.model_validate(data)
        for shot in found.shots:
            shot.rtstream_id = rtstream_id  # the service does not repeat what it was asked for
        return found

    return Call("POST", path("rtstream", rtstream_id, "search"), read, json=body, repeatable=True)


def search_collection(
    query: str,
    *,
    collection_id: str = "default",
    scene_index_id: str | None = None,
    result_threshold: int | None = None,
    score_threshold: float | None = None,
    dynamic_score_percentage: float | None = None,
    filter: Sequence[Mapping[str, Any]] = (),  # noqa: A002 - the service's name for it
) -> Call[RTStreamSearchResult]:
    """Search the live indexes of all streams of a collection.   POST /rtstream/collection/{id}/search.

    The arguments are those of `search`.

    Raises:
        NothingFound: not one hit, where the service calls that an error.
    """
    body = {"query": query, "filter": list(filter)} | present(
        scene_index_id=scene_index_id,
        result_threshold=result_threshold,
        score_threshold=score_threshold,
        dynamic_score_percentage=dynamic_score_percentage,
    )
    return Call(
        "POST",
        path("rtstream", "collection", collection_id, "search"),
        RTStreamSearchResult.model_validate,
        json=body,
        repeatable=True,
    )
