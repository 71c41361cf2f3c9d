"""Videos and sound recordings: look, index, search, transcribe, cut, download."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from prefect_videodb.local_server.calls import Answer, Call, CallbackUrl, Fields, Parameters
from prefect_videodb.local_server.clips import Shot
from prefect_videodb.local_server.errors import BadRequest, Unsupported
from prefect_videodb.local_server.transcripts import transcription
from prefect_videodb.local_server.videos import Kind, Video

Seconds = Annotated[float, Field(ge=0, le=10_000_000)]
# JSON of a shot may hold whole numbers.
Pair = Annotated[list[Seconds], Field(min_length=2, max_length=2)]


class Page(Parameters):
    """`GET /video`."""

    collection_id: str | None = None
    page_index: int = Field(0, ge=0, le=2**31)
    count: int = Field(50, ge=1, le=5000)


class IndexFields(Fields):
    """`POST /video/{id}/index`."""

    index_type: Literal["spoken_word", "scene"] = "spoken_word"
    language_code: str | None = Field(None, max_length=50)
    segmentation_type: str | None = None
    force: bool | None = None
    callback_url: CallbackUrl = None


class IndexParameters(Parameters):
    """`GET /video/{id}/index`."""

    index_type: Literal["spoken_word", "scene"]


class TranscriptionParameters(Parameters):
    """`GET /video/{id}/transcription`."""

    segmenter: Literal["word", "sentence", "time"] = "word"
    length: int = Field(1, ge=1, le=1_000_000)
    start: Seconds | None = None
    end: float | None = None
    force: bool = False


class TranscriptionFields(Fields):
    """`POST /video/{id}/transcription`."""

    force: bool | None = None
    language_code: str | None = Field(None, max_length=50)
    callback_url: CallbackUrl = None


class StreamFields(Fields):
    """`POST /video/{id}/stream`."""

    timeline: list[Pair] | None = None


class CompileEntry(Fields):
    """One entry of `POST /compile`."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, hide_input_in_errors=True, strict=True)

    video_id: str
    shots: list[Pair] = Field(min_length=1)


class DownloadFields(Fields):
    """`POST /download`."""

    stream_link: str = Field(min_length=1, max_length=10_000)
    name: str | None = Field(None, max_length=1000)


COMPILE = TypeAdapter(list[CompileEntry])


class Operations:
    """The operations on one kind: the API keeps videos and sound recordings apart, under two roots."""

    def __init__(self, kind: Kind) -> None:
        self._kind: Kind = kind

    def list_page(self, call: Call) -> Answer:
        """`GET /video`: one page, the newest first."""
        page = call.parameters(Page)
        videos = call.state.videos.page(
            self._kind, collection_id=page.collection_id, limit=page.count, offset=page.page_index * page.count
        )
        return Answer({f"{self._kind}s": [call.state.videos.described(video) for video in videos]})

    def get(self, call: Call) -> Answer:
        """`GET /video/{id}`: one of them."""
        return Answer(call.state.videos.described(self._video(call)))

    def delete(self, call: Call) -> Answer:
        """`DELETE /video/{id}`: remove it with all that was made of it but the clips."""
        call.state.videos.delete(call.path["video_id"], self._kind)
        return Answer(envelope={"message": f"{self._kind.capitalize()} deleted"})

    def read_transcription(self, call: Call) -> Answer:
        """`GET /video/{id}/transcription`: what is said."""
        parameters = call.parameters(TranscriptionParameters)
        video = self._video(call)
        transcripts = call.state.transcripts
        if parameters.force and not transcripts.exists(video):
            return call.job(transcripts.generate(video, language_code=None, force=False))
        # The service's own default, -1, means up to the end.
        end_s = None if parameters.end is None or parameters.end < 0 else parameters.end
        start_s = parameters.start or 0.0
        if end_s is not None and end_s < start_s:
            raise BadRequest("end must not be before start")
        return Answer(
            transcription(
                transcripts,
                video,
                segmenter=parameters.segmenter,
                length=parameters.length,
                start_s=start_s,
                end_s=end_s,
            )
        )

    def transcribe(self, call: Call) -> Answer:
        """`POST /video/{id}/transcription`: listen to it."""
        fields = call.fields(TranscriptionFields)
        job_id = call.state.transcripts.generate(
            self._video(call), language_code=fields.language_code, force=bool(fields.force)
        )
        return call.job(job_id, callback_url=fields.callback_url)

    def _video(self, call: Call) -> Video:
        return call.state.videos.get(call.path["video_id"], self._kind)


def make_index(call: Call) -> Answer:
    """`POST /video/{id}/index`: make the spoken words searchable."""
    fields = call.fields(IndexFields)
    video = call.state.videos.get(call.path["video_id"], "video")
    _only_spoken_words(fields.index_type)
    if fields.segmentation_type not in {None, "sentence"}:
        raise Unsupported("segmentation_type must be sentence: the local server has no language model for others")
    job_id = call.state.transcripts.index(video, language_code=fields.language_code, force=bool(fields.force))
    return call.job(job_id, callback_url=fields.callback_url)


def read_index(call: Call) -> Answer:
    """`GET /video/{id}/index`: how far the index is."""
    parameters = call.parameters(IndexParameters)
    video = call.state.videos.get(call.path["video_id"], "video")
    _only_spoken_words(parameters.index_type)
    status, message = call.state.transcripts.index_status(video)
    return Answer(envelope={"status": status, "message": message})


def stream(call: Call) -> Answer:
    """`POST /video/{id}/stream`: links that play some parts of a video, or all of it."""
    fields = call.fields(StreamFields)
    video = call.state.videos.get(call.path["video_id"], "video")
    if not fields.timeline:
        return Answer({"stream_url": video.stream_path, "player_url": call.state.videos.player_path(video)})
    shots = [Shot(video.id, start, end) for start, end in fields.timeline]
    return call.job(call.state.clips.compile(shots, title=video.name))


def compile_shots(call: Call) -> Answer:
    """`POST /compile`: one clip of shots of several videos."""
    entries = call.body(COMPILE)
    shots = [Shot(entry.video_id, start, end) for entry in entries for start, end in entry.shots]
    title = call.state.videos.get(shots[0].video_id, "video").name if shots else ""
    return call.job(call.state.clips.compile(shots, title=f"Clip of {title}"))


def download(call: Call) -> Answer:
    """`POST /download`: one file of what a link of this server plays."""
    fields = call.fields(DownloadFields)
    return call.job(call.state.clips.download(fields.stream_link, fields.name or "video"))


def read_download(call: Call) -> Answer:
    """`GET /download/{id}`: how far a download is, and where its file."""
    return Answer(call.state.clips.get_download(call.path["download_id"]))


def _only_spoken_words(index_type: str) -> None:
    if index_type != "spoken_word":
        raise Unsupported("Scenes are indexed at /video/{id}/index/scene; this is for index_type spoken_word")


VIDEO = Operations("video")
AUDIO = Operations("audio")
OPERATIONS = {
    ("GET", "/video"): VIDEO.list_page,
    ("GET", "/video/{video_id}"): VIDEO.get,
    ("DELETE", "/video/{video_id}"): VIDEO.delete,
    ("GET", "/video/{video_id}/transcription"): VIDEO.read_transcription,
    ("POST", "/video/{video_id}/transcription"): VIDEO.transcribe,
    ("GET", "/audio"): AUDIO.list_page,
    ("GET", "/audio/{video_id}"): AUDIO.get,
    ("DELETE", "/audio/{video_id}"): AUDIO.delete,
    ("GET", "/audio/{video_id}/transcription"): AUDIO.read_transcription,
    ("POST", "/audio/{video_id}/transcription"): AUDIO.transcribe,
    ("POST", "/video/{video_id}/index"): make_index,
    ("GET", "/video/{video_id}/index"): read_index,
    ("POST", "/video/{video_id}/stream"): stream,
    ("POST", "/compile"): compile_shots,
    ("POST", "/download"): download,
    ("GET", "/download/{download_id}"): read_download,
}
