"""What is seen in a video: scene indexes, pictures, clips; and the newer search, which sees nothing here."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.local_server.conftest import Meeting


@pytest.fixture(scope="module")
def scene_index_id(api: Any, meeting: Meeting) -> Iterator[str]:
    path = f"/video/{meeting.video_id}/index/scene"
    body = {"extraction_type": "time", "extraction_config": {"time": 10, "frame_count": 1}, "name": "slides"}
    index_id = str(api.data("POST", path, json=body)["scene_index_id"])
    yield index_id
    api.data("DELETE", f"{path}/{index_id}")  # other files share the meeting, and want it without scenes


def test_scenes_are_facts_of_the_picture(api: Any, meeting: Meeting, scene_index_id: str) -> None:
    path = f"/video/{meeting.video_id}/index/scene"
    assert {"scene_index_id": scene_index_id, "name": "slides", "status": "done"} in api.data("GET", path)[
        "scene_indexes"
    ]
    scenes = api.data("GET", f"{path}/{scene_index_id}")["scene_index_records"]
    assert [scene["start"] for scene in scenes] == [10.0 * number for number in range(len(scenes))]
    assert len(scenes) >= 3
    assert all("mostly white" in scene["description"] for scene in scenes)
    # The recognizer misses a small line now and then.
    assert any("Product meeting" in scene["description"] for scene in scenes)
    assert scenes[0]["metadata"]["colours"] == ["white"]


def test_scenes_are_searched(api: Any, meeting: Meeting, scene_index_id: str) -> None:
    body = {"search_type": "semantic", "index_type": "scene", "query": "product", "scene_index_id": scene_index_id}
    docs = api.data("POST", f"/video/{meeting.video_id}/search", json=body)["results"][0]["docs"]
    assert "Product meeting" in docs[0]["text"]
    assert "#EXTINF" in httpx.get(docs[0]["stream_url"]).text
    missing = body | {"scene_index_id": "none"}
    assert api.refusal("POST", f"/video/{meeting.video_id}/search", json=missing)[0] == 404


def test_shots_begin_where_the_picture_changes(api: Any, meeting: Meeting) -> None:
    path = f"/video/{meeting.video_id}/index/scene"
    index_id = api.data("POST", path, json={"extraction_type": "shot", "extraction_config": {}})["scene_index_id"]
    scenes = api.data("GET", f"{path}/{index_id}")["scene_index_records"]
    # The sample's slides stay for 8 s and more, and half a minute of it holds two of them at least.
    assert 2 <= len(scenes) <= 5
    assert scenes[0]["start"] == 0
    assert all("The picture changed" in scene["description"] for scene in scenes[1:])
    api.data("DELETE", f"{path}/{index_id}")
    assert api.refusal("GET", f"{path}/{index_id}")[0] == 404


def test_a_picture_is_made_of_any_moment(api: Any, meeting: Meeting) -> None:
    path = f"/video/{meeting.video_id}"
    image = api.data("POST", f"{path}/thumbnail", json={"time": 12.5})
    assert image["timestamp"] == 12.5
    jpeg = httpx.get(image["url"])
    assert jpeg.headers["content-type"] == "image/jpeg"
    assert jpeg.content.startswith(b"\xff\xd8")
    assert httpx.get(api.data("GET", f"{path}/thumbnail")["thumbnail_url"]).is_success
    assert image in api.data("GET", f"{path}/thumbnails")
    assert api.data("POST", f"{path}/thumbnail", json={"time": 12.5}) == image


def test_a_clip_is_found_by_what_is_said_or_seen(api: Any, indexed: Meeting, scene_index_id: str) -> None:
    assert scene_index_id
    path = f"/video/{indexed.video_id}/clip"
    for content, prompt in (("spoken", "action items"), ("visual", "product"), ("multimodal", "product")):
        body = {"prompt": prompt, "content_type": content, "model_name": "basic"}
        assert api.data("POST", path, json=body)["results"][0]["docs"]
    nothing = {"prompt": "elephants", "content_type": "visual", "model_name": "basic"}
    assert "No results found" in api.refusal("POST", path, json=nothing)[1]


@pytest.mark.parametrize("within", ["video", "collection"])
def test_the_newer_search_sees_neither_words_nor_scenes(api: Any, indexed: Meeting, within: str) -> None:
    path = f"/video/{indexed.video_id}" if within == "video" else "/collection/default"
    found = api.data("POST", f"{path}/search/v2", json={"query": "action items"})
    assert found == {"response_type": "shots", "results": []}
    for operation in ("semantic-search", "query"):
        assert "No results found" in api.refusal("POST", f"{path}/{operation}", json={"query": "action items"})[1]
        assert api.refusal("POST", f"{path}/{operation}", json={"index_name": "words"})[0] == 404
    assert api.data("POST", f"{path}/aggregate", json={}) == []
    assert api.refusal("POST", f"{path}/aggregate", json={"index_id": "idx-1"})[0] == 404
    status, message = api.refusal("POST", f"{path}/ask", json={"question": "What is to do?"})
    assert status == 501
    assert "model" in message


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"extraction_type": "transcript"}, 501),
        ({"extraction_type": "magic"}, 400),
        ({"extraction_type": "time", "extraction_config": {"time": 0}}, 400),
        ({"scenes": [{"start": 0, "end": 1}]}, 501),
    ],
)
def test_what_cannot_be_indexed_is_refused(api: Any, meeting: Meeting, body: dict[str, Any], status: int) -> None:
    assert api.refusal("POST", f"/video/{meeting.video_id}/index/scene", json=body)[0] == status
