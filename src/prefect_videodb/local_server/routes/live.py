"""What is made of a stream while it runs: scene indexes, events, alerts, transcripts, and the search in all of it."""

from typing import Annotated, Any, Literal

from pydantic import Field

from prefect_videodb.local_server.calls import Answer, Call, CallbackUrl, Fields, Parameters
from prefect_videodb.local_server.errors import BadRequest, NotFound, Unsupported
from prefect_videodb.local_server.live.analyses import Audio, Visuals
from prefect_videodb.local_server.routes.streams import Moment
from prefect_videodb.local_server.search import search
from prefect_videodb.local_server.speech import Sentence

# Chosen here where a caller leaves them out.
VISUALS = Visuals(10.0, 1)
AUDIO = Audio("word", 10)
SCORE_THRESHOLD = 0.2
RESULT_THRESHOLD = 5

Text = Annotated[str, Field(min_length=1, max_length=10_000)]
Name = Annotated[str, Field(max_length=1000)]
Positive = Annotated[float, Field(gt=0, le=86_400)]


class VisualsConfig(Fields):
    """`extraction_config` of type `time`."""

    time: Positive = VISUALS.window_s
    frame_count: int = Field(VISUALS.frame_count, ge=1, le=1000)


class AudioConfig(Fields):
    """`extraction_config` of type `transcript`."""

    segmenter: Literal["word", "sentence", "time"] = AUDIO.segmenter
    segmentation_value: Positive = AUDIO.value


class CreateIndex(Fields):
    """`POST /rtstream/{id}/index/scene`."""

    extraction_type: str | None = None
    extraction_config: dict[str, Any] | None = None
    prompt: str | None = Field(None, max_length=10_000)
    ai_model: str | None = Field(None, alias="model_name", max_length=100)
    name: Name | None = None
    ws_connection_id: str | None = None
    sandbox_id: str | None = None


class ChangePrompt(Fields):
    """`PATCH /rtstream/{id}/index/scene/{index}`."""

    prompt: str = Field(min_length=1, max_length=10_000)


class Action(Fields):
    """`PATCH …/status` of what runs."""

    action: Literal["start", "stop"]


class Range(Parameters):
    """A page of records, of a range or of all."""

    start: Moment | None = None
    end: Moment | None = None
    page: int = Field(1, ge=1, le=2**31)
    page_size: int = Field(100, ge=1, le=1000)


class CreateEvent(Fields):
    """`POST /rtstream/event`."""

    event_prompt: Text
    label: Annotated[str, Field(min_length=1, max_length=1000)]


class CreateAlert(Fields):
    """`POST …/alert`."""

    event_id: str
    callback_url: CallbackUrl
    ws_connection_id: str | None = None


class AlertAction(Fields):
    """`PATCH …/alert/{id}/status`: the SDK sends an action, the documentation a status."""

    action: Literal["enable", "disable"] | None = None
    status: Literal["enabled", "disabled"] | None = None


class TranscriptAction(Fields):
    """`POST /rtstream/{id}/transcription`."""

    action: Literal["start", "stop"]
    engine: str | None = None
    ws_connection_id: str | None = None


class TranscriptPage(Range):
    """`GET /rtstream/{id}/transcription`."""

    engine: str | None = None
    since: Moment | None = None


class Search(Fields):
    """`POST /rtstream/{id}/search`, and of all streams of a collection."""

    query: Text
    scene_index_id: str | None = None
    result_threshold: int | None = Field(None, ge=1, le=10_000)
    score_threshold: float | None = None
    filter: list[dict[str, Any]] | None = None


# --- scene indexes ----------------------------------------------------------------------------------------------------


def create_index(call: Call) -> Answer:
    """`POST /rtstream/{id}/index/scene`: look at or listen to a stream from now on."""
    fields = call.fields(CreateIndex)
    config = fields.extraction_config or {}
    work: Visuals | Audio
    match fields.extraction_type:
        case "time" | "time_based" | None:  # the Python SDK's word, the Node SDK's, and none with its defaults
            visuals = call.valid(VisualsConfig, config)
            work = Visuals(visuals.time, visuals.frame_count)
        case "transcript":
            audio = call.valid(AudioConfig, config)
            work = Audio(audio.segmenter, audio.segmentation_value)
        case "shot" | "shot_based":
            raise BadRequest(
                "extraction_type shot is for videos: a live stream has no end to look for shots in; use time, as the "
                "service asks for"
            )
        case _:
            raise BadRequest("extraction_type must be time (what is seen) or transcript (what is said)")
    stream_id = call.path["rtstream_id"]
    details = {"prompt": fields.prompt, "name": fields.name, "sandbox_id": fields.sandbox_id}
    index_id = call.state.analyses.create(
        "scene_index", stream_id, work, details=details, ws_connection_id=fields.ws_connection_id
    )
    return Answer(call.state.analyses.get("scene_index", stream_id, index_id))


def list_indexes(call: Call) -> Answer:
    """`GET /rtstream/{id}/index/scene`: all of a stream."""
    return Answer({"scene_indexes": call.state.analyses.of_stream("scene_index", call.path["rtstream_id"])})


def get_index(call: Call) -> Answer:
    """`GET /rtstream/{id}/index/{index}`: one of them."""
    return Answer(_index(call))


def list_scenes(call: Call) -> Answer:
    """`GET /rtstream/{id}/index/scene/{index}`: one page of what an index says, the newest first."""
    page = call.parameters(Range)
    start, end = (page.start, page.end) if page.start is not None and page.end is not None else (None, None)
    index = _index(call)
    records, more = call.state.records.page(
        index["rtstream_index_id"], start=start, end=end, page=page.page, page_size=page.page_size
    )
    scenes = [
        {
            "start": record["start"],
            "end": record["end"],
            "description": record["text"],
            "text": record["text"],  # as the vendor's reference reads it
            "metadata": record["metadata"],
        }
        for record in records
    ]
    return Answer({"scene_index_records": scenes, "next_page": more})


def change_prompt(call: Call) -> Answer:
    """`PATCH /rtstream/{id}/index/scene/{index}`: another prompt."""
    prompt = call.fields(ChangePrompt).prompt
    index = call.state.analyses.set_prompt(call.path["rtstream_id"], call.path["index_id"], prompt)
    return Answer({**index, "success": True})  # the Node SDK looks for `success` beside the index


def change_index(call: Call) -> Answer:
    """`PATCH /rtstream/{id}/index/scene/{index}/status`: start or stop."""
    analyses, place = call.state.analyses, (call.path["rtstream_id"], call.path["index_id"])
    match call.fields(Action).action:
        case "start":
            return Answer(analyses.start("scene_index", *place))
        case "stop":
            return Answer(analyses.stop("scene_index", *place))


def _index(call: Call) -> dict[str, Any]:
    return call.state.analyses.get("scene_index", call.path["rtstream_id"], call.path["index_id"])


# --- events and alerts ------------------------------------------------------------------------------------------------


def create_event(call: Call) -> Answer:
    """`POST /rtstream/event`: say in words what to watch for."""
    fields = call.fields(CreateEvent)
    return Answer({"event_id": call.state.alerts.create_event(fields.event_prompt, fields.label)})


def list_events(call: Call) -> Answer:
    """`GET /rtstream/event`: all events."""
    return Answer({"events": call.state.alerts.events()})


class AlertOperations:
    """The alerts of one kind of index: the API keeps both under roots of their own."""

    def __init__(self, kind: Literal["index", "indexes"]) -> None:
        self._kind = kind

    def create(self, call: Call) -> Answer:
        """`POST …/alert`: watch an index for an event."""
        fields = call.fields(CreateAlert)
        alert_id = call.state.alerts.create(
            self._index_id(call),
            event_id=fields.event_id,
            callback_url=fields.callback_url or "",
            ws_connection_id=fields.ws_connection_id,
            base_url=call.base_url,
        )
        return Answer({"alert_id": alert_id})

    def list_all(self, call: Call) -> Answer:
        """`GET …/alert`: all of an index."""
        return Answer({"alerts": call.state.alerts.of_index(self._index_id(call))})

    def change(self, call: Call) -> Answer:
        """`PATCH …/alert/{id}/status`: enable or disable."""
        fields = call.fields(AlertAction)
        status = {"enable": "enabled", "disable": "disabled"}.get(fields.action or "", fields.status)
        match status:
            case "enabled" | "disabled":
                call.state.alerts.set_status(self._index_id(call), call.path["alert_id"], status)
            case _:
                raise BadRequest("action must be enable or disable")
        return Answer({"alert_id": call.path["alert_id"], "status": status})

    def _index_id(self, call: Call) -> str:
        stream_id, index_id = call.path["rtstream_id"], call.path["index_id"]
        if self._kind == "index":
            call.state.analyses.get("scene_index", stream_id, index_id)
        else:
            call.state.analyses.get_index(stream_id, index_id)
        return index_id


# --- transcripts ------------------------------------------------------------------------------------------------------


def change_transcript(call: Call) -> Answer:
    """`POST /rtstream/{id}/transcription`: transcribe from now on, or no more."""
    fields = call.fields(TranscriptAction)
    transcriptions, stream_id = call.state.transcriptions, call.path["rtstream_id"]
    match fields.action:
        case "start":
            return Answer(transcriptions.start(stream_id, ws_connection_id=fields.ws_connection_id))
        case "stop":
            return Answer(transcriptions.stop(stream_id))


def transcript_status(call: Call) -> Answer:
    """`GET /rtstream/{id}/transcription/status`: whether a stream is transcribed."""
    return Answer(call.state.transcriptions.status(call.path["rtstream_id"]))


def list_transcript(call: Call) -> Answer:
    """`GET /rtstream/{id}/transcription`: one page of what was said."""
    page = call.parameters(TranscriptPage)
    records, count = call.state.transcriptions.page(
        call.path["rtstream_id"],
        start=page.start,
        end=page.end,
        since=page.since,
        page=page.page,
        page_size=page.page_size,
    )
    return Answer(
        {
            "transcription_records": records,
            "next_page": page.page * page.page_size < count,
            "total_count": count,
            "page": page.page,
            "page_size": page.page_size,
        }
    )


# --- search -----------------------------------------------------------------------------------------------------------


def search_stream(call: Call) -> Answer:
    """`POST /rtstream/{id}/search`: what the indexes of a stream say about a query."""
    stream = call.state.streams.get(call.path["rtstream_id"])
    return _search(call, [stream])


def search_collection(call: Call) -> Answer:
    """`POST /rtstream/collection/{id}/search`: the same, of all streams of a collection."""
    collection = call.state.library.get(call.path["collection_id"])
    return _search(call, call.state.streams.of_collection(collection["id"]))


def _search(call: Call, streams: list[dict[str, Any]]) -> Answer:
    fields = call.fields(Search)
    if fields.filter:
        raise Unsupported("filter is not supported by the local server: it asks for what a model has put into metadata")
    least = SCORE_THRESHOLD if fields.score_threshold is None else fields.score_threshold
    found: list[dict[str, Any]] = []
    known = False
    for stream in streams:
        indexes = {
            **{
                index["rtstream_index_id"]: index
                for index in call.state.analyses.of_stream("scene_index", stream["id"])
            },
            **{index["index_id"]: index for index in call.state.analyses.indexes(stream["id"])},
        }
        for index_id, index in indexes.items():
            if fields.scene_index_id not in {None, index_id}:
                continue
            known = True
            records = call.state.records.all(index_id)
            sentences = [Sentence(record["text"], record["start"], record["end"]) for record in records]
            found += [
                {
                    "start": hit.sentence.start_s,
                    "end": hit.sentence.end_s,
                    "text": hit.sentence.text,
                    "score": hit.score,
                    "scene_index_id": index_id,
                    "scene_index_name": index["name"],
                    "metadata": {},
                    "rtstream_id": stream["id"],
                    "rtstream_name": stream["name"],
                }
                for hit in search(sentences, fields.query, "semantic")
                if hit.score >= least
            ]
    if fields.scene_index_id is not None and not known:
        raise NotFound(f"Index with id {fields.scene_index_id} not found")
    found.sort(key=lambda hit: -hit["score"])
    return Answer({"results": found[: fields.result_threshold or RESULT_THRESHOLD]})


def websocket(call: Call) -> Answer:
    """`GET /collection/{id}/websocket`: where to connect."""
    call.state.library.get(call.path["collection_id"])
    return Answer({"websocket_url": call.base_url.replace("http", "ws", 1) + call.state.hub.path()})


INDEX_ALERTS, INDEXES_ALERTS = AlertOperations("index"), AlertOperations("indexes")
OPERATIONS = {
    ("POST", "/rtstream/{rtstream_id}/index/scene"): create_index,
    ("GET", "/rtstream/{rtstream_id}/index/scene"): list_indexes,
    ("GET", "/rtstream/{rtstream_id}/index/{index_id}"): get_index,
    ("GET", "/rtstream/{rtstream_id}/index/scene/{index_id}"): list_scenes,
    ("PATCH", "/rtstream/{rtstream_id}/index/scene/{index_id}"): change_prompt,
    ("PATCH", "/rtstream/{rtstream_id}/index/scene/{index_id}/status"): change_index,
    ("POST", "/rtstream/event"): create_event,
    ("GET", "/rtstream/event"): list_events,
    ("POST", "/rtstream/{rtstream_id}/index/{index_id}/alert"): INDEX_ALERTS.create,
    ("GET", "/rtstream/{rtstream_id}/index/{index_id}/alert"): INDEX_ALERTS.list_all,
    ("PATCH", "/rtstream/{rtstream_id}/index/{index_id}/alert/{alert_id}/status"): INDEX_ALERTS.change,
    ("POST", "/rtstream/{rtstream_id}/indexes/{index_id}/alert"): INDEXES_ALERTS.create,
    ("GET", "/rtstream/{rtstream_id}/indexes/{index_id}/alert"): INDEXES_ALERTS.list_all,
    ("PATCH", "/rtstream/{rtstream_id}/indexes/{index_id}/alert/{alert_id}/status"): INDEXES_ALERTS.change,
    ("POST", "/rtstream/{rtstream_id}/transcription"): change_transcript,
    ("GET", "/rtstream/{rtstream_id}/transcription"): list_transcript,
    ("GET", "/rtstream/{rtstream_id}/transcription/status"): transcript_status,
    ("POST", "/rtstream/{rtstream_id}/search"): search_stream,
    ("POST", "/rtstream/collection/{collection_id}/search"): search_collection,
    ("GET", "/collection/{collection_id}/websocket"): websocket,
}
