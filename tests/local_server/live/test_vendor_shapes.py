"""What the vendor's programs send and read in more than one way is understood in each."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from prefect_videodb.local_server import LocalServer

WaitUntil = Callable[..., Any]


@pytest.fixture
def stream_id(api: Any, server: LocalServer) -> Iterator[str]:
    connected = str(api.connect(server.sample_url))
    yield connected
    api.stop(connected)


@pytest.mark.parametrize("body", [{"extraction_type": "time_based"}, {}, {"extraction_type": None}])
def test_extraction_type_of_the_node_sdk(api: Any, stream_id: str, body: dict[str, Any]) -> None:
    config = {"time": 2, "frame_count": 5}
    index = api.data("POST", f"/rtstream/{stream_id}/index/scene", json={**body, "extraction_config": config})
    assert index["extraction_type"] == "time"
    assert index["extraction_config"] == {"time": "2", "frame_count": "5"}


@pytest.mark.parametrize("kind", ["shot", "shot_based"])
def test_extraction_type_shot_is_refused_with_its_reason(api: Any, stream_id: str, kind: str) -> None:
    status, message = api.refusal("POST", f"/rtstream/{stream_id}/index/scene", json={"extraction_type": kind})
    assert status == 400
    assert "use time" in message


def test_prompt_of_a_scene_index_is_changed(api: Any, stream_id: str) -> None:
    index_id = api.data("POST", f"/rtstream/{stream_id}/index/scene", json={"prompt": "before"})["rtstream_index_id"]
    path = f"/rtstream/{stream_id}/index/scene/{index_id}"
    changed = api.data("PATCH", path, json={"prompt": "after"})
    assert changed["prompt"] == "after"
    assert changed["success"] is True
    assert api.data("GET", f"/rtstream/{stream_id}/index/{index_id}")["prompt"] == "after"
    assert api.refusal("PATCH", path, json={})[0] == 400
    assert api.refusal("PATCH", f"/rtstream/{stream_id}/index/scene/none", json={"prompt": "x"})[0] == 404


def test_empty_callback_url_is_none(api: Any, stream_id: str, wait_until: WaitUntil) -> None:
    index_id = api.data("POST", f"/rtstream/{stream_id}/index/scene", json={})["rtstream_index_id"]
    event_id = api.data("POST", "/rtstream/event", json={"event_prompt": "white", "label": "white"})["event_id"]
    path = f"/rtstream/{stream_id}/index/{index_id}/alert"
    api.data("POST", path, json={"event_id": event_id, "callback_url": ""})
    assert [alert["callback_url"] for alert in api.data("GET", path)["alerts"]] == [""]
    meeting = {"meeting_url": "https://meet.example/abc", "callback_url": "", "callback_data": {}}
    meeting_id = api.data("POST", "/collection/default/meeting/record", json=meeting)["meeting_id"]
    wait_until(lambda: api.data("GET", f"/collection/default/meeting/{meeting_id}")["status"] == "done")


def test_hit_within_one_second_is_played(api: Any, stream_id: str, wait_until: WaitUntil) -> None:
    wait_until(lambda: api.recorded_s(stream_id, 1) > 2)
    now = int(time.time()) - 1
    assert api.data("GET", f"/rtstream/{stream_id}/stream", params={"start": now, "end": now})["stream_url"]
    assert api.refusal("GET", f"/rtstream/{stream_id}/stream", params={"start": now, "end": now - 1})[0] == 400


def test_index_of_an_understanding_is_searched(api: Any, stream_id: str, wait_until: WaitUntil) -> None:
    body = {
        "segmentation": {"type": "time", "window": "2s"},
        "analyzers": [{"type": "vlm", "name": "scene", "config": {}}],
    }
    understanding = api.data("POST", f"/rtstream/{stream_id}/understand", json=body)
    source = understanding["outputs"]["scene"]
    index = api.data("POST", f"/rtstream/{stream_id}/indexes", json={"source": source, "use_for": ["semantic"]})
    search = f"/rtstream/{stream_id}/search"

    def hits(**fields: Any) -> list[dict[str, Any]]:
        return list(api.data("POST", search, json={"query": "white", **fields})["results"])

    [first, *_] = wait_until(lambda: hits(scene_index_id=index["index_id"]))
    assert first["scene_index_id"] == index["index_id"]
    assert hits()
    assert api.refusal("POST", search, json={"query": "white", "scene_index_id": "idx-none"})[0] == 404


def test_scene_has_its_text_under_both_names(api: Any, stream_id: str, wait_until: WaitUntil) -> None:
    body = {"extraction_config": {"time": 2, "frame_count": 1}}
    index_id = api.data("POST", f"/rtstream/{stream_id}/index/scene", json=body)["rtstream_index_id"]
    path = f"/rtstream/{stream_id}/index/scene/{index_id}"
    [scene, *_] = wait_until(lambda: api.data("GET", path)["scene_index_records"])
    assert scene["text"] == scene["description"] != ""
