"""Events, alerts on live indexes, and their delivery by webhook and WebSocket."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from prefect_videodb.local_server import LocalServer
from prefect_videodb.local_server.live.alerts import ENOUGH, FILLER
from prefect_videodb.local_server.search import share_of_words
from tests.support.receiver import Receiver


@pytest.fixture
def index_id(api: Any, stream_id: str) -> str:
    body = {"extraction_type": "time", "extraction_config": {"time": 1, "frame_count": 1}, "name": "seen"}
    return str(api.data("POST", f"/rtstream/{stream_id}/index/scene", json=body)["rtstream_index_id"])


def event(api: Any, prompt: str, label: str) -> str:
    return str(api.data("POST", "/rtstream/event", json={"event_prompt": prompt, "label": label})["event_id"])


def alert(api: Any, stream_id: str, index_id: str, event_id: str, url: str, **fields: Any) -> str:
    body = {"event_id": event_id, "callback_url": url, **fields}
    return str(api.data("POST", f"/rtstream/{stream_id}/index/{index_id}/alert", json=body)["alert_id"])


def test_events_belong_to_the_account_and_labels_are_not_unique(api: Any) -> None:
    first, second = event(api, "someone mentions a budget", "budget"), event(api, "the budget is late", "budget")
    assert first != second
    events = {item["event_id"]: item for item in api.data("GET", "/rtstream/event")["events"]}
    assert events[first] == {"event_id": first, "event_prompt": "someone mentions a budget", "label": "budget"}
    assert events[second]["label"] == "budget"


def test_an_event_that_becomes_true_is_told_once_in_the_recorded_shape(
    api: Any, stream_id: str, index_id: str, receiver: Receiver, scenes: Callable[..., Any]
) -> None:
    event_id = event(api, "The product meeting is shown on the screen", "meeting_shown")
    alert(api, stream_id, index_id, event_id, receiver.url)
    body = receiver.take()
    assert receiver.paths == ["/done?token=secret"]
    assert body["event_id"] == f"event-{event_id}"
    assert body["label"] == "meeting_shown"
    assert body["confidence"] >= ENOUGH
    assert "Product meeting" in body["explanation"]
    start, end = datetime.fromisoformat(body["start_time"]), datetime.fromisoformat(body["end_time"])
    assert (end - start).total_seconds() == pytest.approx(1, abs=0.01)
    assert datetime.fromisoformat(body["timestamp"]) >= end
    assert f"/manifests/{stream_id}/" in body["stream_url"]
    assert "#EXTINF" in httpx.get(body["stream_url"]).text
    assert httpx.get(body["player_url"]).is_success
    # The slide stays: further batches hold the words, too, and are not told.
    scenes(stream_id, index_id, len(scenes(stream_id, index_id)) + 2)
    assert receiver.bodies.empty()


def test_a_receiver_that_refuses_is_asked_again(api: Any, stream_id: str, index_id: str, receiver: Receiver) -> None:
    receiver.refusals = 2
    alert(api, stream_id, index_id, event(api, "product meeting", "again"), receiver.url)
    assert receiver.take()["label"] == "again"
    assert len(receiver.paths) == 3


def test_an_event_that_is_not_there_is_not_told(
    api: Any, stream_id: str, index_id: str, receiver: Receiver, scenes: Callable[..., Any]
) -> None:
    alert(api, stream_id, index_id, event(api, "an elephant enters the room", "elephant"), receiver.url)
    scenes(stream_id, index_id, 3)
    assert receiver.bodies.empty()


def test_alerts_are_listed_and_a_disabled_one_is_silent(
    api: Any, stream_id: str, index_id: str, receiver: Receiver, scenes: Callable[..., Any]
) -> None:
    event_id = event(api, "product meeting", "shown")
    alert_id = alert(api, stream_id, index_id, event_id, receiver.url)
    path = f"/rtstream/{stream_id}/index/{index_id}/alert"
    receiver.take()
    for body, status in (({"action": "disable"}, "disabled"), ({"status": "enabled"}, "enabled")):
        api.data("PATCH", f"{path}/{alert_id}/status", json=body)
        [listed] = api.data("GET", path)["alerts"]
        assert listed == {
            "alert_id": alert_id,
            "event_id": event_id,
            "prompt": "product meeting",
            "label": "shown",
            "callback_url": receiver.url,
            "status": status,
        }
        if status == "disabled":
            scenes(stream_id, index_id, len(scenes(stream_id, index_id)) + 2)
            assert receiver.bodies.empty()
    # Enabled again it tells what holds.
    assert receiver.take()["label"] == "shown"
    assert api.refusal("PATCH", f"{path}/{alert_id}/status", json={})[0] == 400
    assert api.refusal("PATCH", f"{path}/none/status", json={"action": "enable"})[0] == 404


def test_alerts_of_what_does_not_exist_are_refused(api: Any, stream_id: str, index_id: str) -> None:
    path = f"/rtstream/{stream_id}/index/{index_id}/alert"
    assert api.refusal("POST", path, json={"event_id": "none", "callback_url": "http://127.0.0.1:1/"})[0] == 404
    event_id = event(api, "x", "x")
    assert api.refusal("POST", path, json={"event_id": event_id, "callback_url": "ftp://x"})[0] == 400
    nowhere = {"event_id": event_id, "callback_url": "http://127.0.0.1:1/"}
    assert api.refusal("POST", path.replace(index_id, "none"), json=nowhere)[0] == 404


def test_what_happens_is_sent_over_the_websocket(api: Any, server: LocalServer, receiver: Receiver) -> None:
    address = api.data("GET", "/collection/default/websocket")["websocket_url"]
    with connect(address) as socket:
        connection_id = json.loads(socket.recv(timeout=60))["connection_id"]
        fields = {"ws_connection_id": connection_id}
        stream_id = api.connect(server.sample_url, enable_transcript=True, **fields)
        bodies = [
            {"extraction_type": "time", "extraction_config": {"time": 2, "frame_count": 1}, "name": "seen", **fields},
            {
                "extraction_type": "transcript",
                "extraction_config": {"segmenter": "sentence", "segmentation_value": 1},
                "name": "said",
                **fields,
            },
        ]
        [seen, _] = [api.data("POST", f"/rtstream/{stream_id}/index/scene", json=body) for body in bodies]
        event_id = event(api, "product meeting", "meeting_shown")
        alert(api, stream_id, seen["rtstream_index_id"], event_id, receiver.url, **fields)
        frames: dict[str, dict[str, Any]] = {}
        while len(frames) < 6:
            frame = json.loads(socket.recv(timeout=120))
            frames.setdefault(frame["channel"], frame)
        api.stop(stream_id)
    # Sources of the vendor name the channels of the indexes differently: each frame comes under both names.
    assert set(frames) == {"transcript", "visual_index", "scene_index", "audio_index", "spoken_index", "alert"}
    assert frames["scene_index"]["data"] == frames["visual_index"]["data"]
    for frame in frames.values():
        assert frame["rtstream_id"] == stream_id
        assert frame["rtstream_name"] == "Meeting"
        data = frame["data"]
        assert isinstance(data["start"], int)
        assert 1_700_000_000_000 < data["start"] < data["end"]
    assert frames["transcript"]["data"]["is_final"] is True
    told = frames["alert"]["data"]
    assert told["label"] == told["event_label"] == "meeting_shown"
    assert told["text"] == told["explanation"]
    assert isinstance(told["timestamp"], int)
    assert receiver.take()["event_id"] == f"event-{event_id}"


@pytest.mark.parametrize("ticket", ["", "1.aa", "99999999999.00000000000000000000000000000000", "x.y"])
def test_nobody_connects_without_an_address_that_was_given_out(api: Any, ticket: str) -> None:
    address = api.data("GET", "/collection/default/websocket")["websocket_url"]
    with pytest.raises(Exception, match=r"rejected|HTTP"):
        connect(address.rsplit("/", 1)[0] + "/" + ticket)


@pytest.mark.parametrize(
    ("prompt", "text", "share"),
    [
        ("User opened Slack application", "Text: Slack / general", 1.0),
        ("User opened Slack application", "Text: Teams", 0.0),
        ("detect budgets", "the budget is late", 1.0),
        ("alert when someone says deadline or risk", "the deadline is friday", 0.5),
        ("", "anything", 0.0),
    ],
)
def test_the_words_of_an_event_are_what_is_left_without_the_filler(prompt: str, text: str, share: float) -> None:
    assert share_of_words(text, prompt, beside=FILLER) == share
