"""A task sends what the client's operation of the same arguments sends: no argument is lost on the way."""

import inspect
import json
from collections.abc import Iterator
from string import Formatter
from typing import Any

import pytest

from prefect_videodb import tasks
from prefect_videodb.blocks import VideoDBCredentials
from prefect_videodb.client import (
    Client,
    account,
    alerts,
    indexes,
    meetings,
    searching,
    sessions,
    streams,
    transcripts,
    understandings,
    videos,
)
from tests.client.wire import account as account_rows
from tests.client.wire import alerts as alert_rows
from tests.client.wire import indexes as index_rows
from tests.client.wire import live_search as live_search_rows
from tests.client.wire import meetings as meeting_rows
from tests.client.wire import searching as searching_rows
from tests.client.wire import sessions as session_rows
from tests.client.wire import transcripts as transcript_rows
from tests.client.wire import understandings as understanding_rows
from tests.client.wire import videos as video_rows
from tests.client.wire.case import Case, Operation, name_of
from tests.support.recording_server import RecordingServer, Request, envelope

CASES = [
    *account_rows.CASES,
    *alert_rows.CASES,
    *index_rows.CASES,
    *live_search_rows.CASES,
    *meeting_rows.CASES,
    *searching_rows.CASES,
    *session_rows.CASES,
    *transcript_rows.CASES,
    *understanding_rows.CASES,
    *video_rows.CASES,
    Case(streams.update, "", {"rtstream_id": "rts-1", "name": "x", "sample_rate": 15}),
    Case(transcripts.status, "", {"rtstream_id": "rts-1"}),
    Case(transcripts.status, "", {"rtstream_id": "rts-1", "engine": "e"}),
]

TASKS: dict[Operation, str] = {
    account.usage: "check_usage",
    alerts.create: "create_alert",
    alerts.create_event: "create_event",
    alerts.disable: "disable_alert",
    alerts.enable: "enable_alert",
    alerts.list_all: "list_alerts",
    alerts.list_events: "list_events",
    indexes.audio: "index_rtstream_audio",
    indexes.get: "get_rtstream_scene_index",
    indexes.list_all: "list_rtstream_scene_indexes",
    indexes.scene_page: "get_rtstream_scenes",
    indexes.scenes: "index_rtstream_scenes",
    indexes.spoken_words: "index_rtstream_spoken_words",
    indexes.start: "start_rtstream_scene_index",
    indexes.stop: "stop_rtstream_scene_index",
    indexes.visuals: "index_rtstream_visuals",
    meetings.get: "get_meeting",
    meetings.of_video: "get_video_meeting",
    meetings.record: "record_meeting_with_bot",
    searching.aggregate: "aggregate_{within}",
    searching.ask: "ask_{within}",
    searching.query: "query_{within}",
    searching.search: "search_{within}_v2",
    searching.semantic_search: "semantic_search_{within}",
    sessions.client_token: "generate_client_token",
    sessions.create: "create_capture_session",
    sessions.export: "export_capture_session",
    sessions.get: "get_capture_session",
    sessions.list_all: "list_capture_sessions",
    streams.search: "search_rtstream",
    streams.search_collection: "search_rtstreams",
    streams.update: "update_rtstream",
    transcripts.page: "get_rtstream_transcript",
    transcripts.start: "start_rtstream_transcript",
    transcripts.status: "get_rtstream_transcript_status",
    transcripts.stop: "stop_rtstream_transcript",
    understandings.get: "get_rtstream_understanding",
    understandings.get_index: "get_rtstream_index",
    understandings.index: "index_rtstream",
    understandings.index_record_page: "get_rtstream_index_records",
    understandings.list_all: "list_rtstream_understandings",
    understandings.list_indexes: "list_rtstream_indexes",
    understandings.record_page: "get_rtstream_understanding_records",
    understandings.start: "start_rtstream_understanding",
    understandings.start_index: "start_rtstream_index",
    understandings.stop: "stop_rtstream_understanding",
    understandings.stop_index: "stop_rtstream_index",
    understandings.understand: "understand_rtstream",
    videos.clip: "clip_video",
    videos.delete: "delete_video",
    videos.delete_scene_index: "delete_scene_index",
    videos.generate_thumbnail: "generate_thumbnail",
    videos.get_scene_index: "get_scene_index",
    videos.get_thumbnail: "get_thumbnail",
    videos.get_thumbnails: "get_thumbnails",
    videos.index_scenes: "index_scenes",
    videos.list_scene_index: "list_scene_index",
}
# Tasks that do more than one operation, or hold a connection; other tests say what.
OF_SEVERAL = {
    "archive_video",
    "connect_websocket",
    "receive_frames",
    "ensure_alert",
    "ensure_event",
    "ensure_rtstream",
    "ensure_scene_index",
    "follow_rtstream_transcript",
    "get_all_rtstream_index_records",
    "get_all_rtstream_scenes",
    "get_all_rtstream_understanding_records",
    "get_capture_session_rtstream",
    "get_transcript_text",
    "list_all_rtstreams",
    "wait_for_meeting",
}
# Tasks of the recording flow; test_adopt_or_wait, test_retries and the flow's own tests run them.
OF_THE_FLOW = {
    "compile_clip",
    "connect_rtstream",
    "create_collection",
    "download",
    "export_rtstream",
    "generate_rtstream_stream",
    "get_collection",
    "get_download",
    "get_rtstream",
    "get_spoken_word_index",
    "get_transcript",
    "get_video",
    "index_spoken_words",
    "list_collections",
    "list_rtstreams",
    "search_video",
    "start_rtstream",
    "stop_rtstream",
}
_ANSWER = {
    "id": "x-1",
    "event_id": "e-1",
    "alert_id": "al-1",
    "rtstream_index_id": "a1b2",
    "meeting_id": "mt-1",
    "export_status": "exported",
}


def _wire(request: Request) -> tuple[str, str, list[tuple[str, str]], str]:
    return request.method, request.path, request.query, json.dumps(request.json, sort_keys=True)


def _task(case: Case) -> tuple[Any, dict[str, Any]]:
    arguments = dict(case.arguments)
    name = TASKS[case.operation].format(within=arguments.get("within", ""))
    if within := arguments.pop("within", None):
        arguments[f"{within}_id"] = arguments.pop("within_id")
    return getattr(tasks, name), arguments


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_task_sends_what_the_client_sends(account: VideoDBCredentials, service: RecordingServer, case: Case) -> None:
    service.answer = lambda _request: envelope(_ANSWER)
    task, arguments = _task(case)

    task.fn(account, **arguments)
    with Client(api_key="k", base_url=service.url) as client:
        client.begin(case.operation(**case.arguments))

    by_task, by_client = service.requests
    assert _wire(by_task) == _wire(by_client)


def _names() -> Iterator[str]:
    for name in TASKS.values():
        for within in ("video", "collection") if "{" in name else ("",):
            yield name.format(within=within)


def test_every_task_is_of_one_operation_or_of_several() -> None:
    assert {*_names(), *OF_SEVERAL, *OF_THE_FLOW} == set(tasks.__all__)


def test_every_operation_of_these_has_rows() -> None:
    assert {name_of(case.operation) for case in CASES} == {name_of(operation) for operation in TASKS}


def test_a_task_takes_the_defaults_of_its_operation() -> None:
    for case in CASES:
        task, _ = _task(case)
        defaults = {name: p.default for name, p in inspect.signature(task.fn).parameters.items()}
        for name, parameter in inspect.signature(case.operation).parameters.items():
            if name not in {"within", "within_id"}:
                assert defaults[name] == parameter.default, (task.name, name)


def test_a_tasks_run_is_named_after_its_arguments_and_after_no_secret() -> None:
    for name in tasks.__all__:
        task = getattr(tasks, name)
        template = task.task_run_name if isinstance(task.task_run_name, str) else task.task_run_name.template
        named = {field for _, field, _, _ in Formatter().parse(template) if field}
        assert named <= inspect.signature(task.fn).parameters.keys(), name
        assert not named & {"url", "callback_url", "callback_data", "meeting_url", "stream_link"}, name
