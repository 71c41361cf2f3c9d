"""Live scene indexes of streams."""

from typing import Any

from prefect_videodb.client import indexes
from tests.client.wire.case import STREAM, Case, rest

_SCENE_INDEX = "videodb.rtstream.RTStreamSceneIndex(conn, args['index_id'], args['rtstream_id'])."
_IDS: dict[str, Any] = {"rtstream_id": "rts-1", "index_id": "a1b2"}
_ALL: dict[str, Any] = {
    "rtstream_id": "rts-1",
    "prompt": "Who is at the door? \u2013 \u201ename\u201c",
    "model_name": "pro",
    "model_config": {"temperature": 0.5},
    "name": "Door",
    "ws_connection_id": "ws-1",
}


def _indexing(operation: Any, sdk_method: str, **special: Any) -> list[Case]:
    code = STREAM + sdk_method + "(" + rest("rtstream_id") + ")"
    return [
        Case(operation, code, {"rtstream_id": "rts-1"}),
        Case(operation, code, _ALL | special),
        Case(
            operation,
            code,
            _ALL | special | {"sandbox_id": "sb-1"},
            needs=f"'sandbox_id' in inspect.signature(videodb.rtstream.RTStream.{sdk_method}).parameters",
        ),
    ]


CASES = [
    *_indexing(indexes.visuals, "index_visuals", batch_config={"type": "time", "value": 2.5, "frame_count": 3}),
    Case(
        indexes.visuals,
        STREAM + "index_visuals(batch_config=args['batch_config'])",
        {"rtstream_id": "rts-1", "batch_config": {"type": "time", "value": 10}},
    ),
    *_indexing(indexes.audio, "index_audio", batch_config={"type": "sentence", "value": 4}),
    Case(
        indexes.audio,
        STREAM + "index_audio(batch_config=args['batch_config'])",
        {"rtstream_id": "rts-1", "batch_config": {"type": "time", "value": 12.5}},
    ),
    *_indexing(indexes.spoken_words, "index_spoken_words", segmenter="time", length=30),
    *_indexing(
        indexes.scenes,
        "index_scenes",
        extraction_type="transcript",
        extraction_config={"segmenter": "word", "segmentation_value": 20},
    ),
    Case(indexes.list_all, STREAM + "list_scene_indexes()", {"rtstream_id": "rts-1"}),
    Case(indexes.get, STREAM + "get_scene_index(args['index_id'])", _IDS),
    Case(indexes.scene_page, _SCENE_INDEX + "get_scenes()", _IDS),
    Case(
        indexes.scene_page,
        _SCENE_INDEX + "get_scenes(" + rest("rtstream_id", "index_id") + ")",
        _IDS | {"start": 1748475396, "end": 1748475407, "page": 3, "page_size": 20},
    ),
    Case(indexes.start, _SCENE_INDEX + "start()", _IDS),
    Case(indexes.stop, _SCENE_INDEX + "stop()", _IDS),
]
