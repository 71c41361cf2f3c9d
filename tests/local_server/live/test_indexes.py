"""Live indexes: what is seen and said in a stream, while it runs."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prefect_videodb.local_server import LocalServer
from prefect_videodb.local_server.media.sample import sample_transcript

Scenes = Callable[..., list[dict[str, Any]]]


def visuals(seconds: float = 3, frames: int = 1, **fields: Any) -> dict[str, Any]:
    config = {"time": seconds, "frame_count": frames}
    return {"extraction_type": "time", "extraction_config": config, "prompt": None, "name": "seen", **fields}


def audio(segmenter: str = "sentence", value: float = 1, **fields: Any) -> dict[str, Any]:
    config = {"segmenter": segmenter, "segmentation_value": value}
    return {"extraction_type": "transcript", "extraction_config": config, "prompt": None, "name": "said", **fields}


def create(api: Any, stream_id: str, body: dict[str, Any]) -> str:
    return str(api.data("POST", f"/rtstream/{stream_id}/index/scene", json=body)["rtstream_index_id"])


def test_a_visual_index_tells_facts_of_the_picture(api: Any, stream_id: str, scenes: Scenes) -> None:
    before = time.time()
    index_id = create(api, stream_id, visuals())
    latest, earlier = scenes(stream_id, index_id, 2)[:2]
    assert latest["start"] == pytest.approx(earlier["end"])
    assert latest["end"] - latest["start"] == pytest.approx(3)
    assert earlier["start"] >= before - 1
    assert "mostly white" in earlier["description"]
    assert "Text: " in earlier["description"]
    assert "The picture" in latest["description"]  # changed, or stayed as it was: the earlier one has nothing before it


def test_the_configuration_is_answered_as_text(api: Any, stream_id: str) -> None:
    created = api.data("POST", f"/rtstream/{stream_id}/index/scene", json=visuals(10, 2, prompt="What is shown?"))
    assert created["extraction_config"] == {"time": "10", "frame_count": "2"}
    assert created["status"] == "running"
    assert created["prompt"] == "What is shown?"
    assert api.data("GET", f"/rtstream/{stream_id}/index/{created['rtstream_index_id']}") == created
    assert api.data("GET", f"/rtstream/{stream_id}/index/scene")["scene_indexes"] == [created]


def test_an_audio_index_tells_what_is_said_sentence_by_sentence(
    data: Path, key: str, make_api: Any, scenes: Scenes
) -> None:
    with LocalServer(data, api_key=key) as listening, make_api(listening.base_url) as api:
        stream_id = api.connect(listening.sample_url)
        index_id = create(api, stream_id, audio())
        heard = [scene["description"] for scene in scenes(stream_id, index_id, 3, api)]
        api.stop(stream_id)
    said = ["".join(c for c in s.text.lower() if c.isalpha() or c == " ") for s in sample_transcript()]
    # One word in twenty may be misheard.
    alike = [h for h in heard if any(len(set(h.split()) & set(s.split())) >= 0.6 * len(set(s.split())) for s in said)]
    assert len(alike) >= len(heard) - 1


@pytest.mark.parametrize(("segmenter", "value"), [("word", 4), ("time", 5)])
def test_words_are_batched_as_asked(api: Any, stream_id: str, scenes: Scenes, segmenter: str, value: float) -> None:
    index_id = create(api, stream_id, audio(segmenter, value))
    found = scenes(stream_id, index_id, 2)
    if segmenter == "word":
        assert {len(scene["description"].split()) for scene in found} == {4}
    else:
        assert all(scene["end"] - scene["start"] == pytest.approx(5) for scene in found)
        assert all(scene["description"] for scene in found)


def test_no_word_is_lost_or_told_twice_when_one_stream_is_listened_to_by_several(
    api: Any, stream_id: str, scenes: Scenes, wait_until: Callable[..., Any]
) -> None:
    by_word, by_sentence = create(api, stream_id, audio("word", 1)), create(api, stream_id, audio("sentence", 2))
    scenes(stream_id, by_sentence, 2)
    api.stop(stream_id)

    def words() -> list[str] | None:
        path = f"/rtstream/{stream_id}/index/scene/"
        told = [
            [
                word
                for scene in reversed(api.data("GET", path + index, params={"page_size": 1000})["scene_index_records"])
                for word in scene["description"].split()
            ]
            for index in (by_word, by_sentence)
        ]
        return told[0] if told[0] == told[1] else None

    assert len(wait_until(words)) > 10


def test_scenes_come_in_pages_and_ranges(api: Any, stream_id: str, scenes: Scenes) -> None:
    index_id = create(api, stream_id, visuals(1))
    newest_first = scenes(stream_id, index_id, 3)
    assert [scene["start"] for scene in newest_first] == sorted((s["start"] for s in newest_first), reverse=True)
    path = f"/rtstream/{stream_id}/index/scene/{index_id}"
    api.data("PATCH", f"{path}/status", json={"action": "stop"})
    everything = api.data("GET", path)["scene_index_records"]
    first = api.data("GET", path, params={"page": 1, "page_size": 2})
    assert first["scene_index_records"] == everything[:2]
    assert first["next_page"] is True
    second = api.data("GET", path, params={"page": 2, "page_size": 2})
    assert second["scene_index_records"] == everything[2:4]
    oldest = everything[-1]
    ranged = api.data("GET", path, params={"start": oldest["start"], "end": oldest["end"]})
    assert ranged["scene_index_records"] == [oldest]
    assert ranged["next_page"] is False


def test_a_stopped_index_says_nothing_more_until_it_is_started(api: Any, stream_id: str, scenes: Scenes) -> None:
    index_id = create(api, stream_id, visuals(1))
    scenes(stream_id, index_id)
    path = f"/rtstream/{stream_id}/index/scene/{index_id}"
    assert api.data("PATCH", f"{path}/status", json={"action": "stop"})["status"] == "stopped"
    told = api.data("GET", path)["scene_index_records"]
    stopped_at = time.time()
    time.sleep(3)
    assert api.data("GET", path)["scene_index_records"] == told
    api.data("PATCH", f"{path}/status", json={"action": "start"})
    resumed = scenes(stream_id, index_id, len(told) + 1)
    assert resumed[0]["start"] >= stopped_at


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"extraction_type": "scene"}, "extraction_type must be time"),
        (visuals(0), "time: Input should be greater than 0"),
        (visuals(-1), "time"),
        (visuals(5, 0), "frame_count: Input should be greater than or equal to 1"),
        (visuals() | {"extraction_config": {"time": "soon"}}, "time: Input should be a valid number"),
        (audio("paragraph"), "segmenter"),
        (audio("word", 0), "segmentation_value: Input should be greater than 0"),
    ],
)
def test_a_batch_that_cannot_be_is_refused(api: Any, stream_id: str, body: dict[str, Any], reason: str) -> None:
    status, message = api.refusal("POST", f"/rtstream/{stream_id}/index/scene", json=body)
    assert status == 400
    assert reason in message
    assert api.data("GET", f"/rtstream/{stream_id}/index/scene")["scene_indexes"] == []


def test_what_a_stream_does_not_have_cannot_be_indexed(server: Any, api: Any) -> None:
    stream_id = api.connect(server.sample_url, media_types=["audio"])
    assert "without video" in api.refusal("POST", f"/rtstream/{stream_id}/index/scene", json=visuals())[1]
    api.stop(stream_id)


def test_an_unknown_index_is_not_found(api: Any, stream_id: str) -> None:
    for path in (f"/rtstream/{stream_id}/index/none", f"/rtstream/{stream_id}/index/scene/none"):
        assert api.refusal("GET", path)[0] == 404


def test_indexes_of_a_stream_are_searched(api: Any, stream_id: str, wait_until: Callable[..., Any]) -> None:
    index_id = create(api, stream_id, visuals(2))
    for path in (f"/rtstream/{stream_id}/search", "/rtstream/collection/default/search"):
        body = {"query": "product meeting", "scene_index_id": index_id, "filter": []}
        # A picture between two slides may be illegible.
        hits = wait_until(lambda path=path, body=body: api.data("POST", path, json=body)["results"])
        assert hits[0]["scene_index_id"] == index_id
        assert hits[0]["scene_index_name"] == "seen"
        assert hits[0]["rtstream_id"] == stream_id
        assert "Product meeting" in hits[0]["text"]
        assert 0.2 <= hits[0]["score"] <= 1
        assert api.data("POST", path, json={"query": "elephants", "filter": []})["results"] == []
    assert api.refusal("POST", f"/rtstream/{stream_id}/search", json={"query": "x", "scene_index_id": "none"})[0] == 404
    assert api.refusal("POST", f"/rtstream/{stream_id}/search", json={"query": "x", "filter": [{"a": 1}]})[0] == 501
