"""Permanent videos: look, index and search the spoken words, read them, compile clips, download."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from prefect import task
from pydantic import SecretStr

from prefect_videodb.blocks import VideoDBCredentials
from prefect_videodb.client import Call, Client, videos
from prefect_videodb.client.models import (
    Download,
    Image,
    Playback,
    SearchResult,
    Shot,
    SpokenWordIndex,
    Transcript,
    Video,
    VideoScene,
    VideoSceneIndex,
)
from prefect_videodb.client.videos import (
    ClipModel,
    ContentType,
    IndexType,
    SceneExtraction,
    SearchType,
    SegmentationType,
    Segmenter,
)
from prefect_videodb.errors import AnswerLost, InvalidRequest, JobUnfinished, NoSpokenWords, NotFound, NothingFound
from prefect_videodb.tasks._jobs import polling
from prefect_videodb.tasks._options import OPERATION, RunName
from prefect_videodb.tasks._secrets import plain

DONE = "done"
PROCESSING = "processing"
NO_SPOKEN_WORDS = "no spoken words"
_LOOK_S = 2.0
_DELETE_TRIES = 3


@task(task_run_name=RunName("get-{video_id}"), **OPERATION)
def get_video(credentials: VideoDBCredentials, video_id: str, collection_id: str = "default") -> Video:
    """Read a video.

    Args:
        credentials: the account.
        video_id: the video, `m-…`.
        collection_id: the collection that it belongs to.

    Raises:
        NotFound: there is no such video.

    Source: GET /video/{id}
    """
    return credentials.get_client().send(videos.get(video_id, collection_id=collection_id))


@task(task_run_name=RunName("index-spoken-words-{video_id}"), **OPERATION)
def index_spoken_words(
    credentials: VideoDBCredentials,
    video_id: str,
    language_code: str | None = None,
    segmentation_type: SegmentationType = "sentence",
    force: bool = False,
    timeout_s: float = 3600.0,
) -> SpokenWordIndex:
    """Make sure that the spoken words of a video are indexed: what is there is kept, what is under way is waited for.

    Args:
        credentials: the account.
        video_id: the video, `m-…`.
        language_code: `en`, `en_us`, `hi` …; the service takes American English when None.
        segmentation_type: by `sentence`, or by meaning (`llm`).
        force: index again although there is an index.
        timeout_s: how long to wait, in seconds.

    Returns:
        The index, with status `done`; or `no spoken words` when nothing is said in the video, which is a result.

    Raises:
        JobUnfinished: it outlived `timeout_s`; indexing goes on, and calling again waits on.

    Source: GET /video/{id}/index, POST /video/{id}/index
    """
    deadline = time.monotonic() + timeout_s
    client = credentials.get_client()
    try:
        index = SpokenWordIndex() if force else _index_as_it_is(client, video_id)
        if index.status == PROCESSING:
            index = _wait_for_index(client, video_id, deadline)
        if index.status == DONE:
            return index
        # `force` is the value that is safe to repeat; there is no index that it could throw away.
        call = videos.index_spoken_words(
            video_id, language_code=language_code, segmentation_type=segmentation_type, force=True
        )
        client.send(call, polling=polling("Indexing the spoken words", deadline - time.monotonic()))
    except NoSpokenWords as silence:
        return SpokenWordIndex(status=NO_SPOKEN_WORDS, message=str(silence))
    return SpokenWordIndex(status=DONE)


def _index_as_it_is(client: Client, video_id: str) -> SpokenWordIndex:
    try:
        return client.send(videos.spoken_word_index(video_id))
    except NoSpokenWords:
        raise
    except (NotFound, InvalidRequest):
        # How the service says that there is none yet is not known. A video that is missing is refused right after.
        return SpokenWordIndex()


def _wait_for_index(client: Client, video_id: str, deadline: float) -> SpokenWordIndex:
    while (index := client.send(videos.spoken_word_index(video_id))).status == PROCESSING:
        if time.monotonic() >= deadline:
            raise JobUnfinished(f"the spoken words of {video_id} are still being indexed", retry_is_safe=True)
        time.sleep(_LOOK_S)
    return index


@task(task_run_name=RunName("get-spoken-word-index-{video_id}"), **OPERATION)
def get_spoken_word_index(credentials: VideoDBCredentials, video_id: str) -> SpokenWordIndex:
    """Tell how far the spoken-word index of a video is.

    Args:
        credentials: the account.
        video_id: the video, `m-…`.

    Returns:
        The index; its status is `done`, `processing` or `failed`.

    Source: GET /video/{id}/index?index_type=spoken_word
    """
    return credentials.get_client().send(videos.spoken_word_index(video_id))


@task(task_run_name=RunName("search-{video_id}"), **OPERATION)
def search_video(
    credentials: VideoDBCredentials,
    video_id: str,
    query: str,
    search_type: SearchType = "semantic",
    index_type: IndexType = "spoken_word",
    result_threshold: int | None = None,
    score_threshold: float | None = None,
    dynamic_score_percentage: float | None = None,
    filter: Sequence[Mapping[str, Any]] = (),  # noqa: A002 - the service's name for it
    scene_index_id: str | None = None,
) -> SearchResult:
    """Search what is said (or seen) in a video.

    Args:
        credentials: the account.
        video_id: the video, `m-…`; indexed.
        query: what to look for.
        search_type: `semantic` by meaning, `keyword` by words.
        index_type: `spoken_word` or `scene`.
        result_threshold: how many hits at most.
        score_threshold: the least score of a hit, 0 to 1.
        dynamic_score_percentage: keep the hits within this share of the best scores.
        filter: conditions on the metadata of scenes.
        scene_index_id: in this scene index only; with `index_type="scene"`.

    Returns:
        The hits, best first; none when nothing was found, which is a result and no error.

    Source: POST /video/{id}/search
    """
    call = videos.search(
        video_id,
        query,
        search_type=search_type,
        index_type=index_type,
        result_threshold=result_threshold,
        score_threshold=score_threshold,
        dynamic_score_percentage=dynamic_score_percentage,
        filter=filter,
        scene_index_id=scene_index_id,
    )
    try:
        return credentials.get_client().send(call)
    except NothingFound:
        return SearchResult()


@task(task_run_name=RunName("get-transcript-{video_id}"), **OPERATION)
def get_transcript(
    credentials: VideoDBCredentials,
    video_id: str,
    start: int | None = None,
    end: int | None = None,
    segmenter: Segmenter = "word",
    length: int = 1,
    force: bool = False,
    timeout_s: float = 1800.0,
) -> Transcript:
    """Read what is said in a video.

    Args:
        credentials: the account.
        video_id: the video, `m-…`.
        start: from here, in seconds.
        end: to here, in seconds.
        segmenter: one segment a `word`, a `sentence`, or a span of `time`.
        length: how long such a span is, in seconds.
        force: transcribe again.
        timeout_s: how long to wait, in seconds.

    Source: GET /video/{id}/transcription
    """
    call = videos.transcript(video_id, start=start, end=end, segmenter=segmenter, length=length, force=force)
    return credentials.get_client().send(call, polling=polling("Transcript", timeout_s))


@task(task_run_name=RunName("get-transcript-text-{video_id}"), **OPERATION)
def get_transcript_text(
    credentials: VideoDBCredentials,
    video_id: str,
    start: int | None = None,
    end: int | None = None,
    timeout_s: float = 1800.0,
) -> str:
    """Read what is said in a video, as one text; empty when nothing is.

    Args:
        credentials: the account.
        video_id: the video, `m-…`.
        start: from here, in seconds.
        end: to here, in seconds.
        timeout_s: how long to wait, in seconds.

    Source: GET /video/{id}/transcription
    """
    call = videos.transcript(video_id, start=start, end=end)
    return credentials.get_client().send(call, polling=polling("Transcript", timeout_s)).text or ""


@task(task_run_name=RunName("index-scenes-{video_id}"), **OPERATION)
def index_scenes(
    credentials: VideoDBCredentials,
    video_id: str,
    extraction_type: SceneExtraction = "shot",
    extraction_config: Mapping[str, Any] | None = None,
    prompt: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    model_name: str | None = None,
    model_config: Mapping[str, Any] | None = None,
    name: str | None = None,
    scenes: Sequence[Mapping[str, Any]] = (),
    callback_url: SecretStr | str | None = None,
    sandbox_id: str | None = None,
    timeout_s: float = 3600.0,
) -> VideoSceneIndex | None:
    """Describe the scenes of a video, so that they can be searched.

    Not repeated after its answer was lost: that could make two.

    Args:
        credentials: the account.
        video_id: the video, `m-…`.
        extraction_type: a scene is a `shot`, or a span of `time`.
        extraction_config: how long or how distinct they are.
        prompt: what to tell about them.
        metadata: what to keep with each, for filters.
        model_name: `basic`, `pro` or `ultra`.
        model_config: what the model takes beside.
        name: what the index is called.
        scenes: these scenes and no others.
        callback_url: where to tell when it is done; never logged.
        sandbox_id: where the model runs, if it is one's own.
        timeout_s: how long to wait, in seconds.

    Returns:
        The index; None with a callback, which tells it later.

    Raises:
        JobUnfinished: it outlived `timeout_s`; indexing goes on.

    Source: POST /video/{id}/index/scene
    """
    call = videos.index_scenes(
        video_id,
        extraction_type=extraction_type,
        extraction_config=extraction_config,
        prompt=prompt,
        metadata=metadata,
        model_name=model_name,
        model_config=model_config,
        name=name,
        scenes=scenes,
        callback_url=plain(callback_url),
        sandbox_id=sandbox_id,
    )
    return credentials.get_client().send(call, polling=polling("Indexing the scenes", timeout_s))


@task(task_run_name=RunName("list-scene-index-{video_id}"), **OPERATION)
def list_scene_index(
    credentials: VideoDBCredentials,
    video_id: str,
    collection_id: str = "default",
) -> list[VideoSceneIndex]:
    """Read all scene indexes of a video.

    Args:
        credentials: the account.
        video_id: the video, `m-…`.
        collection_id: the collection that it belongs to.

    Source: GET /video/{id}/index/scene
    """
    return credentials.get_client().send(videos.list_scene_index(video_id, collection_id=collection_id)).indexes


@task(task_run_name=RunName("get-scene-index-{scene_index_id}"), **OPERATION)
def get_scene_index(
    credentials: VideoDBCredentials,
    video_id: str,
    scene_index_id: str,
    collection_id: str = "default",
) -> list[VideoScene]:
    """Read the scenes of a scene index.

    Args:
        credentials: the account.
        video_id: the video, `m-…`.
        scene_index_id: the scene index.
        collection_id: the collection that it belongs to.

    Source: GET /video/{id}/index/scene/{scene_index_id}
    """
    call = videos.get_scene_index(video_id, scene_index_id, collection_id=collection_id)
    return credentials.get_client().send(call).scenes


@task(task_run_name=RunName("delete-scene-index-{scene_index_id}"), **OPERATION)
def delete_scene_index(
    credentials: VideoDBCredentials,
    video_id: str,
    scene_index_id: str,
) -> None:
    """Delete a scene index.

    Args:
        credentials: the account.
        video_id: the video, `m-…`.
        scene_index_id: the scene index.

    Source: DELETE /video/{id}/index/scene/{scene_index_id}
    """
    _delete(credentials, videos.delete_scene_index(video_id, scene_index_id))


@task(task_run_name=RunName("delete-{video_id}"), **OPERATION)
def delete_video(
    credentials: VideoDBCredentials,
    video_id: str,
) -> None:
    """Delete a video, for good.

    Args:
        credentials: the account.
        video_id: the video, `m-…`.

    Raises:
        NotFound: there is no such video.

    Source: DELETE /video/{id}
    """
    _delete(credentials, videos.delete(video_id))


def _delete(credentials: VideoDBCredentials, call: Call[None]) -> None:
    """Delete; what is gone after an answer was lost is what was to be deleted, and no failure.

    The repeats are made here: a task that Prefect runs again does not know that an answer was lost.
    """
    lost: AnswerLost | None = None
    client = credentials.get_client()
    for _ in range(_DELETE_TRIES):
        try:
            return client.send(call)
        except AnswerLost as error:
            lost = error
        except NotFound:
            if lost is None:
                raise
            return None
    if lost is not None:
        lost.retry_is_safe = False
        raise lost
    return None


@task(task_run_name=RunName("get-thumbnail-{video_id}"), **OPERATION)
def get_thumbnail(
    credentials: VideoDBCredentials,
    video_id: str,
) -> Image:
    """Get a picture of a video.

    Args:
        credentials: the account.
        video_id: the video, `m-…`.

    Source: GET /video/{id}/thumbnail
    """
    return credentials.get_client().send(videos.get_thumbnail(video_id))


@task(task_run_name=RunName("generate-thumbnail-{video_id}"), **OPERATION)
def generate_thumbnail(
    credentials: VideoDBCredentials,
    video_id: str,
    time: float,
    timeout_s: float = 600.0,
) -> Image:
    """Make a picture of a video.

    Not repeated after its answer was lost: each is kept.

    Args:
        credentials: the account.
        video_id: the video, `m-…`.
        time: where in the video, in seconds.
        timeout_s: how long to wait, in seconds.

    Source: POST /video/{id}/thumbnail
    """
    return credentials.get_client().send(
        videos.generate_thumbnail(video_id, time), polling=polling("Thumbnail", timeout_s)
    )


@task(task_run_name=RunName("get-thumbnails-{video_id}"), **OPERATION)
def get_thumbnails(
    credentials: VideoDBCredentials,
    video_id: str,
) -> list[Image]:
    """Get all pictures of a video.

    Args:
        credentials: the account.
        video_id: the video, `m-…`.

    Source: GET /video/{id}/thumbnails
    """
    return credentials.get_client().send(videos.get_thumbnails(video_id)).images


@task(task_run_name=RunName("clip-{video_id}"), **OPERATION)
def clip_video(
    credentials: VideoDBCredentials,
    video_id: str,
    prompt: str,
    content_type: ContentType,
    model_name: ClipModel,
    timeout_s: float = 1800.0,
) -> SearchResult:
    """Find what a prompt asks to be cut out of a video. Finding nothing is a result.

    Args:
        credentials: the account.
        video_id: the video, `m-…`.
        prompt: what to cut out.
        content_type: by what is `spoken`, by what is seen (`visual`), or both (`multimodal`).
        model_name: `basic`, `pro` or `ultra`.
        timeout_s: how long to wait, in seconds.

    Source: POST /video/{id}/clip
    """
    try:
        call = videos.clip(video_id, prompt, content_type, model_name)
        return credentials.get_client().send(call, polling=polling("Clip", timeout_s))
    except NothingFound:
        return SearchResult()


@task(task_run_name="compile-clip", **OPERATION)
def compile_clip(
    credentials: VideoDBCredentials,
    shots: Sequence[Shot],
    collection_id: str = "default",
    timeout_s: float = 1800.0,
) -> Playback:
    """Compile shots, in the given order, into one clip. Shots that overlap are not merged.

    Args:
        credentials: the account.
        shots: what to play; each with a video, a start and an end in seconds.
        collection_id: the collection of the shots that name none.
        timeout_s: how long to wait, in seconds.

    Source: POST /compile
    """
    call = videos.compile_clip(shots, collection_id=collection_id)
    return credentials.get_client().send(call, polling=polling("Compiling the clip", timeout_s))


@task(task_run_name=RunName("download-{name}"), **OPERATION)
def download(credentials: VideoDBCredentials, stream_link: str, name: str, timeout_s: float = 1800.0) -> Download:
    """Make a downloadable file of a stream link.

    Args:
        credentials: the account.
        stream_link: what to download: a `stream_url` of a video, a window or a clip.
        name: the file's name.
        timeout_s: how long to wait for it, in seconds.

    Source: POST /download
    """
    return credentials.get_client().send(videos.download(stream_link, name), polling=polling("Download", timeout_s))


@task(task_run_name=RunName("get-download-{download_id}"), **OPERATION)
def get_download(credentials: VideoDBCredentials, download_id: str) -> Download:
    """Tell how far a download is, and where the file lies when it is done.

    Args:
        credentials: the account.
        download_id: the download.

    Source: GET /download/{id}
    """
    return credentials.get_client().send(videos.get_download(download_id))
