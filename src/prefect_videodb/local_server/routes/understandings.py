"""The newer API on streams: understandings, and the indexes of what they bring."""

import re
from typing import Any, Literal

from pydantic import Field

from prefect_videodb.local_server.calls import Answer, Call, Fields
from prefect_videodb.local_server.errors import BadRequest, Unsupported
from prefect_videodb.local_server.live.analyses import Visuals
from prefect_videodb.local_server.routes.live import Action, Range

SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m)?")
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, None: 1.0}
LONGEST_WINDOW_S = 86_400.0


class Segmentation(Fields):
    """The windows."""

    type: Literal["time"] = "time"
    window: str | float = "10s"


class Sampling(Fields):
    """How many pictures of each window are looked at."""

    frame_count: int = Field(default=1, ge=1, le=1000)


class Analyzer(Fields):
    """What looks at them."""

    type: str
    name: str = Field("scene", min_length=1, max_length=200)
    sampling: Sampling = Sampling()
    config: dict[str, Any] = Field(default_factory=dict)


class Understand(Fields):
    """`POST /rtstream/{id}/understand`."""

    segmentation: Segmentation = Segmentation()
    analyzers: list[Analyzer] = Field(min_length=1, max_length=1)
    store: bool = True
    ws_connection_id: str | None = None


class Source(Fields):
    """One of an understanding's outputs."""

    understanding_id: str
    output: str


class CreateIndex(Fields):
    """`POST /rtstream/{id}/indexes`."""

    source: Source
    name: str | None = Field(None, min_length=1, max_length=1000)
    use_for: list[str] = Field(default=["semantic"], min_length=1, max_length=10)


class RecordPage(Range):
    """`GET …/records`."""

    output: str = "scene"


def understand(call: Call) -> Answer:
    """`POST /rtstream/{id}/understand`: look at a stream, window by window, from now on."""
    fields = call.fields(Understand)
    [analyzer] = fields.analyzers
    if analyzer.type != "vlm":
        raise BadRequest("analyzers: exactly one of type vlm")
    work = Visuals(_window_s(fields.segmentation.window), analyzer.sampling.frame_count)
    stream_id = call.path["rtstream_id"]
    details = {
        "segmentation": fields.segmentation.model_dump(),
        "analyzers": [analyzer.model_dump()],
        "store": fields.store,
    }
    understanding_id = call.state.analyses.create(
        "understanding", stream_id, work, details=details, ws_connection_id=fields.ws_connection_id
    )
    return Answer(call.state.analyses.get("understanding", stream_id, understanding_id))


def list_understandings(call: Call) -> Answer:
    """`GET /rtstream/{id}/understand`: all of a stream."""
    return Answer({"understandings": call.state.analyses.of_stream("understanding", call.path["rtstream_id"])})


def get_understanding(call: Call) -> Answer:
    """`GET /rtstream/{id}/understand/{understanding}`: one of them."""
    return Answer(_understanding(call))


def change_understanding(call: Call) -> Answer:
    """`PATCH /rtstream/{id}/understand/{understanding}/status`: start or stop."""
    analyses, place = call.state.analyses, (call.path["rtstream_id"], call.path["understanding_id"])
    match call.fields(Action).action:
        case "start":
            return Answer(analyses.start("understanding", *place))
        case "stop":
            return Answer(analyses.stop("understanding", *place))


def list_understanding_records(call: Call) -> Answer:
    """`GET /rtstream/{id}/understand/{understanding}/records`: one page of what was understood."""
    page = call.parameters(RecordPage)
    understanding = _understanding(call)
    if page.output not in understanding["outputs"]:
        raise BadRequest(f"output must be one of {', '.join(understanding['outputs'])}")
    return _records(call, understanding["understanding_id"], page)


def create_index(call: Call) -> Answer:
    """`POST /rtstream/{id}/indexes`: index what an understanding brings."""
    fields = call.fields(CreateIndex)
    if set(fields.use_for) != {"semantic"}:
        raise Unsupported("use_for must be ['semantic'] on the local server")
    index = call.state.analyses.create_index(
        call.path["rtstream_id"],
        fields.source.understanding_id,
        fields.source.output,
        name=fields.name,
        use_for=fields.use_for,
    )
    return Answer(index)


def list_indexes(call: Call) -> Answer:
    """`GET /rtstream/{id}/indexes`: all of a stream."""
    return Answer({"indexes": call.state.analyses.indexes(call.path["rtstream_id"])})


def get_index(call: Call) -> Answer:
    """`GET /rtstream/{id}/indexes/{index}`: one of them."""
    return Answer(call.state.analyses.get_index(call.path["rtstream_id"], call.path["index_id"]))


def change_index(call: Call) -> Answer:
    """`PATCH /rtstream/{id}/indexes/{index}/status`: start or stop."""
    status: Literal["running", "stopped"] = "running" if call.fields(Action).action == "start" else "stopped"
    return Answer(call.state.analyses.set_index_status(call.path["rtstream_id"], call.path["index_id"], status))


def list_index_records(call: Call) -> Answer:
    """`GET /rtstream/{id}/indexes/{index}/records`: one page of what is indexed."""
    index = call.state.analyses.get_index(call.path["rtstream_id"], call.path["index_id"])
    return _records(call, index["index_id"], call.parameters(RecordPage))


def _records(call: Call, index_id: str, page: RecordPage) -> Answer:
    records, more = call.state.records.page(
        index_id, start=page.start, end=page.end, page=page.page, page_size=page.page_size
    )
    return Answer({"records": [{**record, "data": record.pop("metadata")} for record in records], "next_page": more})


def _understanding(call: Call) -> dict[str, Any]:
    return call.state.analyses.get("understanding", call.path["rtstream_id"], call.path["understanding_id"])


def _window_s(window: str | float) -> float:
    """Read a span: `10s`, `500ms`, `2m`, or seconds."""
    parts = SPAN.fullmatch(str(window).strip())
    seconds = float(parts[1]) * SECONDS[parts[2]] if parts else 0.0
    if not 0 < seconds <= LONGEST_WINDOW_S:
        raise BadRequest("segmentation.window must be a span like 10s")
    return seconds


OPERATIONS = {
    ("POST", "/rtstream/{rtstream_id}/understand"): understand,
    ("GET", "/rtstream/{rtstream_id}/understand"): list_understandings,
    ("GET", "/rtstream/{rtstream_id}/understand/{understanding_id}"): get_understanding,
    ("PATCH", "/rtstream/{rtstream_id}/understand/{understanding_id}/status"): change_understanding,
    ("GET", "/rtstream/{rtstream_id}/understand/{understanding_id}/records"): list_understanding_records,
    ("POST", "/rtstream/{rtstream_id}/indexes"): create_index,
    ("GET", "/rtstream/{rtstream_id}/indexes"): list_indexes,
    ("GET", "/rtstream/{rtstream_id}/indexes/{index_id}"): get_index,
    ("PATCH", "/rtstream/{rtstream_id}/indexes/{index_id}/status"): change_index,
    ("GET", "/rtstream/{rtstream_id}/indexes/{index_id}/records"): list_index_records,
}
