"""Permanent videos: look, index and search the spoken words, read them, compile clips, download."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from prefect_videodb.client.call import Call, nothing, path, present
from prefect_videodb.client.models import (
    Download,
    Image,
    Images,
    Playback,
    SearchResult,
    Shot,
    SpokenWordIndex,
    Transcript,
    Video,
    VideoSceneIndex,
    VideoSceneIndexes,
    VideoScenes,
)
from prefect_videodb.errors import ConfigurationError
from prefect_videodb.redact import webhook_secrets

SearchType = Literal["semantic", "keyword"]
IndexType = Literal["spoken_word", "scene"]
SceneExtraction = Literal["shot", "time"]
ContentType = Literal["spoken", "visual", "multimodal"]
ClipModel = Literal["basic", "pro", "ultra"]
Segmenter = Literal["word", "sentence", "time"]
SegmentationType = Literal["sentence", "llm"]
# What the vendor's SDK sends when a semantic search sets none.
_SCORE_THRESHOLD = 0.2
_RESULT_THRESHOLD = 5


def get(video_id: str, *, collection_id: str = "default") -> Call[Video]:
    """Read a video.   GET /video/{id}."""
    params = {"collection_id": collection_id}
    return Call("GET", path("video", video_id), Video.model_validate, params=params, repeatable=True)


def index_spoken_words(
    video_id: str,
    *,
    language_code: str | None = None,
    segmentation_type: SegmentationType = "sentence",
    force: bool = False,
    callback_url: str | None = None,
) -> Call[None]:
    """Index the spoken words of a video, so that they can be searched.   POST /video/{id}/index.

    `force` makes it repeatable: without it, a video that is indexed already may be refused.
    """
    body = {
        "index_type": "spoken_word",
        "language_code": language_code,
        "segmentation_type": segmentation_type,
        "force": force,
        "callback_url": callback_url,
    }
    return Call(
        "POST",
        path("video", video_id, "index"),
        nothing,
        json=body,
        repeatable=force,
        secrets=webhook_secrets(callback_url) if callback_url else (),
    )


def spoken_word_index(video_id: str) -> Call[SpokenWordIndex]:
    """Tell how far the spoken-word index of a video is.   GET /video/{id}/index?index_type=spoken_word."""
    return Call(
        "GET",
        path("video", video_id, "index"),
        SpokenWordIndex.model_validate,
        params={"index_type": "spoken_word"},
        repeatable=True,
        whole_envelope=True,
    )


def search(
    video_id: str,
    query: str,
    *,
    search_type: SearchType = "semantic",
    index_type: IndexType = "spoken_word",
    result_threshold: int | None = None,
    score_threshold: float | None = None,
    dynamic_score_percentage: float | None = None,
    filter: Sequence[Mapping[str, Any]] = (),  # noqa: A002 - the service's name for it
    scene_index_id: str | None = None,
) -> Call[SearchResult]:
    """Search a video: `semantic` by meaning, `keyword` by words.   POST /video/{id}/search.

    Args:
        video_id: the video.
        query: what to look for.
        search_type: by meaning or by words.
        index_type: which index: the spoken words, or the scenes.
        result_threshold: how many hits at most (semantic: 5 when not given).
        score_threshold: the least score of a hit, 0 to 1 (semantic: 0.2 when not given).
        dynamic_score_percentage: semantic only; keep the hits within this share of the best scores.
        filter: conditions on the metadata of scenes.
        scene_index_id: in this scene index only.

    Raises:
        NothingFound: not one hit; the service calls that an error.
    """
    body: dict[str, Any] = {"search_type": search_type, "index_type": index_type, "query": query}
    if search_type == "semantic":
        body |= {
            "score_threshold": _SCORE_THRESHOLD if score_threshold is None else score_threshold,
            "result_threshold": _RESULT_THRESHOLD if result_threshold is None else result_threshold,
            "dynamic_score_percentage": dynamic_score_percentage,
        }
    else:
        body |= {"score_threshold": score_threshold, "result_threshold": result_threshold}
    body["filter"] = list(filter)
    body |= present(scene_index_id=scene_index_id)
    return Call("POST", path("video", video_id, "search"), SearchResult.model_validate, json=body, repeatable=True)


def transcript(
    video_id: str,
    *,
    start: int | None = None,
    end: int | None = None,
    segmenter: Segmenter = "word",
    length: int = 1,
    force: bool = False,
) -> Call[Transcript]:
    """Read what is said in a video, from `start` to `end` seconds.   GET /video/{id}/transcription.

    `length` is the length of a segment in seconds when `segmenter` is `time`.

    Raises:
        ConfigurationError: the range is negative or ends before it starts.
    """
    if (start or 0) < 0 or (end or 0) < 0 or (start is not None and end is not None and start > end):
        raise ConfigurationError(f"a transcript's range is 0 <= start <= end in seconds, not {start} to {end}")
    params = present(start=start, end=end, segmenter=segmenter, length=length, force="true" if force else "false")
    return Call(
        "GET",
        path("video", video_id, "transcription"),
        Transcript.model_validate,
        params=params,
        repeatable=True,
    )


def index_scenes(
    video_id: str,
    *,
    extraction_type: SceneExtraction = "shot",
    extraction_config: Mapping[str, Any] | None = None,
    prompt: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    model_name: str | None = None,
    model_config: Mapping[str, Any] | None = None,
    name: str | None = None,
    scenes: Sequence[Mapping[str, Any]] = (),
    callback_url: str | None = None,
    sandbox_id: str | None = None,
) -> Call[VideoSceneIndex | None]:
    """Describe the scenes of a video, so that they can be searched.   POST /video/{id}/index/scene.

    Not repeatable: made twice, there are two. With a callback there is no answer to wait for: None.

    Args:
        video_id: the video.
        extraction_type: a scene is a `shot`, or a span of `time`.
        extraction_config: how long or how distinct they are.
        prompt: what to tell about them.
        metadata: what to keep with each, for filters.
        model_name: `basic`, `pro` or `ultra`.
        model_config: what the model takes beside.
        name: what the index is called.
        scenes: these scenes and no others.
        callback_url: where to tell when it is done; never shown.
        sandbox_id: where the model runs, if it is one's own.
    """
    body = {
        "extraction_type": extraction_type,
        "extraction_config": dict(extraction_config or {}),
        "prompt": prompt,
        "metadata": dict(metadata or {}),
        "model_name": model_name,
        "model_config": model_config,
        "name": name,
        "scenes": [dict(scene) for scene in scenes] or None,
        "callback_url": callback_url,
        "sandbox_id": sandbox_id,
    }
    return Call(
        "POST",
        path("video", video_id, "index", "scene"),
        _scene_index_or_none,
        json=body,
        secrets=webhook_secrets(callback_url) if callback_url else (),
    )


def _scene_index_or_none(data: Any) -> VideoSceneIndex | None:
    return VideoSceneIndex.model_validate(data) if data else None


def list_scene_index(video_id: str, *, collection_id: str = "default") -> Call[VideoSceneIndexes]:
    """Read all scene indexes of a video.   GET /video/{id}/index/scene."""
    where, params = path("video", video_id, "index", "scene"), {"collection_id": collection_id}
    return Call("GET", where, VideoSceneIndexes.model_validate, params=params, repeatable=True)


def get_scene_index(video_id: str, scene_index_id: str, *, collection_id: str = "default") -> Call[VideoScenes]:
    """Read the scenes of a scene index.   GET /video/{id}/index/scene/{scene_index_id}."""
    where, params = path("video", video_id, "index", "scene", scene_index_id), {"collection_id": collection_id}
    return Call("GET", where, VideoScenes.model_validate, params=params, repeatable=True)


def delete_scene_index(video_id: str, scene_index_id: str) -> Call[None]:
    """Delete a scene index.   DELETE /video/{id}/index/scene/{scene_index_id}."""
    return Call("DELETE", path("video", video_id, "index", "scene", scene_index_id), nothing, repeatable=True)


def delete(video_id: str) -> Call[None]:
    """Delete a video, for good.   DELETE /video/{id}."""
    return Call("DELETE", path("video", video_id), nothing, repeatable=True)


def get_thumbnail(video_id: str) -> Call[Image]:
    """Get a picture of a video.   GET /video/{id}/thumbnail."""
    return Call("GET", path("video", video_id, "thumbnail"), Image.model_validate, repeatable=True)


def generate_thumbnail(video_id: str, time: float) -> Call[Image]:
    """Make a picture of a video at a time, in seconds.   POST /video/{id}/thumbnail.

    Not repeatable: each is kept.
    """
    return Call("POST", path("video", video_id, "thumbnail"), Image.model_validate, json={"time": time})


def get_thumbnails(video_id: str) -> Call[Images]:
    """Get all pictures of a video.   GET /video/{id}/thumbnails."""
    return Call("GET", path("video", video_id, "thumbnails"), _images, repeatable=True)


def _images(data: Any) -> Images:
    return Images.model_validate({"images": data} if isinstance(data, list) else data)


def clip(video_id: str, prompt: str, content_type: ContentType, model_name: ClipModel) -> Call[SearchResult]:
    """Find what a prompt asks to be cut out of a video.   POST /video/{id}/clip.

    Args:
        video_id: the video.
        prompt: what to cut out.
        content_type: by what is `spoken`, by what is seen (`visual`), or both (`multimodal`).
        model_name: `basic`, `pro` or `ultra`.

    Raises:
        NothingFound: nothing fits, where the service calls that an error.
    """
    body = {"prompt": prompt, "content_type": content_type, "model_name": model_name}
    return Call("POST", path("video", video_id, "clip"), SearchResult.model_validate, json=body, repeatable=True)


def compile_clip(shots: Iterable[Shot], *, collection_id: str = "default") -> Call[Playback]:
    """Compile shots, in the given order, into one clip.   POST /compile.

    The service does not merge shots that overlap: what is in two of them plays twice.

    Raises:
        ConfigurationError: there is no shot, or one without video, start or end.
    """
    body = []
    for shot in shots:
        if not shot.video_id or shot.start is None or shot.end is None or shot.end <= shot.start:
            raise ConfigurationError(f"a shot needs a video, a start and a later end, in seconds; not {shot!r}")
        body.append(
            {
                "video_id": shot.video_id,
                "collection_id": shot.collection_id or collection_id,
                "shots": [[shot.start, shot.end]],
            }
        )
    if not body:
        raise ConfigurationError("there is no shot to compile a clip of")
    return Call("POST", path("compile"), Playback.model_validate, json=body, repeatable=True)


def download(stream_link: str, name: str) -> Call[Download]:
    """Make a downloadable file of a stream link.   POST /download."""
    body = {"stream_link": stream_link, "name": name}
    return Call("POST", path("download"), Download.model_validate, json=body)


def get_download(download_id: str) -> Call[Download]:
    """Tell how far a download is, and where it lies when done.   GET /download/{id}."""
    return Call("GET", path("download", download_id), Download.model_validate, repeatable=True)
