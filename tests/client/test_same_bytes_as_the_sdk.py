"""What our client sends is what the vendor's own SDK sends: method, path, query and body, for every operation."""

import inspect
import json
import pkgutil
import typing
from collections.abc import Iterator
from contextlib import ExitStack
from importlib import import_module
from typing import Any

import pytest

import prefect_videodb.client
from prefect_videodb.client import Call, Client, collection, streams, videos, websocket
from prefect_videodb.client import transcripts as client_transcripts
from prefect_videodb.client.models import Shot
from tests.client.conftest import KEY
from tests.client.wire import (
    account,
    alerts,
    indexes,
    live_search,
    meetings,
    searching,
    sessions,
    transcripts,
    understandings,
)
from tests.client.wire import videos as more_videos
from tests.client.wire.case import COLLECTION, STREAM, VIDEO, Case, Operation, name_of, rest
from tests.support import sdk
from tests.support.recording_server import RecordingServer, Request, envelope

_LEGACY_SEARCH = """
video = videodb.video.Video(conn, id=args.pop("video_id"), collection_id="default")
# 0.5 gave `search` to another operation, and this one a new name.
getattr(video, "legacy_search", video.search)(args.pop("query"), **args)
"""
_PLAYBACK = """
stream = videodb.rtstream.RTStream(conn, args["rtstream_id"])
config = {name: args[f"player_{ours}"] for ours, name in
          [("title", "title"), ("description", "description"), ("slug_prefix", "slug")] if f"player_{ours}" in args}
stream.generate_stream(args["start"], args["end"], **({"player_config": config} if config else {}))
"""
_COMPILE = """
videodb.search.SearchResult(conn, results=[
    {"video_id": shot["video_id"], "collection_id": args.get("collection_id", "default"), "docs": [shot]}
    for shot in args["shots"]
]).compile()
"""
_SHOTS = [
    Shot(video_id="m-z-1", start=1.5, end=4),
    Shot(video_id="m-z-2", start=0, end=2.25),
    Shot(video_id="m-z-1", start=3, end=6),
]


_SEARCH: dict[str, Any] = {"video_id": "m-z-1", "query": "what was decided about the budget?"}
_SEARCH_ALL: dict[str, Any] = {
    "index_type": "scene",
    "result_threshold": 7,
    "score_threshold": 0.45,
    "filter": [{"speaker": "Ada"}],
    "scene_index_id": "a1b2",
}

_SOCKET = {"websocket_url": "ws://127.0.0.1:9/socket"}

CASES = [
    Case(collection.get, "conn.get_collection(**args)"),
    Case(collection.get, "conn.get_collection(**args)", {"collection_id": "c-1"}),
    Case(collection.list_all, "conn.get_collections()"),
    Case(collection.create, "conn.create_collection(**args)", {"name": "Meetings", "description": "of the board"}),
    Case(
        collection.create,
        "conn.create_collection(**args)",
        {"name": "Zoë & Co. <1>", "description": "", "is_public": True},
    ),
    Case(
        streams.connect,
        COLLECTION + "connect_rtstream(" + rest("collection_id") + ")",
        {"url": "rtsp://user:pa%40ss@127.0.0.1:8554/live?a=1&b=2", "name": "Board meeting"},
    ),
    Case(
        streams.connect,
        COLLECTION + "connect_rtstream(" + rest("collection_id") + ")",
        {
            "url": "rtmp://127.0.0.1/live/key",
            "name": "Sitzung Übung 会議",
            "collection_id": "c-1",
            "media_types": ["audio", "video"],
            "sample_rate": 15,
            "store": False,
            "enable_transcript": True,
            "ws_connection_id": "ws-1",
        },
    ),
    Case(streams.get, COLLECTION + "get_rtstream(args['rtstream_id'])", {"rtstream_id": "rts-1"}),
    Case(streams.list_page, COLLECTION + "list_rtstreams()"),
    Case(
        streams.list_page,
        COLLECTION + "list_rtstreams(**args)",
        {"limit": 50, "offset": 0, "status": "connected", "name": "a b+c&d=é%", "ordering": "-created_at"},
    ),
    Case(streams.start, STREAM + "start()", {"rtstream_id": "rts-1"}),
    Case(streams.stop, STREAM + "stop()", {"rtstream_id": "rts-1"}),
    Case(streams.playback, _PLAYBACK, {"rtstream_id": "rts-1", "start": 1748475396, "end": 1748475407}),
    Case(
        streams.playback,
        _PLAYBACK,
        {
            "rtstream_id": "rts-1",
            "start": 1748475396,
            "end": 1748475407,
            "player_title": "Board meeting",
            "player_description": "May & June",
            "player_slug_prefix": "board",
        },
    ),
    Case(streams.export, STREAM + "export()", {"rtstream_id": "rts-1"}),
    Case(streams.export, STREAM + "export(name=args['name'])", {"rtstream_id": "rts-1", "name": "Board, 28 May"}),
    Case(videos.get, COLLECTION + "get_video(args['video_id'])", {"video_id": "m-z-1"}),
    Case(videos.get, COLLECTION + "get_video(args['video_id'])", {"video_id": "m-z-1", "collection_id": "c-1"}),
    Case(videos.index_spoken_words, VIDEO + "index_spoken_words()", {"video_id": "m-z-1"}),
    Case(
        videos.index_spoken_words,
        VIDEO + "index_spoken_words(" + rest("video_id") + ")",
        {
            "video_id": "m-z-1",
            "language_code": "en_us",
            "segmentation_type": "llm",
            "force": True,
            "callback_url": "http://127.0.0.1/hook?token=t",
        },
    ),
    Case(videos.search, _LEGACY_SEARCH, _SEARCH),
    Case(videos.search, _LEGACY_SEARCH, _SEARCH | {"search_type": "keyword"}),
    Case(
        videos.search,
        _LEGACY_SEARCH,
        _SEARCH | _SEARCH_ALL | {"search_type": "keyword", "dynamic_score_percentage": 20.0},
    ),
    Case(videos.search, _LEGACY_SEARCH, _SEARCH | _SEARCH_ALL | {"dynamic_score_percentage": 20.0}),
    Case(videos.search, _LEGACY_SEARCH, _SEARCH | {"score_threshold": 0, "result_threshold": 0}),
    Case(videos.transcript, VIDEO + "get_transcript()", {"video_id": "m-z-1"}),
    Case(
        videos.transcript,
        VIDEO + "get_transcript(" + rest("video_id") + ")",
        {"video_id": "m-z-1", "start": 0, "end": 90, "segmenter": "time", "length": 30, "force": True},
    ),
    Case(videos.compile_clip, _COMPILE, {"shots": _SHOTS}),
    Case(videos.compile_clip, _COMPILE, {"shots": _SHOTS, "collection_id": "c-1"}),
    Case(
        videos.download,
        "conn.download(**args)",
        {"stream_link": "http://127.0.0.1/v1/x.m3u8", "name": "clip.mp4"},
    ),
    Case(websocket.address, "conn.connect_websocket()", answer=_SOCKET),
    Case(websocket.address, "conn.connect_websocket(**args)", {"collection_id": "c-1"}, answer=_SOCKET),
    *account.CASES,
    *alerts.CASES,
    *indexes.CASES,
    *live_search.CASES,
    *meetings.CASES,
    *more_videos.CASES,
    *searching.CASES,
    *sessions.CASES,
    *understandings.CASES,
    *transcripts.CASES,
]

# What the SDK does not have. Each with where it is known from, and what must be on the wire.
WITHOUT_THE_SDK: list[tuple[Operation, dict[str, Any], str, tuple[str, str, list[tuple[str, str]], Any]]] = [
    (
        videos.spoken_word_index,
        {"video_id": "m-z-1"},
        "openapi.yaml, /video/{video_id}/index: the SDK asks it for scenes only",
        ("GET", "/video/m-z-1/index", [("index_type", "spoken_word")], None),
    ),
    (
        videos.get_download,
        {"download_id": "d-1"},
        "openapi.yaml, /download/{download_id}: the SDK waits for the answer to POST /download instead",
        ("GET", "/download/d-1", [], None),
    ),
    (
        streams.update,
        {"rtstream_id": "rts-1", "name": "Board, 28 May", "sample_rate": 15},
        "openapi.yaml, PATCH /rtstream/{stream_id}/",
        ("PATCH", "/rtstream/rts-1", [], {"name": "Board, 28 May", "sample_rate": 15}),
    ),
    (
        streams.update,
        {"rtstream_id": "rts-1", "name": "Board"},
        "openapi.yaml, PATCH /rtstream/{stream_id}/",
        ("PATCH", "/rtstream/rts-1", [], {"name": "Board"}),
    ),
    (
        client_transcripts.status,
        {"rtstream_id": "rts-1"},
        "openapi.yaml, /rtstream/{stream_id}/transcription/status",
        ("GET", "/rtstream/rts-1/transcription/status", [], None),
    ),
    (
        client_transcripts.status,
        {"rtstream_id": "rts-1", "engine": "e"},
        "openapi.yaml, /rtstream/{stream_id}/transcription/status",
        ("GET", "/rtstream/rts-1/transcription/status", [("engine", "e")], None),
    ),
]

# Keys of every answer that the SDK reads, so that it comes to an end after one request.
_PLAUSIBLE = {
    "id": "x-1",
    "name": "x",
    "collection_id": "c-1",
    "video_id": "m-z-1",
    "collections": [],
    "results": [],
    "word_timestamps": [],
    "text": "",
    "stream_url": "http://127.0.0.1/x.m3u8",
    "player_url": "http://127.0.0.1/watch?v=x",
}
_OLDER, _NEWER = sdk.VERSIONS


@pytest.fixture(scope="module")
def recorder() -> Iterator[RecordingServer]:
    with RecordingServer(lambda _request: envelope(_PLAUSIBLE)) as server:
        yield server


@pytest.fixture(scope="module")
def vendors() -> Iterator[dict[str, sdk.Sdk]]:
    """Give both versions, running: as the parameter of a fixture, one would be started for each test."""
    with ExitStack() as running:
        yield {version: running.enter_context(sdk.Sdk(version)) for version in sdk.VERSIONS}


def _only(recorder: RecordingServer) -> Request:
    (request,) = recorder.requests
    recorder.requests.clear()
    return request


def _wire(request: Request) -> tuple[str, str, list[tuple[str, str]], str]:
    # As text: 1, 1.0 and True are the same to Python and not to a service.
    return request.method, request.path, request.query, json.dumps(request.json, sort_keys=True)


def _sent_by_us(recorder: RecordingServer, call: Call[Any]) -> Request:
    recorder.requests.clear()
    with Client(api_key=KEY, base_url=recorder.url, timeout_s=60) as client:
        client.begin(call)
    return _only(recorder)


@pytest.mark.parametrize(
    ("version", "case"),
    [(version, case) for version in sdk.VERSIONS for case in CASES if not case.needs or version == _NEWER],
    ids=str,
)
def test_an_operation_puts_on_the_wire_what_the_sdk_puts_there(
    case: Case, version: str, vendors: dict[str, sdk.Sdk], recorder: RecordingServer
) -> None:
    data = _PLAUSIBLE if case.answer is None else case.answer
    recorder.answer = lambda _request: envelope(data)
    ours = _sent_by_us(recorder, case.operation(**case.arguments))
    plain = json.loads(json.dumps(case.arguments, default=lambda shot: shot.model_dump()))

    vendors[version].run(case.code, base_url=recorder.url, api_key=KEY, **plain)
    theirs = _only(recorder)

    assert _wire(ours) == _wire(theirs)
    assert ours.headers["x-access-token"] == theirs.headers["x-access-token"] == KEY
    assert ours.headers["x-videodb-client"].startswith("prefect-videodb/")
    if theirs.body:
        assert ours.headers["content-type"] == theirs.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("operation", "arguments", "source", "expected"), WITHOUT_THE_SDK, ids=lambda value: getattr(value, "__name__", "")
)
def test_an_operation_that_the_sdk_lacks_puts_on_the_wire_what_its_source_says(
    operation: Operation,
    arguments: dict[str, Any],
    source: str,
    expected: tuple[str, str, list[tuple[str, str]], Any],
    recorder: RecordingServer,
) -> None:
    recorder.answer = lambda _request: envelope(_PLAUSIBLE)
    request = _sent_by_us(recorder, operation(**arguments))

    assert (request.method, request.path, request.query, request.json) == expected, source


def operations() -> Iterator[Operation]:
    """Yield every operation of the client."""
    for module_info in pkgutil.iter_modules(prefect_videodb.client.__path__):
        module = import_module(f"prefect_videodb.client.{module_info.name}")
        for name, value in vars(module).items():
            if name.startswith("_") or not inspect.isfunction(value) or value.__module__ != module.__name__:
                continue
            if typing.get_origin(typing.get_type_hints(value).get("return")) is Call:
                yield value


def test_every_operation_of_the_client_is_compared() -> None:
    compared = {case.operation for case in CASES} | {row[0] for row in WITHOUT_THE_SDK}

    known = set(operations())

    assert len(known) >= 70  # the search itself works
    assert {name_of(operation) for operation in known - compared} == set()


@pytest.mark.parametrize("needs", sorted({case.needs for case in CASES if case.needs}))
def test_what_is_compared_with_the_newer_sdk_only_is_not_in_the_older_one(
    needs: str, vendors: dict[str, sdk.Sdk]
) -> None:
    def has(version: str) -> bool:
        code = f"import inspect\ntry:\n    result = bool({needs})\nexcept AttributeError:\n    result = False"
        return bool(vendors[version].run(code, base_url="http://127.0.0.1:9"))

    assert (has(_OLDER), has(_NEWER)) == (False, True)


def test_every_operation_is_compared_without_and_with_all_its_optional_arguments() -> None:
    for operation in {case.operation for case in CASES}:
        cases = [case for case in CASES if case.operation is operation]
        assert any(case.is_bare for case in cases), (
            f"{name_of(operation)} is never called with its required arguments only"
        )
        assert any(case.is_full for case in cases), f"{name_of(operation)} is never called with all its arguments"


def test_the_two_versions_of_the_sdk_are_two_versions(vendors: dict[str, sdk.Sdk]) -> None:
    code = "import videodb.__about__ as about; result = about.__version__"
    for version, vendor in vendors.items():
        assert vendor.run(code, base_url="http://127.0.0.1:9") == version
