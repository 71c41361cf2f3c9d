"""Live scene indexes of streams: describe what is seen or said, as it happens."""

from collections.abc import Mapping
from typing import Any, Literal

from prefect import task

from prefect_videodb._logging import get_logger
from prefect_videodb.blocks import VideoDBCredentials
from prefect_videodb.client import Call, Client, indexes
from prefect_videodb.client.batches import AudioBatch, VisualBatch, batch
from prefect_videodb.client.models import RTStreamSceneIndex, Scene, ScenePage
from prefect_videodb.errors import ConfigurationError, InvalidRequest
from prefect_videodb.tasks._ensure import adopted_or_created
from prefect_videodb.tasks._options import OPERATION, RunName

STOPPED = "stopped"
RUNNING = frozenset({"running", "connected"})
_TYPES = {"visuals": indexes.VISUALS, "audio": indexes.AUDIO}


@task(task_run_name=RunName("index-visuals-{rtstream_id}"), **OPERATION)
def index_rtstream_visuals(
    credentials: VideoDBCredentials,
    rtstream_id: str,
    prompt: str | None = None,
    batch_config: VisualBatch | Mapping[str, Any] | None = None,
    model_name: str | None = None,
    model_config: Mapping[str, Any] | None = None,
    name: str | None = None,
    ws_connection_id: str | None = None,
    sandbox_id: str | None = None,
) -> RTStreamSceneIndex:
    """Describe what is seen in a stream, batch by batch, until `stop_rtstream_scene_index`.

    Not repeated after its answer was lost: that could make two, and both bill. `ensure_scene_index` looks first.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`.
        prompt: what to tell about it.
        batch_config: how the pictures are batched: by time only. The service decides when None.
        model_name: `mini`, `basic`, `pro` or `ultra`.
        model_config: what the model takes beside.
        name: what the index is called. Names are not unique.
        ws_connection_id: where its scenes are sent as they come.
        sandbox_id: where the model runs, if it is one's own.

    Raises:
        ConfigurationError: the service would refuse the batch.
        AnswerLost: the index may be there: look for its name.

    Source: POST /rtstream/{id}/index/scene
    """
    call = indexes.visuals(
        rtstream_id,
        prompt=prompt,
        batch_config=batch_config,
        model_name=model_name,
        model_config=model_config,
        name=name,
        ws_connection_id=ws_connection_id,
        sandbox_id=sandbox_id,
    )
    return credentials.get_client().send(call)


@task(task_run_name=RunName("index-audio-{rtstream_id}"), **OPERATION)
def index_rtstream_audio(
    credentials: VideoDBCredentials,
    rtstream_id: str,
    prompt: str | None = None,
    batch_config: AudioBatch | Mapping[str, Any] | None = None,
    model_name: str | None = None,
    model_config: Mapping[str, Any] | None = None,
    name: str | None = None,
    ws_connection_id: str | None = None,
    sandbox_id: str | None = None,
) -> RTStreamSceneIndex:
    """Describe what is said in a stream, batch by batch, until `stop_rtstream_scene_index`.

    Not repeated after its answer was lost: that could make two, and both bill. `ensure_scene_index` looks first.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`.
        prompt: what to tell about it.
        batch_config: so many words, sentences or seconds at once. The service decides when None.
        model_name: `mini`, `basic`, `pro` or `ultra`.
        model_config: what the model takes beside.
        name: what the index is called. Names are not unique.
        ws_connection_id: where its scenes are sent as they come.
        sandbox_id: where the model runs, if it is one's own.

    Raises:
        ConfigurationError: the service would refuse the batch.
        AnswerLost: the index may be there: look for its name.

    Source: POST /rtstream/{id}/index/scene
    """
    call = indexes.audio(
        rtstream_id,
        prompt=prompt,
        batch_config=batch_config,
        model_name=model_name,
        model_config=model_config,
        name=name,
        ws_connection_id=ws_connection_id,
        sandbox_id=sandbox_id,
    )
    return credentials.get_client().send(call)


@task(task_run_name=RunName("index-spoken-words-{rtstream_id}"), **OPERATION)
def index_rtstream_spoken_words(
    credentials: VideoDBCredentials,
    rtstream_id: str,
    prompt: str | None = None,
    segmenter: Literal["word", "sentence", "time"] = "word",
    length: float = 10,
    model_name: str | None = None,
    model_config: Mapping[str, Any] | None = None,
    name: str | None = None,
    ws_connection_id: str | None = None,
    sandbox_id: str | None = None,
) -> RTStreamSceneIndex:
    """Do what `index_rtstream_audio` does, with the batch as two arguments.

    Not repeated after its answer was lost: that could make two, and both bill. `ensure_scene_index` looks first.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`.
        prompt: what to tell about it.
        segmenter: what is counted: `word`, `sentence`, or seconds of `time`.
        length: how many of them are one batch.
        model_name: `mini`, `basic`, `pro` or `ultra`.
        model_config: what the model takes beside.
        name: what the index is called. Names are not unique.
        ws_connection_id: where its scenes are sent as they come.
        sandbox_id: where the model runs, if it is one's own.

    Raises:
        ConfigurationError: the service would refuse the batch.
        AnswerLost: the index may be there: look for its name.

    Source: POST /rtstream/{id}/index/scene
    """
    call = indexes.spoken_words(
        rtstream_id,
        prompt=prompt,
        segmenter=segmenter,
        length=length,
        model_name=model_name,
        model_config=model_config,
        name=name,
        ws_connection_id=ws_connection_id,
        sandbox_id=sandbox_id,
    )
    return credentials.get_client().send(call)


@task(task_run_name=RunName("index-scenes-{rtstream_id}"), **OPERATION)
def index_rtstream_scenes(
    credentials: VideoDBCredentials,
    rtstream_id: str,
    extraction_type: Literal["time", "transcript"] = "time",
    extraction_config: Mapping[str, Any] | None = None,
    prompt: str | None = "Describe the scene",
    model_name: str | None = None,
    model_config: Mapping[str, Any] | None = None,
    name: str | None = None,
    ws_connection_id: str | None = None,
    sandbox_id: str | None = None,
) -> RTStreamSceneIndex:
    """Do what the other two do, with the service's own configuration.

    Not repeated after its answer was lost: that could make two, and both bill. `ensure_scene_index` looks first.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`.
        extraction_type: `time` for what is seen, `transcript` for what is said.
        extraction_config: how it is batched; 5 pictures of 2 seconds when None.
        prompt: what to tell about it.
        model_name: `mini`, `basic`, `pro` or `ultra`.
        model_config: what the model takes beside.
        name: what the index is called. Names are not unique.
        ws_connection_id: where its scenes are sent as they come.
        sandbox_id: where the model runs, if it is one's own.

    Raises:
        ConfigurationError: there is no such type.
        AnswerLost: the index may be there: look for its name.

    Source: POST /rtstream/{id}/index/scene
    """
    call = indexes.scenes(
        rtstream_id,
        extraction_type=extraction_type,
        extraction_config=extraction_config,
        prompt=prompt,
        model_name=model_name,
        model_config=model_config,
        name=name,
        ws_connection_id=ws_connection_id,
        sandbox_id=sandbox_id,
    )
    return credentials.get_client().send(call)


@task(task_run_name=RunName("ensure-scene-index-{name}"), **OPERATION)
def ensure_scene_index(
    credentials: VideoDBCredentials,
    rtstream_id: str,
    name: str,
    kind: Literal["visuals", "audio"] = "visuals",
    prompt: str | None = None,
    batch_config: VisualBatch | AudioBatch | Mapping[str, Any] | None = None,
    model_name: str | None = None,
    model_config: Mapping[str, Any] | None = None,
    ws_connection_id: str | None = None,
    sandbox_id: str | None = None,
) -> RTStreamSceneIndex:
    """Adopt the running live index of exactly this name, or create one. Repeated, it makes no second one.

    A stopped one is started again. Where there are several, one is adopted and the others are stopped, as all bill.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`.
        name: the index's name, that no other index of the stream has.
        kind: what is described: `visuals` or `audio`.
        prompt: what to tell about it.
        batch_config: how it is batched; the service decides when None.
        model_name: `mini`, `basic`, `pro` or `ultra`.
        model_config: what the model takes beside.
        ws_connection_id: where the scenes of a new index are sent. One that is adopted sends where it did before.
        sandbox_id: where the model runs, if it is one's own.

    Raises:
        ConfigurationError: an index of this name is there for something else, or the service would refuse the batch.

    Source: GET /rtstream/{id}/index/scene, POST /rtstream/{id}/index/scene
    """
    call = _creating(
        kind,
        rtstream_id,
        batch_config,
        prompt=prompt,
        model_name=model_name,
        model_config=model_config,
        name=name,
        ws_connection_id=ws_connection_id,
        sandbox_id=sandbox_id,
    )
    client = credentials.get_client()
    return adopted_or_created(
        lambda: _adopt(client, rtstream_id, name, _TYPES[kind], prompt), lambda: client.send(call)
    )


def _creating(
    kind: str, rtstream_id: str, batch_config: VisualBatch | AudioBatch | Mapping[str, Any] | None, **more: Any
) -> Call[RTStreamSceneIndex]:
    if kind not in _TYPES:
        raise ConfigurationError(f"a live index is of 'visuals' or 'audio', not {kind!r}")
    given = batch_config.model_dump() if isinstance(batch_config, VisualBatch | AudioBatch) else batch_config
    if kind == "visuals":
        visual = None if given is None else batch(VisualBatch, given)
        return indexes.visuals(rtstream_id, batch_config=visual, **more)
    spoken = None if given is None else batch(AudioBatch, given)
    return indexes.audio(rtstream_id, batch_config=spoken, **more)


def _adopt(
    client: Client, rtstream_id: str, name: str, extraction_type: str, prompt: str | None
) -> RTStreamSceneIndex | None:
    same = [index for index in client.send(indexes.list_all(rtstream_id)).indexes if index.name == name]
    if not same:
        return None
    # Running ones first, so that nothing that runs is stopped for one that does not; then whoever looks takes the same.
    same.sort(key=lambda index: (index.status == STOPPED, index.id))
    found, *others = same
    if found.extraction_type not in {None, extraction_type} or (prompt and found.prompt and prompt != found.prompt):
        raise ConfigurationError(
            f"{rtstream_id} has an index named {name!r} for something else ({found.id}, {found.extraction_type}, "
            f"prompt {found.prompt!r}): give this one another name, or stop that one and rename yours"
        )
    for other in others:
        if other.status != STOPPED:
            client.send(indexes.stop(rtstream_id, other.id))
    if found.status == STOPPED:
        client.send(indexes.start(rtstream_id, found.id))
        found = client.send(indexes.get(rtstream_id, found.id))
    get_logger().info("Adopting live index %s (%s)", found.id, found.status)
    return found


@task(task_run_name=RunName("list-scene-indexes-{rtstream_id}"), **OPERATION)
def list_rtstream_scene_indexes(credentials: VideoDBCredentials, rtstream_id: str) -> list[RTStreamSceneIndex]:
    """Read all live indexes of a stream.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`.

    Source: GET /rtstream/{id}/index/scene
    """
    return credentials.get_client().send(indexes.list_all(rtstream_id)).indexes


@task(task_run_name=RunName("get-scene-index-{index_id}"), **OPERATION)
def get_rtstream_scene_index(credentials: VideoDBCredentials, rtstream_id: str, index_id: str) -> RTStreamSceneIndex:
    """Read a live index.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`.
        index_id: the live index.

    Raises:
        NotFound: there is no such index.

    Source: GET /rtstream/{id}/index/{index_id}
    """
    return credentials.get_client().send(indexes.get(rtstream_id, index_id))


@task(task_run_name=RunName("get-scenes-{index_id}"), **OPERATION)
def get_rtstream_scenes(
    credentials: VideoDBCredentials,
    rtstream_id: str,
    index_id: str,
    start: float | None = None,
    end: float | None = None,
    page: int = 1,
    page_size: int = 100,
) -> ScenePage:
    """Read one page of a live index, newest first.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`.
        index_id: the live index.
        start: from here, in unix seconds; only together with `end`.
        end: to here, in unix seconds.
        page: which page, counted from 1.
        page_size: how many scenes a page has.

    Source: GET /rtstream/{id}/index/scene/{index_id}
    """
    call = indexes.scene_page(rtstream_id, index_id, start=start, end=end, page=page, page_size=page_size)
    return credentials.get_client().send(call)


@task(task_run_name=RunName("get-all-scenes-{index_id}"), **OPERATION)
def get_all_rtstream_scenes(
    credentials: VideoDBCredentials,
    rtstream_id: str,
    index_id: str,
    start: float | None = None,
    end: float | None = None,
) -> list[Scene]:
    """Read all of a live index, or of a range of it, in the order in which it happened.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`.
        index_id: the live index.
        start: from here, in unix seconds; only together with `end`.
        end: to here, in unix seconds.

    Source: GET /rtstream/{id}/index/scene/{index_id}
    """
    pages = indexes.every_scene_page(rtstream_id, index_id, start=start, end=end)
    # What moves on to the next page while it is read comes twice.
    scenes = {
        (scene.start, scene.end, scene.description): scene
        for page in credentials.get_client().follow(pages.first, pages.following)
        for scene in page.scenes
    }
    return sorted(scenes.values(), key=lambda scene: (scene.start is None, scene.start or 0.0))


@task(task_run_name=RunName("start-scene-index-{index_id}"), **OPERATION)
def start_rtstream_scene_index(credentials: VideoDBCredentials, rtstream_id: str, index_id: str) -> None:
    """Go on with a stopped live index; one that runs is left alone.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`.
        index_id: the live index.

    Source: PATCH /rtstream/{id}/index/scene/{index_id}/status
    """
    _act(credentials, indexes.start(rtstream_id, index_id), rtstream_id, index_id, runs=True)


@task(task_run_name=RunName("stop-scene-index-{index_id}"), **OPERATION)
def stop_rtstream_scene_index(credentials: VideoDBCredentials, rtstream_id: str, index_id: str) -> None:
    """Stop a live index, and its billing; what it has stays.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`.
        index_id: the live index.

    Source: PATCH /rtstream/{id}/index/scene/{index_id}/status
    """
    _act(credentials, indexes.stop(rtstream_id, index_id), rtstream_id, index_id, runs=False)


def _act(credentials: VideoDBCredentials, call: Call[None], rtstream_id: str, index_id: str, *, runs: bool) -> None:
    """Start or stop. What doing it twice answers is unknown, so a refusal counts only if it had no effect."""
    client = credentials.get_client()
    try:
        client.send(call)
    except InvalidRequest:
        if (client.send(indexes.get(rtstream_id, index_id)).status in RUNNING) != runs:
            raise
