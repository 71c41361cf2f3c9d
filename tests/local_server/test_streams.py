"""Live streams: connect, look, start, stop, and what is refused."""

import time
from pathlib import Path
from typing import Any

import pytest

from prefect_videodb.local_server import LocalServer
from prefect_videodb.local_server.media.sample import sample_meeting

SECRET = "hunter2"
# Nobody listens on port 1 of this machine.
NOBODY = f"rtsp://user:{SECRET}@127.0.0.1:1/live?key={SECRET}"


def test_connecting_answers_at_once_and_describes_the_stream(server: LocalServer, api: Any) -> None:
    response = api.post("/rtstream", json={"url": server.sample_url, "name": "Weekly", "store": True})
    assert response.status_code == 201
    stream = response.json()["data"]
    assert stream["id"].startswith("rts-")
    assert {key: stream[key] for key in ("name", "status", "media_types", "store", "collection_id", "sample_rate")} == {
        "name": "Weekly",
        "status": "connected",
        "media_types": ["video"],
        "store": True,
        "collection_id": "default",
        "sample_rate": 30,
    }
    assert api.data("GET", f"/rtstream/{stream['id']}")["id"] == stream["id"]
    api.stop(stream["id"])


@pytest.mark.parametrize(
    "url",
    [
        "file://host/etc/passwd",
        "file:etc/passwd",
        "/etc/passwd",
        "concat:/etc/passwd|/etc/hosts",
        "rtsp://",
        "rtsp://[",
        "rtsp://host:port/x",
        "rtsp://a b/",
        "",
        "subfile,,start,0,end,9,,:/etc/passwd",
    ],
)
def test_what_is_no_live_source_is_refused(api: Any, url: str) -> None:
    status, message = api.refusal("POST", "/rtstream", json={"url": url})
    assert status == 400
    assert message.startswith("url")


def test_a_media_file_of_this_machine_is_recorded_at_its_own_pace(api: Any, wait_until: Any) -> None:
    stream_id = api.connect(sample_meeting().as_uri())
    wait_until(lambda: api.data("GET", f"/rtstream/{stream_id}")["status_message"].startswith("recording"))
    time.sleep(5)
    api.stop(stream_id)
    export = api.data("POST", f"/rtstream/{stream_id}/export", json={})
    assert 2 < float(export["duration"]) < 60


def test_a_file_that_is_no_media_turns_the_stream_into_an_error_that_shows_nothing_of_it(
    api: Any, wait_until: Any, tmp_path: Path
) -> None:
    secret = tmp_path / "notes.txt"
    secret.write_text("root:x:0:0 hunter22", encoding="utf-8")
    for path in (secret, tmp_path / "missing.mp4"):
        stream_id = api.connect(path.as_uri())
        stream = wait_until(
            lambda: (now := api.data("GET", f"/rtstream/{stream_id}"))["status"] == "error" and now  # noqa: B023
        )
        assert stream["status_message"]
        assert "hunter22" not in str(stream)


def test_an_unreachable_source_leaves_the_stream_connected_and_says_why(api: Any, wait_until: Any) -> None:
    stream_id = api.connect(NOBODY)
    stream = wait_until(
        lambda: (now := api.data("GET", f"/rtstream/{stream_id}"))["status_message"].count("trying again") and now
    )
    assert stream["status"] == "connected"
    api.stop(stream_id)
    status, message = api.refusal("POST", f"/rtstream/{stream_id}/export", json={})
    assert status == 400
    assert message.startswith("No recordings available")


def test_a_source_that_is_no_media_ends_in_an_error_that_says_so(
    server: LocalServer, api: Any, wait_until: Any
) -> None:
    stream_id = api.connect(f"{server.base_url}/player/player.css")
    stream = wait_until(lambda: (now := api.data("GET", f"/rtstream/{stream_id}"))["status"] == "error" and now)
    assert stream["status_message"]
    api.stop(stream_id)
    assert api.data("GET", f"/rtstream/{stream_id}")["status"] == "stopped"


def test_nothing_that_is_said_about_a_stream_holds_the_secrets_of_its_url(
    api: Any, wait_until: Any, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    stream_id = api.connect(NOBODY, name="Secret source")
    wait_until(lambda: "trying again" in api.get(f"/rtstream/{stream_id}").text)
    api.stop(stream_id)
    said = api.get(f"/rtstream/{stream_id}").text + api.get("/rtstream").text
    assert SECRET not in said + caplog.text + "".join(capfd.readouterr())


def test_a_connected_stream_cannot_be_started(server: LocalServer, api: Any) -> None:
    stream_id = api.connect(server.sample_url)
    path = f"/rtstream/{stream_id}/status"
    status, message = api.refusal("PATCH", path, json={"action": "start"})
    assert status == 400
    assert message.startswith("RTStream is already connected: connecting starts it")
    api.stop(stream_id)


def test_stopping_twice_changes_nothing(server: LocalServer, api: Any) -> None:
    stream_id = api.connect(server.sample_url)
    api.stop(stream_id)
    before = api.data("GET", f"/rtstream/{stream_id}")
    api.stop(stream_id)
    assert api.data("GET", f"/rtstream/{stream_id}") == before


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("PATCH", "/status", {"action": "start"}),
        ("PATCH", "/status", {"action": "stop"}),
        ("GET", "/stream?start=1&end=2", None),
        ("POST", "/export", {}),
    ],
)
def test_a_stream_that_does_not_exist_is_not_found(api: Any, method: str, path: str, body: Any) -> None:
    status, message = api.refusal(method, f"/rtstream/rts-none{path}", json=body)
    assert status == 404
    assert "rts-none" in message


def test_an_unknown_collection_is_not_found(api: Any) -> None:
    assert api.refusal("POST", "/rtstream", json={"url": NOBODY, "collection_id": "c-none"})[0] == 404


def test_streams_are_listed_a_page_at_a_time(api: Any) -> None:
    ids = [api.connect(NOBODY, name=f"Listed {number:02} %") for number in range(12)]
    for stream_id in ids:
        api.stop(stream_id)
    first = api.data("GET", "/rtstream", params={"name": "listed", "ordering": "name"})
    assert [stream["id"] for stream in first["results"]] == ids[:10]
    assert first["count"] == 12
    assert first["previous"] is None
    second = api.data("GET", first["next"])
    assert [stream["id"] for stream in second["results"]] == ids[10:]
    assert second["next"] is None
    newest = api.data("GET", "/rtstream", params={"name": "LISTED", "limit": 1})
    assert newest["results"][0]["id"] == ids[-1]
    # A pattern of SQL is a text like any other.
    assert api.data("GET", "/rtstream", params={"name": "sted 0%"})["count"] == 0


def test_streams_are_listed_by_status(server: LocalServer, api: Any) -> None:
    running, ended = api.connect(server.sample_url, name="By status"), api.connect(server.sample_url, name="By status")
    api.stop(ended)
    for status, expected in (("connected", running), ("stopped", ended)):
        results = api.data("GET", "/rtstream", params={"name": "By status", "status": status})["results"]
        assert [stream["id"] for stream in results] == [expected]
    api.stop(running)


def test_an_unknown_order_is_refused(api: Any) -> None:
    assert api.refusal("GET", "/rtstream", params={"ordering": "url; DROP TABLE streams"})[0] == 400


def test_a_stream_that_is_not_stored_can_be_watched_live_and_not_exported(
    server: LocalServer, api: Any, wait_until: Any
) -> None:
    since = time.time()
    stream_id = api.connect(server.sample_url, store=False)
    wait_until(lambda: api.recorded_s(stream_id, since) > 0)
    api.stop(stream_id)
    status, message = api.refusal("POST", f"/rtstream/{stream_id}/export", json={})
    assert (status, message) == (400, "No recordings available: the RTStream was connected without store=true")
    assert api.recorded_s(stream_id, since) == 0


def test_a_running_stream_cannot_be_exported(server: LocalServer, api: Any) -> None:
    stream_id = api.connect(server.sample_url)
    status, message = api.refusal("POST", f"/rtstream/{stream_id}/export", json={})
    assert status == 400
    assert message.startswith("No recordings available")
    api.stop(stream_id)


def test_each_start_makes_a_recording_of_its_own(api: Any, record: Any, wait_until: Any) -> None:
    stream_id, since = record(2)
    first = api.data("POST", f"/rtstream/{stream_id}/export", json={})
    before = api.recorded_s(stream_id, since)
    api.data("PATCH", f"/rtstream/{stream_id}/status", json={"action": "start"})
    wait_until(lambda: api.recorded_s(stream_id, since) >= before + 2)
    api.stop(stream_id)
    second = api.data("POST", f"/rtstream/{stream_id}/export", json={})
    assert second["video_id"] != first["video_id"]
    assert second["duration"] < api.recorded_s(stream_id, since)
    # Both can be played in one window, with a seam that players are told of.
    link = api.data("GET", f"/rtstream/{stream_id}/stream", params={"start": since, "end": time.time()})["stream_url"]
    assert api.get(link).text.count("#EXT-X-DISCONTINUITY") == 1


def test_a_collection_can_be_made_and_streamed_into(api: Any) -> None:
    collection = api.data("POST", "/collection", json={"name": "Board", "description": "Meetings of the board"})
    assert collection["id"].startswith("c-")
    assert api.data("GET", f"/collection/{collection['id']}") == collection
    assert collection in api.data("GET", "/collection")["collections"]
    stream_id = api.connect(NOBODY, collection_id=collection["id"])
    assert api.data("GET", f"/rtstream/{stream_id}")["collection_id"] == collection["id"]
    api.stop(stream_id)


def test_usage_counts_minutes_and_costs_nothing(api: Any, meeting: Any) -> None:
    usage = api.data("GET", "/billing/usage")
    assert usage["usage_this_month"] == 0
    assert usage["breakdown"]["rtstream_minutes_stored"] >= round(meeting.export["duration"] / 60, 1)
