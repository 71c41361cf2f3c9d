"""Faults that a user asks for: what they do, what the client and a task make of them, and that they end."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from prefect.logging import disable_run_logger
from pydantic import SecretStr

from prefect_videodb import tasks
from prefect_videodb.blocks import VideoDBCredentials
from prefect_videodb.client import Client, Polling, collection, streams, videos
from prefect_videodb.errors import AnswerLost, JobFailed, JobUnfinished, RateLimited, ServiceUnavailable
from prefect_videodb.local_server import LocalServer
from tests.local_server.conftest import Api, Meeting


@pytest.fixture
def fault(api: Api) -> Iterator[Callable[..., None]]:
    """Return what asks for a fault; all end with the test."""
    yield lambda **fields: api.data("POST", "/faults", json=fields)
    assert api.data("DELETE", "/faults") == {"faults": []}


@pytest.fixture
def key(api: Api) -> str:
    """Return a key that the client takes: the one of the other tests holds blanks."""
    return str(api.data("POST", "/capture/session/token", json={"expires_in": 3600})["token"])


@pytest.fixture
def client(server: LocalServer, key: str) -> Iterator[Client]:
    with Client(api_key=key, base_url=server.base_url) as client:
        yield client


def test_rate_limit_with_retry_after(client: Client, fault: Callable[..., None]) -> None:
    fault(path="/rtstream", method="GET", status=429, retry_after_s=7, message="Slow down", times=2)
    for _ in range(2):
        with pytest.raises(RateLimited, match="Slow down") as refused:
            client.send(streams.list_page())
        assert refused.value.retry_after_s == 7
    client.send(streams.list_page())  # twice, and no more


def test_internal_error(client: Client, fault: Callable[..., None], api: Api) -> None:
    before = api.data("GET", "/rtstream")["count"]
    fault(path="/rtstream", method="POST", status=500)
    with pytest.raises(ServiceUnavailable):
        client.send(streams.connect("rtsp://127.0.0.1:1/x", "Never"))
    assert api.data("GET", "/rtstream")["count"] == before


def test_late_answer(server: LocalServer, key: str, fault: Callable[..., None], api: Api) -> None:
    """The operation is executed, its answer comes after the client's time-out."""
    fault(path="/collection", method="POST", delay_s=3600)
    with (
        Client(api_key=key, base_url=server.base_url, timeout_s=1.0) as hurried,
        pytest.raises(AnswerLost),
    ):
        hurried.send(collection.create("Late", "created before the answer"))
    assert "Late" in [one["name"] for one in api.data("GET", "/collection")["collections"]]
    fault(path="/collection", delay_s=0.5)
    began = time.monotonic()
    assert api.get("/collection").is_success
    assert time.monotonic() - began >= 0.5


def test_answer_cut_in_the_middle(client: Client, fault: Callable[..., None], api: Api, meeting: Meeting) -> None:
    fault(path="/collection", method="POST", cut=True)
    with pytest.raises(AnswerLost):
        client.send(collection.create("Cut", "created before the answer"))
    assert "Cut" in [one["name"] for one in api.data("GET", "/collection")["collections"]]
    link = api.data("GET", f"/video/{meeting.video_id}")["stream_url"].replace("index.m3u8", "video.mp4")
    fault(path="/videos/*/video.mp4", cut=True)
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(link)
    assert httpx.get(link).is_success


def test_job_that_never_ends(client: Client, fault: Callable[..., None], api: Api, meeting: Meeting) -> None:
    fault(job="index", outcome="never")
    call = videos.index_spoken_words(meeting.video_id, force=True)
    with pytest.raises(JobUnfinished, match="still not done after 1 s") as unfinished:
        client.send(call, polling=Polling(timeout_s=1.0, interval_s=0.1))
    path = f"/video/{meeting.video_id}/index?index_type=spoken_word"
    assert api.get(path).json()["status"] == "processing"
    # Other jobs run, and the held one goes on when the faults are cleared.
    api.data("POST", f"/video/{meeting.video_id}/transcription", json={})
    api.data("DELETE", "/faults")
    assert unfinished.value.job is not None
    client.wait(unfinished.value.job, Polling(timeout_s=120, interval_s=0.1))
    assert api.get(path).json()["status"] == "done"


def test_job_that_fails_late(client: Client, fault: Callable[..., None], api: Api, meeting: Meeting) -> None:
    fault(job="index", outcome="fails", after_s=2.5, message="The transcoder gave up")
    seen: list[float | None] = []
    polling = Polling(timeout_s=120, interval_s=0.1, on_progress=seen.append)
    with pytest.raises(JobFailed, match="The transcoder gave up"):
        client.send(videos.index_spoken_words(meeting.video_id, force=True), polling=polling)
    assert len(seen) > 1
    status = api.get(f"/video/{meeting.video_id}/index?index_type=spoken_word").json()["status"]
    assert status == "failed"
    client.send(videos.index_spoken_words(meeting.video_id, force=True), polling=Polling(interval_s=0.1))


def test_task_whose_job_never_ends(
    server: LocalServer, key: str, fault: Callable[..., None], record: Callable[..., tuple[str, float]], api: Api
) -> None:
    stream_id, _ = record(2)
    account = VideoDBCredentials(api_key=SecretStr(key), base_url=server.base_url)
    with disable_run_logger():
        fault(job="export", outcome="never")
        with pytest.raises(JobUnfinished):
            tasks.export_rtstream.fn(account, stream_id, timeout_s=3.0)
        api.data("DELETE", "/faults")
        fault(job="export", outcome="fails", message="The transcoder gave up")
        # The held one is taken up again, and that is what is waited for.
        assert tasks.export_rtstream.fn(account, stream_id, timeout_s=120.0).video_id


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "path: Field required"),
        ({"path": "/x"}, "body: Value error, a fault needs delay_s, status or cut"),
        ({"path": "/x", "delay": 3}, "delay: Extra inputs are not permitted"),
        ({"path": "/x", "status": 200}, "status: Input should be greater than or equal to 400"),
        ({"path": "/x", "status": 500, "times": 0}, "times: Input should be greater"),
        ({"job": "nap", "outcome": "never"}, "job must be one of capture_export, compile, download, export, index"),
        ({"job": "export"}, "outcome: Field required"),
    ],
)
def test_bad_fault(api: Api, fields: dict[str, Any], message: str) -> None:
    status, said = api.refusal("POST", "/faults", json=fields)
    assert status == 400
    assert said.startswith(message)


def test_faults_need_the_key(stranger: httpx.Client, api: Api) -> None:
    for method in ("GET", "POST", "DELETE"):
        assert stranger.request(method, "/faults").status_code == 401
    # A rule for every path leaves the way to clear it.
    api.data("POST", "/faults", json={"path": "*", "status": 503, "times": None})
    assert stranger.get("/collection").status_code == 503
    assert api.data("GET", "/faults")["faults"][0]["times"] is None
    api.data("DELETE", "/faults")
    assert api.get("/collection").is_success


def test_faults_end_with_the_server(tmp_path: Any) -> None:
    with LocalServer(tmp_path, sample=False) as first, Api(first.base_url) as api:
        api.headers["x-access-token"] = first.api_key
        api.data("POST", "/faults", json={"path": "*", "status": 503, "times": None})
    with LocalServer(tmp_path, sample=False) as second, Api(second.base_url) as api:
        api.headers["x-access-token"] = second.api_key
        assert api.data("GET", "/faults") == {"faults": []}
