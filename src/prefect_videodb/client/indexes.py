"""Live scene indexes of streams: describe what is seen or said, as it happens."""

from collections.abc import Mapping
from typing import Any

from prefect_videodb.client.batches import AudioBatch, VisualBatch, batch
from prefect_videodb.client.call import Call, nothing, path, present
from prefect_videodb.client.models import RTStreamSceneIndex, RTStreamSceneIndexes, ScenePage
from prefect_videodb.client.models.reading import knowing
from prefect_videodb.client.paging import NumberedPages
from prefect_videodb.errors import ConfigurationError

VISUALS = "time"
AUDIO = "transcript"
_PAGE = 100


def visuals(
    rtstream_id: str,
    *,
    prompt: str | None = None,
    batch_config: VisualBatch | Mapping[str, Any] | None = None,
    model_name: str | None = None,
    model_config: Mapping[str, Any] | None = None,
    name: str | None = None,
    ws_connection_id: str | None = None,
    sandbox_id: str | None = None,
) -> Call[RTStreamSceneIndex]:
    """Describe what is seen in a stream, batch by batch, until stopped.   POST /rtstream/{id}/index/scene.

    Not repeatable: names are not unique, and creating twice makes two indexes that both bill.

    Args:
        rtstream_id: the stream.
        prompt: what to look at.
        batch_config: how the pictures are batched; the service decides when None.
        model_name: `mini`, `basic`, `pro` or `ultra`.
        model_config: what the model takes beside.
        name: what the index is called.
        ws_connection_id: where its scenes are sent as they come.
        sandbox_id: where the model runs, if it is one's own.

    Raises:
        ConfigurationError: the service would refuse the batch.
    """
    checked = None if batch_config is None else batch(VisualBatch, batch_config)
    config = None if checked is None else {"time": checked.value, "frame_count": checked.frame_count}
    return _create(
        rtstream_id,
        extraction_type=VISUALS,
        extraction_config=config,
        prompt=prompt,
        model_name=model_name,
        model_config=model_config,
        name=name,
        ws_connection_id=ws_connection_id,
        sandbox_id=sandbox_id,
    )


def audio(
    rtstream_id: str,
    *,
    prompt: str | None = None,
    batch_config: AudioBatch | Mapping[str, Any] | None = None,
    model_name: str | None = None,
    model_config: Mapping[str, Any] | None = None,
    name: str | None = None,
    ws_connection_id: str | None = None,
    sandbox_id: str | None = None,
) -> Call[RTStreamSceneIndex]:
    """Describe what is said in a stream, batch by batch, until stopped.   POST /rtstream/{id}/index/scene.

    The arguments are those of `visuals`; speech is batched by words, sentences or time. Not repeatable.

    Raises:
        ConfigurationError: the service would refuse the batch.
    """
    checked = None if batch_config is None else batch(AudioBatch, batch_config)
    config = None if checked is None else {"segmenter": checked.type, "segmentation_value": checked.value}
    return _create(
        rtstream_id,
        extraction_type=AUDIO,
        extraction_config=config,
        prompt=prompt,
        model_name=model_name,
        model_config=model_config,
        name=name,
        ws_connection_id=ws_connection_id,
        sandbox_id=sandbox_id,
    )


def spoken_words(
    rtstream_id: str,
    *,
    prompt: str | None = None,
    segmenter: str = "word",
    length: float = 10,
    model_name: str | None = None,
    model_config: Mapping[str, Any] | None = None,
    name: str | None = None,
    ws_connection_id: str | None = None,
    sandbox_id: str | None = None,
) -> Call[RTStreamSceneIndex]:
    """Do what `audio` does, with the batch as two arguments.   POST /rtstream/{id}/index/scene.

    Raises:
        ConfigurationError: the service would refuse the batch.
    """
    return audio(
        rtstream_id,
        prompt=prompt,
        batch_config={"type": segmenter, "value": length},
        model_name=model_name,
        model_config=model_config,
        name=name,
        ws_connection_id=ws_connection_id,
        sandbox_id=sandbox_id,
    )


def scenes(
    rtstream_id: str,
    *,
    extraction_type: str = VISUALS,
    extraction_config: Mapping[str, Any] | None = None,
    prompt: str | None = "Describe the scene",
    model_name: str | None = None,
    model_config: Mapping[str, Any] | None = None,
    name: str | None = None,
    ws_connection_id: str | None = None,
    sandbox_id: str | None = None,
) -> Call[RTStreamSceneIndex]:
    """Do what `visuals` and `audio` do, with the service's own configuration.   POST /rtstream/{id}/index/scene.

    Raises:
        ConfigurationError: `extraction_type` is neither `time` nor `transcript`.
    """
    if extraction_type not in {VISUALS, AUDIO}:
        raise ConfigurationError(f"a live index is of type {VISUALS!r} or {AUDIO!r}, not {extraction_type!r}")
    config = {"time": 2, "frame_count": 5} if extraction_config is None else dict(extraction_config)
    return _create(
        rtstream_id,
        extraction_type=extraction_type,
        extraction_config=config,
        prompt=prompt,
        model_name=model_name,
        model_config=model_config,
        name=name,
        ws_connection_id=ws_connection_id,
        sandbox_id=sandbox_id,
    )


def _create(
    rtstream_id: str,
    *,
    extraction_type: str,
    extraction_config: Mapping[str, Any] | None,
    prompt: str | None,
    model_name: str | None,
    model_config: Mapping[str, Any] | None,
    name: str | None,
    ws_connection_id: str | None,
    sandbox_id: str | None,
) -> Call[RTStreamSceneIndex]:
    body = {
        "extraction_type": extraction_type,
        "extraction_config": extraction_config,
        "prompt": prompt,
        "model_name": model_name,
        "model_config": dict(model_config or {}),
        "name": name,
    } | present(ws_connection_id=ws_connection_id, sandbox_id=sandbox_id)
    reader = knowing(RTStreamSceneIndex, rtstream_id=rtstream_id)
    return Call("POST", path("rtstream", rtstream_id, "index", "scene"), reader, json=body)


def list_all(rtstream_id: str) -> Call[RTStreamSceneIndexes]:
    """Read all live indexes of a stream.   GET /rtstream/{id}/index/scene."""
    return Call(
        "GET", path("rtstream", rtstream_id, "index", "scene"), RTStreamSceneIndexes.model_validate, repeatable=True
    )


def get(rtstream_id: str, index_id: str) -> Call[RTStreamSceneIndex]:
    """Read a live index.   GET /rtstream/{id}/index/{index_id}."""
    reader = knowing(RTStreamSceneIndex, rtstream_index_id=index_id, rtstream_id=rtstream_id)
    return Call("GET", path("rtstream", rtstream_id, "index", index_id), reader, repeatable=True)


def scene_page(
    rtstream_id: str,
    index_id: str,
    *,
    start: float | None = None,
    end: float | None = None,
    page: int = 1,
    page_size: int = _PAGE,
) -> Call[ScenePage]:
    """Read one page of a live index, newest first.   GET /rtstream/{id}/index/scene/{index_id}.

    Args:
        rtstream_id: the stream.
        index_id: the live index.
        start: from here, in unix seconds; only together with `end`.
        end: to here, in unix seconds.
        page: which page, counted from 1.
        page_size: how many scenes a page has.

    Raises:
        ConfigurationError: the range has one end only, or ends before it starts.
    """
    if (start is None) != (end is None):
        raise ConfigurationError("a range of scenes needs both ends: the service takes no notice of one")
    if start is not None and end is not None and end < start:
        raise ConfigurationError(f"the range ends ({end}) before it has begun ({start}), in unix seconds")
    params = present(page=page, page_size=page_size, start=start, end=end)
    return Call(
        "GET",
        path("rtstream", rtstream_id, "index", "scene", index_id),
        ScenePage.model_validate,
        params=params,
        repeatable=True,
    )


def every_scene_page(
    rtstream_id: str, index_id: str, *, start: float | None = None, end: float | None = None
) -> NumberedPages[ScenePage]:
    """Read all pages of a live index: `client.follow(pages.first, pages.following)`.

    While the index runs, scenes move on to the next page as new ones come: some come twice, none is missed.
    """
    return NumberedPages(
        lambda page: scene_page(rtstream_id, index_id, start=start, end=end, page=page), lambda page: page.scenes
    )


def start(rtstream_id: str, index_id: str) -> Call[None]:
    """Go on with a stopped live index.   PATCH /rtstream/{id}/index/scene/{index_id}/status."""
    return _act(rtstream_id, index_id, "start")


def stop(rtstream_id: str, index_id: str) -> Call[None]:
    """Stop a live index; what it has stays.   PATCH /rtstream/{id}/index/scene/{index_id}/status."""
    return _act(rtstream_id, index_id, "stop")


def _act(rtstream_id: str, index_id: str, action: str) -> Call[None]:
    where = path("rtstream", rtstream_id, "index", "scene", index_id, "status")
    return Call("PATCH", where, nothing, json={"action": action}, repeatable=True)
