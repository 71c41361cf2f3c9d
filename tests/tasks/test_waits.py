"""The tasks that wait, that read page by page, and that meet what is gone or was never found."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from prefect_videodb import tasks
from prefect_videodb.blocks import VideoDBCredentials
from prefect_videodb.errors import (
    AnswerLost,
    ConfigurationError,
    InvalidRequest,
    JobFailed,
    JobUnfinished,
    NotFound,
    UnexpectedAnswer,
)
from tests.support.recording_server import CUT, RecordingServer, Reply, Request, envelope

QUICK: dict[str, Any] = {"timeout_s": 120.0, "interval_s": 0.01}
Wait = Callable[..., Any]


def _meeting(account: VideoDBCredentials, **more: Any) -> Any:
    return tasks.wait_for_meeting.fn(account, "mt-1", **(QUICK | more))


def _export(account: VideoDBCredentials, **more: Any) -> Any:
    return tasks.export_capture_session.fn(account, "cap-1", **(QUICK | more))


WAITS = pytest.mark.parametrize(
    ("wait", "key", "under_way", "done"),
    [(_meeting, "status", "recording", "done"), (_export, "export_status", "exporting", "exported")],
    ids=["meeting", "export"],
)


@WAITS
def test_it_is_waited_for_over_stumbles_and_states_that_nobody_knows(
    account: VideoDBCredentials, service: RecordingServer, *, wait: Wait, key: str, under_way: str, done: str
) -> None:
    service.tell(
        envelope({key: under_way}),
        CUT,
        envelope(http_status=503),
        envelope(http_status=429),
        envelope({key: "something new"}),
        envelope({}),
        envelope({key: done, "video_id": "m-1"}),
    )
    assert wait(account).video_id == "m-1"
    assert len(service.requests) == 7


@WAITS
def test_one_that_failed_is_an_error_and_not_waited_for(
    account: VideoDBCredentials, service: RecordingServer, *, wait: Wait, key: str, under_way: str, done: str
) -> None:
    assert under_way != done
    service.tell(envelope({key: "failed"}))
    with pytest.raises(JobFailed):
        wait(account)
    assert len(service.requests) == 1


@WAITS
def test_one_that_outlives_the_wait_goes_on(
    account: VideoDBCredentials, service: RecordingServer, *, wait: Wait, key: str, under_way: str, done: str
) -> None:
    service.tell(envelope({key: under_way}))
    with pytest.raises(JobUnfinished, match="wait again"):
        wait(account, timeout_s=0.0)
    service.tell(envelope({key: done}))
    wait(account)


@WAITS
def test_a_wait_whose_first_look_fails_does_not_wait_for_hours(
    account: VideoDBCredentials, service: RecordingServer, *, wait: Wait, key: str, under_way: str, done: str
) -> None:
    assert key
    assert under_way != done
    service.tell(CUT)
    with pytest.raises(AnswerLost):
        wait(account)
    service.tell(envelope(http_status=404))
    with pytest.raises(NotFound):
        wait(account)


@pytest.mark.parametrize("bad", [{"timeout_s": -1.0}, {"interval_s": 0.0}], ids=str)
def test_a_wait_that_cannot_be_is_refused(account: VideoDBCredentials, bad: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        _meeting(account, **bad)


@pytest.mark.parametrize("status", ["done", "completed", "Done"])
def test_a_meeting_is_done_by_either_name(account: VideoDBCredentials, service: RecordingServer, status: str) -> None:
    service.tell(envelope({"status": status}))
    assert _meeting(account).id == "mt-1"


def test_a_lost_bot_is_not_sent_again_and_its_secrets_stay_unseen(
    account: VideoDBCredentials, service: RecordingServer
) -> None:
    service.tell(CUT)
    arguments = {
        "meeting_url": "https://zoom.example/j/1?pwd=s3cr3t-pass",
        "callback_url": "https://me.example/s3cr3t-hook-token",
        "callback_data": {"deep": [{"token": "s3cr3t-data"}]},
    }
    with pytest.raises(AnswerLost) as lost:
        tasks.record_meeting_with_bot.fn(account, **arguments)
    assert not lost.value.retry_is_safe

    def echo(request: Request) -> Reply:
        return Reply(json.dumps({"success": True, "data": [request.json]}).encode())

    service.answer = echo
    with pytest.raises(UnexpectedAnswer) as unread:
        tasks.record_meeting_with_bot.fn(account, **arguments)
    assert "s3cr3t" not in str(lost.value) + str(unread.value) + unread.value.raw
    assert "default" not in service.requests[0].json


def test_a_listing_that_cannot_be_read_shows_no_callback_that_it_echoes(
    account: VideoDBCredentials, service: RecordingServer
) -> None:
    service.tell(envelope({"alerts": 1, "alert_id": "x", "callback_url": 'https://me/h"s3cr3t'}, http_status=400))
    with pytest.raises(InvalidRequest) as refused:
        tasks.list_alerts.fn(account, "rts-1", "i-1")
    assert "s3cr3t" not in str(refused.value) + refused.value.raw


def test_what_is_gone_after_a_lost_answer_was_deleted(account: VideoDBCredentials, service: RecordingServer) -> None:
    gone = envelope(http_status=404, message="no such video")
    service.tell(CUT, gone)
    tasks.delete_video.fn(account, "m-1")
    tasks_before = len(service.requests)
    assert tasks_before == 2
    service.tell(gone)
    with pytest.raises(NotFound):
        tasks.delete_video.fn(account, "m-1")
    service.tell(CUT)
    with pytest.raises(AnswerLost) as lost:
        tasks.delete_scene_index.fn(account, "m-1", "i-1")
    assert not lost.value.retry_is_safe


NOTHING = [
    lambda account: tasks.search_rtstream.fn(account, "rts-1", "zebra").shots,
    lambda account: tasks.search_rtstreams.fn(account, "zebra").shots,
    lambda account: tasks.search_video_v2.fn(account, "m-1", "zebra").shots,
    lambda account: tasks.search_collection_v2.fn(account, "c-1", "zebra").shots,
    lambda account: tasks.semantic_search_video.fn(account, "m-1", "zebra").shots,
    lambda account: tasks.query_collection.fn(account, "c-1").shots,
    lambda account: tasks.clip_video.fn(account, "m-1", "zebra", "visual", "pro").shots,
]


@pytest.mark.parametrize("find", NOTHING)
def test_finding_nothing_is_an_empty_result(
    account: VideoDBCredentials, service: RecordingServer, find: Callable[[VideoDBCredentials], list[Any]]
) -> None:
    service.tell(envelope(http_status=400, message="No results found for this query"))
    assert find(account) == []


def test_a_hit_in_a_stream_knows_its_stream(account: VideoDBCredentials, service: RecordingServer) -> None:
    service.tell(envelope({"results": [{"start": 1, "end": 2, "text": "door", "score": "0.5"}]}))
    (shot,) = tasks.search_rtstream.fn(account, "rts-1", "door").shots
    assert (shot.rtstream_id, shot.start, shot.score) == ("rts-1", 1.0, 0.5)


def test_scenes_are_read_whole_once_each_and_in_order(account: VideoDBCredentials, service: RecordingServer) -> None:
    pages = {
        "1": {"scene_index_records": [{"start": 3, "description": "c"}, {"start": 2, "text": "b"}], "next_page": True},
        "2": {"scene_index_records": [{"start": 2, "text": "b"}, {"start": 1, "description": "a"}]},
    }
    service.answer = lambda request: envelope(pages[dict(request.query)["page"]])
    scenes = tasks.get_all_rtstream_scenes.fn(account, "rts-1", "i-1")
    assert [scene.description for scene in scenes] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "read",
    [
        lambda account: tasks.get_all_rtstream_index_records.fn(account, "rts-1", "idx-1"),
        lambda account: tasks.get_all_rtstream_understanding_records.fn(account, "rts-1", "und-1", 0, 9),
    ],
)
def test_records_are_read_page_by_page(
    account: VideoDBCredentials, service: RecordingServer, read: Callable[[VideoDBCredentials], list[Any]]
) -> None:
    service.tell(
        envelope({"records": [{"start": 1, "description": "a"}], "next_page": True}),
        envelope({"records": [{"start": 2, "text": "b", "data": {"open": True}}], "next_page": False}),
    )
    records = read(account)
    assert [(record.start, record.text) for record in records] == [(1.0, "a"), (2.0, "b")]
    assert records[1].data == {"open": True}


def test_a_transcript_is_followed_until_the_stream_ends_and_each_record_comes_once(
    account: VideoDBCredentials, service: RecordingServer
) -> None:
    said: list[dict[str, Any]] = []
    looks = 0

    def answer(request: Request) -> Reply:
        nonlocal looks
        if not request.path.endswith("/transcription"):
            return envelope({"id": "rts-1", "status": "connected" if looks < 3 else "stopped"})
        looks += 1
        said.append({"start": looks, "end": looks + 1, "text": f"look {looks}"})
        return envelope({"transcription_records": said, "next_page": False})

    service.answer = answer
    records = tasks.follow_rtstream_transcript.fn(account, "rts-1", interval_s=0.01)
    assert [record.text for record in records] == ["look 1", "look 2", "look 3", "look 4"]


def test_a_transcript_is_followed_no_longer_than_asked(account: VideoDBCredentials, service: RecordingServer) -> None:
    service.tell(envelope({"id": "rts-1", "status": "connected", "transcription_records": [{"text": "hello"}]}))
    records = tasks.follow_rtstream_transcript.fn(account, "rts-1", duration_s=0)
    assert [record.text for record in records] == ["hello"]
    with pytest.raises(ConfigurationError):
        tasks.follow_rtstream_transcript.fn(account, "rts-1", interval_s=0)


def test_a_transcript_is_read_as_one_text(account: VideoDBCredentials, service: RecordingServer) -> None:
    service.tell(envelope({"text": "Hello there.", "word_timestamps": []}))
    assert tasks.get_transcript_text.fn(account, "m-1", start=1, end=2) == "Hello there."
    service.tell(envelope({}))
    assert not tasks.get_transcript_text.fn(account, "m-1")


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_streams_of_a_session_are_picked_by_channel(
    account: VideoDBCredentials, service: RecordingServer, *, wrapped: bool
) -> None:
    session = {"rtstreams": [{"rtstream_id": "rts-1", "channel_id": "MIC"}, {"id": "rts-2", "channel_id": "screen"}]}
    service.tell(envelope({"data": session} if wrapped else session))
    (stream,) = tasks.get_capture_session_rtstream.fn(account, "cap-1", "mic")
    assert stream.id == "rts-1"
    assert tasks.get_capture_session.fn(account, "cap-1", "c-1").collection_id == "c-1"


@pytest.mark.parametrize(
    ("act", "status", "is_done"),
    [
        ("start", "running", True),
        ("start", "stopped", False),
        ("stop", "stopped", True),
        ("stop", "running", False),
    ],
)
def test_a_refusal_to_start_or_stop_an_index_counts_only_if_it_had_no_effect(
    account: VideoDBCredentials, service: RecordingServer, *, act: str, status: str, is_done: bool
) -> None:
    service.answer = lambda request: (
        envelope(http_status=400) if request.method == "PATCH" else envelope({"status": status})
    )
    task = getattr(tasks, f"{act}_rtstream_scene_index")
    if is_done:
        task.fn(account, "rts-1", "i-1")
    else:
        with pytest.raises(InvalidRequest):
            task.fn(account, "rts-1", "i-1")


def test_a_scene_index_told_by_callback_is_not_there_yet(account: VideoDBCredentials, service: RecordingServer) -> None:
    service.tell(envelope(None, status="processing", request_type="async"))
    assert tasks.index_scenes.fn(account, "m-1", callback_url="https://me.example/hook") is None
    service.tell(envelope({"scene_index_id": "i-1"}))
    index = tasks.index_scenes.fn(account, "m-1")
    assert index is not None
    assert index.id == "i-1"


def test_a_video_of_no_meeting_has_none(account: VideoDBCredentials, service: RecordingServer) -> None:
    service.tell(envelope(None))
    assert tasks.get_video_meeting.fn(account, "m-1") is None


def test_thumbnails_come_as_a_list(account: VideoDBCredentials, service: RecordingServer) -> None:
    service.tell(envelope([{"timestamp": 10.5, "url": "http://x/1.jpg"}, {"id": "img-2", "url": "http://x/2.jpg"}]))
    assert [image.url for image in tasks.get_thumbnails.fn(account, "m-1")] == ["http://x/1.jpg", "http://x/2.jpg"]
    service.tell(envelope({"thumbnail_url": "http://x/3.jpg"}))
    assert tasks.get_thumbnail.fn(account, "m-1").url == "http://x/3.jpg"
