"""Live streams (RTStream): connect, look, start, stop, play back, export, search."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from prefect import task
from pydantic import SecretStr

from prefect_videodb._logging import get_logger
from prefect_videodb.blocks import RTStreamSource, VideoDBCredentials
from prefect_videodb.client import Call, Client, streams
from prefect_videodb.client.models import Export, Playback, RTStream, RTStreamSearchResult
from prefect_videodb.client.streams import MediaType
from prefect_videodb.errors import ConfigurationError, InvalidRequest, NothingFound
from prefect_videodb.tasks._ensure import adopted_or_created
from prefect_videodb.tasks._jobs import polling
from prefect_videodb.tasks._options import OPERATION, RunName
from prefect_videodb.tasks._secrets import plain
from prefect_videodb.urls import SOURCE, read

STOPPED = "stopped"
CONNECTED = "connected"
ERROR = "error"


@task(task_run_name=RunName("connect-{name}"), **OPERATION)
def connect_rtstream(
    credentials: VideoDBCredentials,
    url: SecretStr | str,
    name: str,
    collection_id: str = "default",
    media_types: Sequence[MediaType] = ("audio", "video"),
    sample_rate: int | None = None,
    store: bool | None = True,
    enable_transcript: bool | None = None,
    ws_connection_id: str | None = None,
) -> RTStream:
    """Connect a live source: from now on VideoDB ingests it, and bills, until `stop_rtstream`.

    Not repeated after its answer was lost: that could make two streams. `ensure_rtstream` looks first.

    Args:
        credentials: the account.
        url: the source, `rtsp://` or `rtmp://`; never logged. In a password # is written as %23, / as %2F, @ as %40.
        name: what the stream is called. Names are not unique.
        collection_id: the collection that it belongs to.
        media_types: what to ingest; without audio no spoken word can be found later.
        sample_rate: left to the service when None.
        store: keep the recording; without it there is nothing to export.
        enable_transcript: transcribe while it runs.
        ws_connection_id: where its events are sent, from `connect_websocket`.

    Raises:
        ConfigurationError: the URL cannot be used; the message says what to write instead.
        OutOfCredits: top up first.
        AnswerLost: the stream may be there: look for its name.

    Source: POST /rtstream
    """
    call = streams.connect(
        read(plain(url), SOURCE).text,
        name,
        collection_id=collection_id,
        media_types=media_types,
        sample_rate=sample_rate,
        store=store,
        enable_transcript=enable_transcript,
        ws_connection_id=ws_connection_id,
    )
    return credentials.get_client().send(call)


@task(task_run_name="ensure-rtstream", **OPERATION)
def ensure_rtstream(
    credentials: VideoDBCredentials, source: RTStreamSource, name: str, collection_id: str = "default"
) -> RTStream:
    """Adopt the stream of exactly this name, or connect one. Repeated, it makes no second one.

    Give a name that nothing else uses. Where there are several, the first made is adopted and the others are stopped.

    Args:
        credentials: the account.
        source: what to connect.
        name: the stream's name, unique to whoever calls.
        collection_id: the collection that a new stream belongs to.

    Source: GET /rtstream, POST /rtstream
    """
    call = connect_call(source, name, collection_id)
    client = credentials.get_client()
    return adopted_or_created(lambda: _adopt(client, name), lambda: client.send(call))


def connect_call(source: RTStreamSource, name: str, collection_id: str) -> Call[RTStream]:
    """Return the call that connects a source."""
    return streams.connect(
        source.url.get_secret_value(),
        name,
        collection_id=collection_id,
        media_types=source.media_types,
        sample_rate=source.sample_rate,
        store=source.store,
        enable_transcript=source.enable_transcript or None,
    )


def _adopt(client: Client, name: str) -> RTStream | None:
    same = [stream for stream in find_streams(client, name) if stream.name == name]
    same.sort(key=made_at)
    for other in same[1:]:
        if other.status != STOPPED:
            client.send(streams.stop(other.id))
    if not same:
        return None
    get_logger().info("Adopting stream %s (%s)", same[0].id, same[0].status)
    return same[0]


def made_at(stream: RTStream) -> tuple[str, str]:
    """Give what streams are ordered by: of several that one caller made, the first counts."""
    return stream.created_at or "", stream.id


def find_streams(client: Client, name_holds: str) -> list[RTStream]:
    """Give all streams whose name holds this text, whatever page they are on."""
    return [stream for stream in all_streams(client, name=name_holds) if name_holds in (stream.name or "")]


def all_streams(client: Client, *, status: str | None = None, name: str | None = None) -> list[RTStream]:
    """Give all streams of the account, whatever page they are on."""
    pages = streams.EveryPage(status=status, name=name)
    # Streams that start or stop meanwhile move between the pages, so that one may come twice.
    return list(
        {stream.id: stream for page in client.follow(pages.first, pages.following) for stream in page.results}.values()
    )


@task(task_run_name=RunName("get-{rtstream_id}"), **OPERATION)
def get_rtstream(credentials: VideoDBCredentials, rtstream_id: str) -> RTStream:
    """Read a stream.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`.

    Raises:
        NotFound: there is no such stream.

    Source: GET /rtstream/{id}
    """
    return credentials.get_client().send(streams.get(rtstream_id))


@task(task_run_name="list-rtstreams", **OPERATION)
def list_rtstreams(
    credentials: VideoDBCredentials,
    limit: int | None = None,
    offset: int | None = None,
    status: str | None = None,
    name: str | None = None,
    ordering: str | None = None,
) -> list[RTStream]:
    """Read one page of the account's streams, whatever collection they belong to.

    Args:
        credentials: the account.
        limit: how many at most; the service gives 10 unless told.
        offset: how many to skip.
        status: only those of this status.
        name: only those whose name holds this.
        ordering: the field to order by.

    Source: GET /rtstream
    """
    call = streams.list_page(limit=limit, offset=offset, status=status, name=name, ordering=ordering)
    return credentials.get_client().send(call).results


@task(task_run_name="list-all-rtstreams", **OPERATION)
def list_all_rtstreams(
    credentials: VideoDBCredentials, status: str | None = None, name: str | None = None
) -> list[RTStream]:
    """Read all of the account's streams, whatever page they are on.

    Args:
        credentials: the account.
        status: only those of this status.
        name: only those whose name holds this.

    Source: GET /rtstream
    """
    return all_streams(credentials.get_client(), status=status, name=name)


@task(task_run_name=RunName("update-{rtstream_id}"), **OPERATION)
def update_rtstream(
    credentials: VideoDBCredentials, rtstream_id: str, name: str | None = None, sample_rate: int | None = None
) -> RTStream:
    """Change a stream's name or sample rate; what is None stays as it is.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`.
        name: what it is called from now on.
        sample_rate: its sample rate from now on.

    Source: PATCH /rtstream/{id}
    """
    return credentials.get_client().send(streams.update(rtstream_id, name=name, sample_rate=sample_rate))


@task(task_run_name=RunName("start-{rtstream_id}"), **OPERATION)
def start_rtstream(credentials: VideoDBCredentials, rtstream_id: str) -> RTStream:
    """Make sure that a stream is connected: a stopped one is started, a connected one is left alone.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`.

    Returns:
        The stream as it is afterwards.

    Source: GET /rtstream/{id}, PATCH /rtstream/{id}/status
    """
    client = credentials.get_client()
    stream = client.send(streams.get(rtstream_id))
    if stream.status == CONNECTED:
        return stream  # connecting starts it, and the service refuses to start it again
    try:
        client.send(streams.start(rtstream_id))
    except InvalidRequest:
        # It may be on its way to being connected, whatever the service calls that.
        if client.send(streams.get(rtstream_id)).status == STOPPED:
            raise
    return client.send(streams.get(rtstream_id))


@task(task_run_name=RunName("stop-{rtstream_id}"), **OPERATION)
def stop_rtstream(credentials: VideoDBCredentials, rtstream_id: str) -> None:
    """Stop a stream: nothing else ends ingesting and billing.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`.

    Source: PATCH /rtstream/{id}/status
    """
    stop(credentials.get_client(), rtstream_id)


def stop(client: Client, rtstream_id: str) -> None:
    """Stop a stream. What stopping a stopped one answers is unknown, so a refusal counts only if it still runs."""
    try:
        client.send(streams.stop(rtstream_id))
    except InvalidRequest:
        if client.send(streams.get(rtstream_id)).status != STOPPED:
            raise


@task(task_run_name=RunName("playback-{rtstream_id}"), **OPERATION)
def generate_rtstream_stream(
    credentials: VideoDBCredentials,
    rtstream_id: str,
    start: int,
    end: int,
    player_title: str | None = None,
    player_description: str | None = None,
    player_slug_prefix: str | None = None,
) -> Playback:
    """Get the links that play a window of a stream.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`.
        start: where the window begins, in unix seconds.
        end: where it ends, in unix seconds.
        player_title: the player page's title.
        player_description: the player page's description.
        player_slug_prefix: how the player page's address begins.

    Source: GET /rtstream/{id}/stream
    """
    call = streams.playback(
        rtstream_id,
        start,
        end,
        player_title=player_title,
        player_description=player_description,
        player_slug_prefix=player_slug_prefix,
    )
    return credentials.get_client().send(call)


@task(task_run_name=RunName("export-{rtstream_id}"), **OPERATION)
def export_rtstream(
    credentials: VideoDBCredentials,
    rtstream_id: str,
    name: str | None = None,
    timeout_s: float = 1800.0,
    settle_s: float = 30.0,
) -> Export:
    """Make a permanent video of the latest completed recording of a stopped stream. Repeated, it gives the same one.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`; stopped, and connected with `store`.
        name: what the video is called.
        timeout_s: how long to wait for it, in seconds.
        settle_s: how long a refusal is asked again, in seconds: right after a stop the recording may not be there yet.

    Raises:
        InvalidRequest: still refused; the stream was not stored, or its source never delivered anything.
        JobUnfinished: it outlived `timeout_s`; the export goes on.

    Source: POST /rtstream/{id}/export
    """
    if settle_s < 0:
        raise ConfigurationError(f"settle_s is a number of seconds, 0 or more; not {settle_s:g}")
    deadline = time.monotonic() + settle_s
    was_refused = False
    client = credentials.get_client()
    while True:
        try:
            return client.send(streams.export(rtstream_id, name=name), polling=polling("Export", timeout_s))
        except InvalidRequest as refusal:
            if time.monotonic() >= deadline:
                raise
            if not was_refused:
                get_logger().info("Not ready to be exported yet, asking for up to %g s: %s", settle_s, refusal)
            was_refused = True
            time.sleep(min(2.0, max(0.1, deadline - time.monotonic())))


@task(task_run_name=RunName("search-{rtstream_id}"), **OPERATION)
def search_rtstream(
    credentials: VideoDBCredentials,
    rtstream_id: str,
    query: str,
    index_id: str | None = None,
    result_threshold: int | None = None,
    score_threshold: float | None = None,
    dynamic_score_percentage: float | None = None,
    filter: Sequence[Mapping[str, Any]] | None = None,  # noqa: A002 - the service's name for it
) -> RTStreamSearchResult:
    """Search the live indexes of a stream.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`; indexed.
        query: what to look for.
        index_id: in this live index only.
        result_threshold: how many hits at most.
        score_threshold: the least score of a hit, 0 to 1.
        dynamic_score_percentage: keep the hits within this share of the best scores.
        filter: conditions on the metadata of scenes.

    Returns:
        The hits; none when nothing was found, which is a result and no error.

    Source: POST /rtstream/{id}/search
    """
    call = streams.search(
        rtstream_id,
        query,
        index_id=index_id,
        result_threshold=result_threshold,
        score_threshold=score_threshold,
        dynamic_score_percentage=dynamic_score_percentage,
        filter=filter,
    )
    try:
        return credentials.get_client().send(call)
    except NothingFound:
        return RTStreamSearchResult()


@task(task_run_name=RunName("search-rtstreams-of-{collection_id}"), **OPERATION)
def search_rtstreams(
    credentials: VideoDBCredentials,
    query: str,
    collection_id: str = "default",
    scene_index_id: str | None = None,
    result_threshold: int | None = None,
    score_threshold: float | None = None,
    dynamic_score_percentage: float | None = None,
    filter: Sequence[Mapping[str, Any]] = (),  # noqa: A002 - the service's name for it
) -> RTStreamSearchResult:
    """Search the live indexes of all streams of a collection: the SDK's search with `namespace="rtstream"`.

    Args:
        credentials: the account.
        query: what to look for.
        collection_id: the collection.
        scene_index_id: in this live index only.
        result_threshold: how many hits at most.
        score_threshold: the least score of a hit, 0 to 1.
        dynamic_score_percentage: keep the hits within this share of the best scores.
        filter: conditions on the metadata of scenes.

    Returns:
        The hits, each with its stream; none when nothing was found, which is a result and no error.

    Source: POST /rtstream/collection/{id}/search
    """
    call = streams.search_collection(
        query,
        collection_id=collection_id,
        scene_index_id=scene_index_id,
        result_threshold=result_threshold,
        score_threshold=score_threshold,
        dynamic_score_percentage=dynamic_score_percentage,
        filter=filter,
    )
    try:
        return credentials.get_client().send(call)
    except NothingFound:
        return RTStreamSearchResult()
