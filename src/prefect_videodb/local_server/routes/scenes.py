"""What is seen in videos: scene indexes, pictures, and clips by what is asked for."""

from typing import Any, Literal

from pydantic import Field

from prefect_videodb.local_server.calls import Answer, Call, CallbackUrl, Fields
from prefect_videodb.local_server.errors import BadRequest, Unsupported
from prefect_videodb.local_server.routes.searching import docs_of, found
from prefect_videodb.local_server.search import search
from prefect_videodb.local_server.speech import Sentence
from prefect_videodb.local_server.videos import Video

SCENE_S = 10.0


class Config(Fields):
    """`extraction_config`."""

    time: float | None = Field(default=None, gt=0, le=86_400)
    frame_count: int | None = Field(default=None, ge=1, le=100)


class IndexScenes(Fields):
    """`POST /video/{id}/index/scene`."""

    extraction_type: str | None = None
    extraction_config: Config | None = None
    name: str | None = Field(None, max_length=1000)
    scenes: list[dict[str, Any]] | None = None
    callback_url: CallbackUrl = None


class Thumbnail(Fields):
    """`POST /video/{id}/thumbnail`."""

    time: float = Field(ge=0, le=10_000_000)


class Clip(Fields):
    """`POST /video/{id}/clip`."""

    prompt: str = Field(min_length=1, max_length=10_000)
    content_type: Literal["spoken", "visual", "multimodal"]
    ai_model: str | None = Field(None, alias="model_name")


def index(call: Call) -> Answer:
    """`POST /video/{id}/index/scene`: describe the scenes."""
    fields = call.fields(IndexScenes)
    video = _video(call)
    if fields.scenes:
        raise Unsupported("scenes: the local server describes the scenes that it finds itself, and no others")
    config = fields.extraction_config or Config()
    match fields.extraction_type or "shot":
        case "time" | "shot" as extraction:
            job_id = call.state.scenes.index(
                video,
                extraction=extraction,
                seconds=config.time or SCENE_S,
                frame_count=config.frame_count or 1,
                name=fields.name,
            )
        case "transcript":
            raise Unsupported("extraction_type transcript: index the spoken words instead (index_type spoken_word)")
        case _:
            raise BadRequest("extraction_type must be time or shot")
    return call.job(job_id, callback_url=fields.callback_url)


def list_indexes(call: Call) -> Answer:
    """`GET /video/{id}/index/scene`: all of a video."""
    return Answer({"scene_indexes": call.state.scenes.of_video(_video(call))})


def get_index(call: Call) -> Answer:
    """`GET /video/{id}/index/scene/{index}`: the scenes of one."""
    return Answer({"scene_index_records": call.state.scenes.metadata(_video(call), call.path["index_id"])})


def delete_index(call: Call) -> Answer:
    """`DELETE /video/{id}/index/scene/{index}`: remove one."""
    call.state.scenes.delete(_video(call), call.path["index_id"])
    return Answer(envelope={"message": "Scene index deleted"})


def get_thumbnail(call: Call) -> Answer:
    """`GET /video/{id}/thumbnail`: its first picture."""
    return Answer({"thumbnail_url": call.state.scenes.thumbnail(_video(call), 0.0)["url"]})


def make_thumbnail(call: Call) -> Answer:
    """`POST /video/{id}/thumbnail`: the picture at a time."""
    return Answer(call.state.scenes.thumbnail(_video(call), call.fields(Thumbnail).time))


def list_thumbnails(call: Call) -> Answer:
    """`GET /video/{id}/thumbnails`: all that were made."""
    return Answer(call.state.scenes.thumbnails(_video(call)))


def clip(call: Call) -> Answer:
    """`POST /video/{id}/clip`: what a prompt asks to be cut out, by what is said, what is seen, or both."""
    fields = call.fields(Clip)
    video = _video(call)
    sentences: list[Sentence] = []
    if fields.content_type != "visual":
        sentences += call.state.transcripts.indexed_sentences(video)
    if fields.content_type != "spoken":
        scenes = call.state.scenes.scenes(video)
        if not scenes:
            raise BadRequest("The video has no scene index: index its scenes first")
        sentences += [Sentence(scene.description, scene.start_s, scene.end_s) for scene in scenes]
    return found(video, docs_of(call, video, search(sentences, fields.prompt, "semantic")))


def _video(call: Call) -> Video:
    return call.state.videos.get(call.path["video_id"], "video")


OPERATIONS = {
    ("POST", "/video/{video_id}/index/scene"): index,
    ("GET", "/video/{video_id}/index/scene"): list_indexes,
    ("GET", "/video/{video_id}/index/scene/{index_id}"): get_index,
    ("DELETE", "/video/{video_id}/index/scene/{index_id}"): delete_index,
    ("GET", "/video/{video_id}/thumbnail"): get_thumbnail,
    ("POST", "/video/{video_id}/thumbnail"): make_thumbnail,
    ("GET", "/video/{video_id}/thumbnails"): list_thumbnails,
    ("POST", "/video/{video_id}/clip"): clip,
}
