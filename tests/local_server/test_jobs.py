"""Work that takes longer than a request: polled for, called back about, done once, and taken up again."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from prefect_videodb.local_server import LocalServer
from prefect_videodb.local_server.jobs import MAX_ATTEMPTS
from prefect_videodb.local_server.speech import Sound, SpeechError, Utterance, Word
from tests.support.receiver import Receiver, running_receiver


class Listener:
    """A recognizer that waits until it is told to go on: what a test needs to look at a job under way."""

    name = "patient"

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.go_on = threading.Event()
        self.calls = 0
        self.failure: Exception | None = None

    def transcribe(self, sound: Sound, *, on_progress: Callable[[float], None]) -> Iterator[Utterance]:
        self.calls += 1
        heard_s = sum(len(chunk) for chunk in sound()) / 32_000
        self.asked.set()
        while not self.go_on.wait(0.05):
            on_progress(heard_s / 2)
        if self.failure:
            raise self.failure
        yield [Word("alice", 0.1, 0.5), Word("will", 0.5, 0.7), Word("pay", 0.7, 1.0)]


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def own_server(data: Path, key: str, listener: Listener) -> Iterator[LocalServer]:
    with LocalServer(data, api_key=key, speech=listener) as server:
        yield server


@pytest.fixture
def own_api(own_server: LocalServer, make_api: Any) -> Iterator[Any]:
    with make_api(own_server.base_url) as client:
        yield client


@pytest.fixture
def video_id(own_server: LocalServer, own_api: Any, wait_until: Any) -> str:
    """Return a short video on the test's own server."""
    stream_id = own_api.connect(own_server.sample_url)
    wait_until(lambda: own_api.recorded_s(stream_id, 1) >= 2)
    own_api.stop(stream_id)
    return str(own_api.data("POST", f"/rtstream/{stream_id}/export", json={})["video_id"])


@pytest.fixture
def callback() -> Iterator[Receiver]:
    with running_receiver() as server:
        yield server


def test_long_work_is_polled_for_at_a_link_of_this_server(
    own_server: LocalServer, own_api: Any, video_id: str, listener: Listener, wait_until: Any
) -> None:
    body = own_api.post(f"/video/{video_id}/index", json={"index_type": "spoken_word"}).json()
    assert (body["success"], body["status"], body["request_type"]) == (True, "processing", "sync")
    output_url = body["data"]["output_url"]
    assert output_url.startswith(f"{own_server.base_url}/async-response/")
    assert listener.asked.wait(60)
    running = wait_until(lambda: (now := own_api.get(output_url).json())["data"]["percentage"] and now)
    assert running["status"] == "processing"
    assert 0 < running["data"]["percentage"] < 100
    listener.go_on.set()
    done = wait_until(lambda: (now := own_api.get(output_url).json())["status"] != "processing" and now)
    assert (done["success"], done["status"], done["response"]["success"]) == (True, "done", True)
    assert httpx.get(output_url).status_code == 401


def test_asking_again_while_it_runs_means_the_same_work(own_api: Any, video_id: str, listener: Listener) -> None:
    path, body = f"/video/{video_id}/index", {"index_type": "spoken_word", "force": True}
    first, second = (own_api.post(path, json=body) for _ in range(2))
    assert first.json()["data"]["output_url"] == second.json()["data"]["output_url"]
    listener.go_on.set()
    assert own_api.result(first)["success"] is True
    assert listener.calls == 1


def test_a_failure_is_told_where_the_work_is_polled_for(own_api: Any, video_id: str, listener: Listener) -> None:
    listener.failure = SpeechError("the recognizer broke")
    answer = own_api.post(f"/video/{video_id}/index", json={"index_type": "spoken_word"})
    listener.go_on.set()
    result = own_api.result(answer)
    assert result == {"success": False, "message": "the recognizer broke"}
    status = own_api.get(f"/video/{video_id}/index", params={"index_type": "spoken_word"}).json()
    assert (status["status"], status["message"]) == ("failed", "the recognizer broke")


def test_a_defect_in_the_work_ends_it_and_tells_no_details(
    own_api: Any, video_id: str, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    listener.failure = ValueError("rtsp://user:hunter2@camera/")
    listener.go_on.set()
    result = own_api.result(own_api.post(f"/video/{video_id}/index", json={"index_type": "spoken_word"}))
    assert result == {"success": False, "message": "Internal error (ValueError)"}
    assert "ValueError" in caplog.text
    assert "hunter2" not in caplog.text


def test_a_deleted_video_ends_the_work_on_it(own_api: Any, video_id: str, listener: Listener) -> None:
    answer = own_api.post(f"/video/{video_id}/index", json={"index_type": "spoken_word"})
    assert listener.asked.wait(60)
    own_api.data("DELETE", f"/video/{video_id}")
    listener.go_on.set()
    result = own_api.result(answer)
    assert result["success"] is False
    assert "deleted" in result["message"]


def test_a_callback_is_told_until_it_listens(
    own_api: Any, video_id: str, listener: Listener, callback: Receiver
) -> None:
    callback.refusals = 1
    body = {"index_type": "spoken_word", "callback_url": callback.url}
    answer = own_api.post(f"/video/{video_id}/index", json=body).json()
    assert (answer["status"], answer["request_type"]) == ("processing", "async")
    listener.go_on.set()
    told = callback.bodies.get(timeout=120)
    assert (told["success"], told["status"], told["data"]["video_id"]) == (True, "done", video_id)


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "nonsense", "http://", "ftp://host/", "http://[", "http://a\nb/"]
)
def test_a_callback_that_is_no_http_address_is_refused(own_api: Any, video_id: str, url: str) -> None:
    body = {"index_type": "spoken_word", "callback_url": url}
    assert own_api.refusal("POST", f"/video/{video_id}/index", json=body)[0] == 400


def test_work_that_was_under_way_is_taken_up_by_the_next_server(
    data: Path, key: str, make_api: Any, callback: Receiver, wait_until: Any
) -> None:
    first = Listener()
    with LocalServer(data, api_key=key, speech=first) as server, make_api(server.base_url) as api:
        stream_id = api.connect(server.sample_url)
        wait_until(lambda: api.recorded_s(stream_id, 1) >= 2)
        api.stop(stream_id)
        video_id = api.data("POST", f"/rtstream/{stream_id}/export", json={})["video_id"]
        body = {"index_type": "spoken_word", "callback_url": callback.url}
        job = api.post(f"/video/{video_id}/index", json=body).json()["data"]["id"]
        assert first.asked.wait(60)
    second = Listener()
    second.go_on.set()
    with LocalServer(data, api_key=key, speech=second) as server, make_api(server.base_url) as api:
        told = callback.bodies.get(timeout=120)
        assert told["data"]["video_id"] == video_id
        assert api.get(f"/async-response/{job}").json()["response"]["success"] is True
        found = api.data("POST", f"/video/{video_id}/search", json={"query": "action items"})
        assert found["results"][0]["docs"][0]["text"] == "alice will pay"


def test_work_that_ended_three_servers_is_given_up_and_says_so(
    data: Path, key: str, make_api: Any, wait_until: Any
) -> None:
    with LocalServer(data, api_key=key, speech=Listener()) as server, make_api(server.base_url) as api:
        stream_id = api.connect(server.sample_url)
        wait_until(lambda: api.recorded_s(stream_id, 1) >= 2)
        api.stop(stream_id)
        video_id = api.data("POST", f"/rtstream/{stream_id}/export", json={})["video_id"]
        job = api.post(f"/video/{video_id}/index", json={"index_type": "spoken_word"}).json()["data"]["id"]
    with closing(sqlite3.connect(data / "videodb.sqlite3")) as database, database:
        # What three kills leave behind.
        database.execute("UPDATE jobs SET attempts = ? WHERE id = ?", (MAX_ATTEMPTS, job))
    again = Listener()
    with LocalServer(data, api_key=key, speech=again) as server, make_api(server.base_url) as api:
        result = wait_until(lambda: api.get(f"/async-response/{job}").json().get("response"))
        assert (result["success"], "interrupted" in result["message"]) == (False, True)
        assert again.calls == 0
        path = f"/video/{video_id}/index"
        assert api.get(path, params={"index_type": "spoken_word"}).json()["status"] == "failed"
        again.go_on.set()
        api.data("POST", path, json={"index_type": "spoken_word"})
        assert again.calls == 1


def test_unknown_work_is_not_found(own_api: Any) -> None:
    assert own_api.refusal("GET", "/async-response/job-none")[0] == 404
