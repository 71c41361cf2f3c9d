"""What of videos the recording flow does not use."""

from typing import Any

from prefect_videodb.client import videos
from tests.client.wire.case import VIDEO, Case, rest

_V: dict[str, Any] = {"video_id": "m-z-1"}
_C: dict[str, Any] = {"collection_id": "c-1"}
_I: dict[str, Any] = {"scene_index_id": "a1b2"}
# The newer SDK sends a null where no sandbox is given, as we do; the older one does not know sandboxes.
_SANDBOX = "'sandbox_id' in inspect.signature(videodb.video.Video.index_scenes).parameters"
_SCENES = """
from types import SimpleNamespace
args["scenes"] = [SimpleNamespace(to_json=lambda scene=scene: scene) for scene in args["scenes"]]
"""
_ALL: dict[str, Any] = {
    "extraction_type": "time",
    "extraction_config": {"time": 10, "frame_count": 2},
    "prompt": "Who speaks?",
    "metadata": {"room": "hall"},
    "model_name": "pro",
    "model_config": {"temperature": 0.5},
    "name": "Speakers",
    "scenes": [{"id": "s-1", "start": 1.5, "end": 4}],
    "callback_url": "http://127.0.0.1/hook?token=t",
    "sandbox_id": "sb-1",
}

CASES = [
    Case(videos.index_scenes, VIDEO + "index_scenes()", _V, needs=_SANDBOX),
    Case(videos.index_scenes, _SCENES + VIDEO + "index_scenes(" + rest("video_id") + ")", _V | _ALL, needs=_SANDBOX),
    Case(videos.list_scene_index, VIDEO + "list_scene_index()", _V),
    Case(videos.list_scene_index, VIDEO + "list_scene_index()", _V | _C),
    Case(videos.get_scene_index, VIDEO + "get_scene_index(args['scene_index_id'])", _V | _I),
    Case(videos.get_scene_index, VIDEO + "get_scene_index(args['scene_index_id'])", _V | _I | _C),
    Case(videos.delete_scene_index, VIDEO + "delete_scene_index(args['scene_index_id'])", _V | _I),
    Case(videos.delete, VIDEO + "delete()", _V),
    Case(videos.get_thumbnail, VIDEO + "generate_thumbnail()", _V),
    Case(videos.generate_thumbnail, VIDEO + "generate_thumbnail(args['time'])", _V | {"time": 10.5}),
    Case(videos.get_thumbnails, VIDEO + "get_thumbnails()", _V, answer=[]),
    Case(
        videos.clip,
        VIDEO + "clip(" + rest("video_id") + ")",
        _V | {"prompt": "the decision", "content_type": "spoken", "model_name": "basic"},
    ),
]
