"""Live streams: connect, look, start, stop, play, export."""

from typing import Annotated, Literal
from urllib.parse import urlencode

from pydantic import Field

from prefect_videodb.local_server.calls import Answer, Call, Fields, Parameters
from prefect_videodb.local_server.library import DEFAULT_COLLECTION
from prefect_videodb.local_server.media.segments import MediaType

# The year 2286: a moment after it is no moment but milliseconds taken for seconds.
LAST_MOMENT = 10_000_000_000
Moment = Annotated[float, Field(ge=0, le=LAST_MOMENT)]
Name = Annotated[str, Field(min_length=1, max_length=1000)]


class Connect(Fields):
    """`POST /rtstream`."""

    url: str = Field(min_length=1, max_length=10_000)
    name: Name | None = None
    collection_id: str = DEFAULT_COLLECTION
    media_types: list[MediaType] = Field(default=["video"], min_length=1, max_length=10)
    sample_rate: int | None = Field(None, ge=1, le=1000)
    store: bool | None = None
    enable_transcript: bool | None = None
    ws_connection_id: str | None = None


class Page(Parameters):
    """`GET /rtstream`."""

    limit: int = Field(10, ge=1, le=1000)
    offset: int = Field(0, ge=0, le=2**53)
    status: str | None = None
    name: str | None = None
    ordering: str | None = None


class Update(Fields):
    """`PATCH /rtstream/{id}`."""

    name: Name | None = None
    sample_rate: int | None = Field(None, ge=1, le=1000)


class Action(Fields):
    """`PATCH /rtstream/{id}/status`."""

    action: Literal["start", "stop"]


class Window(Parameters):
    """`GET /rtstream/{id}/stream`."""

    start: Moment
    end: Moment
    player_title: str | None = Field(None, max_length=1000)
    player_description: str = Field("", max_length=10_000)
    player_slug_prefix: str = Field("", max_length=1000)


class Export(Fields):
    """`POST /rtstream/{id}/export`."""

    name: Name | None = None


def connect(call: Call) -> Answer:
    """`POST /rtstream`: create a stream and begin to record."""
    fields = call.fields(Connect)
    call.state.library.get(fields.collection_id)
    stream = call.state.streams.connect(
        url=fields.url,
        name=fields.name or "Untitled stream",
        collection_id=fields.collection_id,
        media_types=fields.media_types,
        store=bool(fields.store),
        sample_rate=fields.sample_rate,
    )
    if fields.enable_transcript and "audio" in fields.media_types:  # of pictures alone there is nothing to transcribe
        call.state.transcriptions.start(stream["id"], ws_connection_id=fields.ws_connection_id)
    return Answer(stream, 201)


def get(call: Call) -> Answer:
    """`GET /rtstream/{id}`: one stream."""
    return Answer(call.state.streams.get(call.path["rtstream_id"]))


def list_page(call: Call) -> Answer:
    """`GET /rtstream`: one page of the account's streams."""
    page = call.parameters(Page)
    results, count = call.state.streams.page(
        limit=page.limit, offset=page.offset, status=page.status, name=page.name, ordering=page.ordering
    )
    after, before = page.offset + page.limit, max(0, page.offset - page.limit)
    return Answer(
        {
            "results": results,
            "count": count,
            "next": _link(page, after) if after < count else None,
            "previous": _link(page, before) if page.offset else None,
        }
    )


def update(call: Call) -> Answer:
    """`PATCH /rtstream/{id}`: another name or sample rate."""
    fields = call.fields(Update)
    return Answer(call.state.streams.update(call.path["rtstream_id"], name=fields.name, sample_rate=fields.sample_rate))


def change(call: Call) -> Answer:
    """`PATCH /rtstream/{id}/status`: start or stop."""
    streams, stream_id = call.state.streams, call.path["rtstream_id"]
    match call.fields(Action).action:
        case "start":
            return Answer(streams.start(stream_id))
        case "stop":
            return Answer(streams.stop(stream_id))


def play(call: Call) -> Answer:
    """`GET /rtstream/{id}/stream`: links that play a window."""
    window = call.parameters(Window)
    # The SDKs cut both ends of a hit to whole seconds: what lies within one second is played for one.
    end = window.start + 1 if window.end == window.start else window.end
    stream_path, name = call.state.streams.playback(call.path["rtstream_id"], window.start, end)
    player_path = call.state.pages.path(
        stream_path,
        title=window.player_title or name,
        description=window.player_description,
        slug_prefix=window.player_slug_prefix,
    )
    return Answer({"stream_url": stream_path, "player_url": player_path})


def export(call: Call) -> Answer:
    """`POST /rtstream/{id}/export`: make a video of the latest finished recording."""
    fields = call.fields(Export)
    recording = call.state.streams.latest_recording(call.path["rtstream_id"])
    return call.job(call.state.videos.export(recording, fields.name))


def _link(page: Page, offset: int) -> str:
    return "/rtstream/?" + urlencode({**page.model_dump(exclude_none=True), "offset": offset})


OPERATIONS = {
    ("POST", "/rtstream"): connect,
    ("GET", "/rtstream"): list_page,
    ("GET", "/rtstream/{rtstream_id}"): get,
    ("PATCH", "/rtstream/{rtstream_id}"): update,
    ("PATCH", "/rtstream/{rtstream_id}/status"): change,
    ("GET", "/rtstream/{rtstream_id}/stream"): play,
    ("POST", "/rtstream/{rtstream_id}/export"): export,
}
