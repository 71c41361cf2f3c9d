"""What comes in pages is read whole, once, by both clients; what follows tells only what is new."""

import asyncio
from typing import Any

import pytest

from prefect_videodb.client import AsyncClient, Client, indexes, streams, transcripts, understandings
from prefect_videodb.errors import ConfigurationError, UnexpectedAnswer
from tests.client.conftest import KEY
from tests.support.recording_server import RecordingServer, Reply, Request, envelope


def _numbered(entries: list[dict[str, Any]], key: str) -> Any:
    def answer(request: Request) -> Reply:
        query = dict(request.query)
        size, page = int(query["page_size"]), int(query["page"])
        since = float(query.get("since", "-inf"))
        fitting = [entry for entry in entries if entry["end"] > since]
        part = fitting[(page - 1) * size : page * size]
        return envelope({key: part, "next_page": page * size < len(fitting)})

    return answer


def _record(start: float, text: str = "") -> dict[str, Any]:
    return {"start": start, "end": start + 1, "text": text or f"said at {start}"}


def test_all_scenes_are_read_page_by_page(server: RecordingServer) -> None:
    scenes = [{"start": number, "end": number + 1, "description": str(number)} for number in range(250)]
    server.answer = _numbered(scenes, "scene_index_records")
    pages = indexes.every_scene_page("rts-1", "i-1")
    with Client(api_key=KEY, base_url=server.url) as client:
        read = [scene for page in client.follow(pages.first, pages.following) for scene in page.scenes]
    assert [scene.description for scene in read] == [str(number) for number in range(250)]
    assert len(server.requests) == 3


def test_all_streams_are_read_by_the_async_client(server: RecordingServer) -> None:
    held = [{"id": f"rts-{number}", "name": "x"} for number in range(230)]

    def answer(request: Request) -> Reply:
        query = dict(request.query)
        offset, limit = int(query["offset"]), int(query["limit"])
        return envelope({"results": held[offset : offset + limit], "count": len(held)})

    server.answer = answer

    async def read() -> list[str]:
        pages = streams.EveryPage(name="x")
        async with AsyncClient(api_key=KEY, base_url=server.url) as client:
            return [stream.id async for page in client.follow(pages.first, pages.following) for stream in page.results]

    assert asyncio.run(read()) == [stream["id"] for stream in held]
    assert [dict(request.query)["name"] for request in server.requests] == ["x", "x", "x"]


@pytest.mark.parametrize("count", [None, 300])
def test_a_service_that_gives_the_same_streams_again_is_not_asked_for_ever(
    server: RecordingServer, count: int | None
) -> None:
    server.tell(envelope({"results": [{"id": f"rts-{number}"} for number in range(100)], "count": count}))
    pages = streams.EveryPage()
    with Client(api_key=KEY, base_url=server.url) as client:
        assert len(list(client.follow(pages.first, pages.following))) <= 3


def test_a_service_that_gives_the_same_page_again_is_not_asked_for_ever(server: RecordingServer) -> None:
    server.tell(envelope({"transcription_records": [_record(1)], "next_page": True}))
    pages = transcripts.every_page("rts-1")
    with Client(api_key=KEY, base_url=server.url) as client:
        assert len(list(client.follow(pages.first, pages.following))) == 2


@pytest.mark.parametrize("count", [1, 100, 10**15])
def test_count_that_lies(server: RecordingServer, count: int) -> None:
    held = [{"id": f"rts-{number}"} for number in range(230)]

    def answer(request: Request) -> Reply:
        offset = int(dict(request.query)["offset"])
        return envelope({"results": held[offset : offset + 100], "count": count})

    server.answer = answer
    pages = streams.EveryPage()
    with Client(api_key=KEY, base_url=server.url) as client:
        found = [stream.id for page in client.follow(pages.first, pages.following) for stream in page.results]
    assert found == [stream["id"] for stream in held]


def test_offset_that_does_not_move(server: RecordingServer) -> None:
    server.tell(envelope({"results": [{"id": f"rts-{number}"} for number in range(100)], "count": 10**15}))
    pages = streams.EveryPage()
    with Client(api_key=KEY, base_url=server.url) as client:
        assert len(list(client.follow(pages.first, pages.following))) == 2


@pytest.mark.parametrize(
    ("pages", "key"),
    [
        (lambda: transcripts.every_page("rts-1"), "transcription_records"),
        (lambda: indexes.every_scene_page("rts-1", "i-1"), "scene_index_records"),
        (lambda: understandings.every_record_page("rts-1", "und-1", 0, 1), "records"),
        (lambda: understandings.every_index_record_page("rts-1", "idx-1"), "records"),
    ],
    ids=["transcript", "scenes", "understanding", "index"],
)
@pytest.mark.parametrize("kind", ["same", "alternating", "turned", "empty", "unreadable"])
def test_pages_that_repeat(server: RecordingServer, pages: Any, key: str, kind: str) -> None:
    entries = [_record(float(number)) for number in range(4)]

    def answer(request: Request) -> Reply:
        page = int(dict(request.query)["page"])
        if page > 20:
            raise AssertionError("it is asked for ever")
        turned = page % 4
        given: dict[str, list[Any]] = {
            "same": entries,
            "alternating": entries[:2] if page % 2 else entries[2:],
            "turned": entries[turned:] + entries[:turned],
            "empty": [],
            "unreadable": [1, None, "x"],
        }
        return envelope({key: given[kind], "next_page": True, "page": page})

    server.answer = answer
    every = pages()
    with Client(api_key=KEY, base_url=server.url) as client:
        assert len(list(client.follow(every.first, every.following))) <= 3


@pytest.mark.parametrize("of", ["pages", "streams"])
def test_list_without_end(server: RecordingServer, monkeypatch: pytest.MonkeyPatch, of: str) -> None:
    monkeypatch.setattr("prefect_videodb.client.paging.MAX_PAGES", 20)

    def answer(_request: Request) -> Reply:
        number = len(server.requests)
        streams_of_it = [{"id": f"rts-{number}-{entry}"} for entry in range(3)]
        return envelope({"scene_index_records": [_record(number)], "next_page": True, "results": streams_of_it})

    server.answer = answer
    every: Any = indexes.every_scene_page("rts-1", "i-1") if of == "pages" else streams.EveryPage()
    with (
        Client(api_key=KEY, base_url=server.url) as client,
        pytest.raises(UnexpectedAnswer, match=r"the list has no end: .* on 20 pages"),
    ):
        list(client.follow(every.first, every.following))
    assert len(server.requests) == 20


def _look(client: Client, following: transcripts.FollowUp) -> list[str | None]:
    pages = following.pages()
    return [record.text for page in client.follow(pages.first, pages.following) for record in following.new(page)]


def test_a_follow_up_tells_each_record_once(server: RecordingServer) -> None:
    said = [_record(1000.0), _record(1010.0)]
    server.answer = _numbered(said, "transcription_records")
    following = transcripts.FollowUp("rts-1")
    with Client(api_key=KEY, base_url=server.url) as client:
        assert _look(client, following) == ["said at 1000.0", "said at 1010.0"]
        assert _look(client, following) == []
        said.append(_record(1020.0))
        said.insert(0, _record(1005.0, "came late"))
        assert _look(client, following) == ["came late", "said at 1020.0"]
        said.extend(_record(1030.0 + number) for number in range(2500))
        assert len(_look(client, following)) == 2500
        assert _look(client, following) == []
        said[0]["text"] = "corrected"  # long ago: not asked for again
        said[-1]["text"] = "corrected"
        assert _look(client, following) == ["corrected"]
    asked = [dict(request.query).get("since") for request in server.requests]
    assert asked[0] is None
    assert asked[1] == "951.0"  # a minute before the latest that was told


def test_a_follow_up_never_asks_for_what_was_before_its_beginning(server: RecordingServer) -> None:
    said = [_record(990.0), _record(1010.0)]
    server.answer = _numbered(said, "transcription_records")
    following = transcripts.FollowUp("rts-1", since=1000.0)
    with Client(api_key=KEY, base_url=server.url) as client:
        assert _look(client, following) == ["said at 1010.0"]
        assert _look(client, following) == []
    assert {dict(request.query)["since"] for request in server.requests} == {"1000.0"}


def test_records_without_times_are_told_once_as_well(server: RecordingServer) -> None:
    server.tell(envelope({"transcription_records": [{"text": "a"}, {"start": 5, "text": "b"}]}))
    following = transcripts.FollowUp("rts-1")
    with Client(api_key=KEY, base_url=server.url) as client:
        assert _look(client, following) == ["b", "a"]
        assert _look(client, following) == []


@pytest.mark.parametrize("bad", [{"page": 0}, {"page_size": 0}, {"page_size": 1001}, {"start": 2, "end": 1}], ids=str)
def test_a_page_that_cannot_be_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        transcripts.page("rts-1", **bad)


def test_an_update_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        streams.update("rts-1")
