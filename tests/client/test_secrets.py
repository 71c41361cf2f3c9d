"""The API key and what is secret of a source URL stay out of sight; and hostile input leads nowhere else."""

import json
import logging
import pickle
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import quote, unquote

import pytest
from pydantic import SecretStr

from prefect_videodb.client import AsyncClient, Call, Client, Polling, streams, videos
from prefect_videodb.errors import ConfigurationError, NotConnected, VideoDBError
from tests.client.conftest import KEY, Sender
from tests.support.recording_server import CUT, RecordingServer, Reply, Request, envelope

Connect = Callable[..., Sender]
PASSWORD = "p%40ss/w\u00f6rd"  # quoted and unquoted, and not ASCII
STREAM_KEY = "live_5521_aBcDeFgH"
TOKEN = "tok-90210"
SOURCES = [
    f"rtsp://camera:{PASSWORD}@127.0.0.1:8554/live?token={TOKEN}&x=1",
    f"rtmp://127.0.0.1/live/{STREAM_KEY}",
    f"srt://127.0.0.1:9000?passphrase={TOKEN}&streamid=%23!::r={STREAM_KEY}",
    f"rtsp://{TOKEN}@127.0.0.1/live",
]
SECRETS = [KEY, "p%40ss", "p@ss", "w\u00f6rd", "w\\u00f6rd", "w%C3%B6rd", STREAM_KEY, TOKEN]


def _connecting(source: str) -> Call[Any]:
    return streams.connect(source, "Board meeting", store=True)


def _shown(error: BaseException) -> str:
    """Everything that a person, a log or a stored result may get to see of an error."""
    return "\n".join(
        [
            str(error),
            repr(error),
            repr(vars(error)),
            repr(error.args),
            *traceback.format_exception(error),
            pickle.dumps(error).decode("utf-8", "replace"),
        ]
    )


def _echo(status: int, form: str) -> Callable[[Request], Reply]:
    """Answer with all that came in, in one of the forms in which services do so."""

    def answer(request: Request) -> Reply:
        source = request.json["url"]
        said = f"bad source {source} for key {request.headers['x-access-token']}"
        bodies = {
            "message": {"success": False, "message": said},
            "object": {"success": False, "error": {"request": request.json, "headers": dict(request.headers)}},
            "unread": {"success": True, "data": {"seen": request.json, "key": request.headers["x-access-token"]}},
        }
        if form == "html":
            return Reply(f"<html><pre>{said}</pre></html>".encode(), status)
        if form == "bytes":
            return Reply(request.body + request.headers["x-access-token"].encode(), status)
        if form == "slashes":
            return Reply(json.dumps(bodies["message"]).replace("/", "\\/").encode(), status)
        if form == "redirect":
            return Reply(b"", 302, {"Location": f"http://127.0.0.1/?key={KEY}&source={quote(source)}"})
        return Reply(json.dumps(bodies[form], ensure_ascii=form == "object").encode(), status)

    return answer


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("status", [200, 400, 401, 429, 500])
@pytest.mark.parametrize("form", ["message", "object", "unread", "html", "bytes", "slashes", "redirect"])
def test_what_the_service_echoes_is_blotted_out(
    client: Sender, server: RecordingServer, *, form: str, status: int, source: str
) -> None:
    server.answer = _echo(status, form)

    with pytest.raises(VideoDBError) as caught:
        client.send(_connecting(source))

    shown = _shown(caught.value)
    assert "POST /rtstream" in shown
    for secret in SECRETS:
        assert secret not in shown


@pytest.mark.parametrize("source", SOURCES)
def test_no_log_at_any_level_shows_a_secret(
    connect: Connect, server: RecordingServer, caplog: pytest.LogCaptureFixture, source: str
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore", "prefect_videodb"):
        caplog.set_level(logging.DEBUG, logger=name)
    client = connect(server.url)
    under_way = envelope({"output_url": f"{server.url}/async-response/1"}, status="processing")
    for replies in (
        [envelope({"id": "rts-1"})],
        [Reply(b"{}", 401)],
        [Reply(f"<html>{KEY} {source}".encode(), 502)],
        [CUT],
        [under_way, CUT, Reply(f"{KEY} {source}".encode(), 503), envelope({"id": "rts-1"})],
    ):
        server.tell(*replies)
        with suppress(VideoDBError):
            client.send(_connecting(source), polling=Polling(interval_s=0.001))

    assert "POST /rtstream: HTTP 200" in caplog.text  # logs were caught
    assert "looking again" in caplog.text
    for secret in SECRETS:
        assert secret not in caplog.text


def test_no_log_behind_a_proxy_shows_a_secret(
    connect: Connect, server: RecordingServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url)  # a proxy that answers by itself
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore", "prefect_videodb"):
        caplog.set_level(logging.DEBUG, logger=name)
    server.tell(envelope({"id": "rts-1"}))

    for source in SOURCES:
        connect("http://videodb.invalid").send(_connecting(source))

    assert "POST /rtstream: HTTP 200" in caplog.text  # logs were caught
    assert server.requests
    for secret in SECRETS:
        assert secret not in caplog.text


def test_nothing_that_can_be_printed_shows_a_secret(connect: Connect, server: RecordingServer) -> None:
    client = connect(server.url)
    server.tell(envelope({"output_url": f"{server.url}/r"}, status="processing"))
    call = _connecting(SOURCES[0])
    job = client.begin(call)

    for shown in (repr(client), repr(call), str(call), repr(job), str(job), f"{[client, call, job]}"):
        for secret in SECRETS:
            assert secret not in shown


def test_no_url_of_any_request_holds_the_key(client: Sender, server: RecordingServer) -> None:
    server.tell(envelope({"id": "rts-1"}))
    calls: list[Call[Any]] = [_connecting(SOURCES[0]), streams.list_page(name="x"), videos.search("m-1", "x")]
    for call in calls:
        client.send(call)

    for request in server.requests:
        assert request.headers["x-access-token"] == KEY
        assert KEY not in request.target
        assert "p@ss" not in unquote(request.target)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    "key", ["", " ", "a b", "a\nb", "a\r\nx-injected: 1", "kéy", "a\x00b", "\ufeffkey", "a\x7fb"], ids=repr
)
def test_a_key_that_cannot_be_one_is_refused_and_not_shown(kind: type[Client] | type[AsyncClient], key: str) -> None:
    for given in (key, SecretStr(key)):
        with pytest.raises(ConfigurationError, match="API key") as caught:
            kind(api_key=given)
        assert key.strip() == "" or key not in str(caught.value)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    "base_url",
    [
        "",
        "api.videodb.io",
        "ftp://127.0.0.1",
        "file:///etc/passwd",
        "//127.0.0.1",
        "http://",
        "http:///path",
        "http://?q",
        "http://user:base-password@127.0.0.1",
        "http://base-password@127.0.0.1",
        "http://:@127.0.0.1",
        "http://127.0.0.1?token=base-password",
        "http://127.0.0.1/?",
        "http://127.0.0.1/#base-password",
        "http://127.0.0.1#",
        "http://127.0.0.1:port",
        "http://127.0.0.1:99999999",
        "http://127.0.0.1:-1",
        "http://[::1",
        "http://exa mple",
        "http://127.0.0.1/\x00",
        "http://127.0.0.1\r\nx-injected: 1",
        "http://\u2025",
        "http://" + "a" * 100_000,
        None,
        80,
        b"http://127.0.0.1",
    ],
    ids=lambda value: repr(value)[:50],
)
def test_a_base_url_that_cannot_be_used_is_refused_at_once(
    kind: type[Client] | type[AsyncClient], base_url: Any
) -> None:
    with pytest.raises(ConfigurationError, match="base URL") as caught:
        kind(api_key=KEY, base_url=base_url)

    assert "base-password" not in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("suffix", ["", "/", "//"])
def test_a_base_url_may_end_in_slashes_and_have_a_path(connect: Connect, server: RecordingServer, suffix: str) -> None:
    server.tell(envelope({"id": "rts-1"}))

    connect(f"{server.url}/gateway{suffix}").send(streams.get("rts-1"))

    assert server.requests[0].target == "/gateway/rtstream/rts-1"


@pytest.mark.parametrize(
    "hostile",
    [
        "../x",
        "..%2fx",
        "a/b",
        "/etc",
        "?x",
        "x?y=1&z",
        "#",
        "x#y",
        "%2e%2e",
        "%",
        "%00",
        "a\\b",
        "a;b",
        "a b",
        " a ",
        "\t",
        "a\nb",
        "a\r\nHost: evil",
        "\x00",
        "...",
        ".hidden",
        "会議",
        "e\u0301",
        "\u202e",
        "😀",
        "http://evil.invalid/",
        "@evil",
        ":80",
        "*",
        "a" * 10_000,
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_hostile_id_reaches_the_operation_it_was_given_to_and_no_other(
    client: Sender, server: RecordingServer, hostile: str
) -> None:
    if not hostile.strip():
        with pytest.raises(ConfigurationError, match="not an id"):
            streams.stop(hostile)
        return
    client.send(streams.stop(hostile))
    client.send(videos.spoken_word_index(hostile))

    stop, index = server.requests
    assert [unquote(part) for part in stop.target.split("/")] == ["", "rtstream", hostile, "status"]
    assert [unquote(part) for part in index.path.split("/")] == ["", "video", hostile, "index"]
    assert index.query == [("index_type", "spoken_word")]
    assert "?" not in stop.target
    assert stop.headers["host"] == f"127.0.0.1:{server.port}"


@pytest.mark.parametrize("bad", ["", " ", "\n", ".", "..", " .. ", "\ud800", None, 7, b"rts-1", ["rts-1"]], ids=repr)
def test_what_is_no_id_is_refused_before_anything_is_sent(bad: Any) -> None:
    for operation in (streams.get, streams.stop, streams.export, videos.get, videos.get_download):
        with pytest.raises(ConfigurationError):
            operation(bad)


@pytest.mark.parametrize(
    "name",
    ["", "\x00", '"', "\\", "a\r\nb", "</script>", "'; DROP TABLE", "会議", "\u2028", "😀", "&=+%#?", "x" * 10_000],
    ids=lambda value: repr(value)[:30],
)
def test_a_hostile_name_arrives_as_it_is(client: Sender, server: RecordingServer, name: str) -> None:
    server.tell(envelope({"id": "rts-1"}))

    client.send(streams.connect("rtsp://127.0.0.1/live", name))
    client.send(streams.list_page(name=name))

    assert server.requests[0].json["name"] == name
    assert dict(server.requests[1].query)["name"] == name


@pytest.mark.parametrize(
    "call",
    [
        streams.connect("rtsp://127.0.0.1/live", "\ud800"),
        streams.list_page(name="\ud800"),
        streams.list_page(name="x" * 100_000),
        streams.get("x" * 100_000),
        videos.search("m-1", "x", score_threshold=float("nan")),
        videos.search("m-1", "x", filter=[{"not json": object()}]),
    ],
    ids=["surrogate in JSON", "surrogate in a query", "long query", "long id", "NaN", "object"],
)
def test_what_cannot_be_sent_is_said_so_and_not_sent(client: Sender, server: RecordingServer, call: Call[Any]) -> None:
    with pytest.raises(ConfigurationError, match="cannot be sent") as caught:
        client.send(call)

    assert server.requests == []
    assert len(str(caught.value)) < 1000 + len(call.path)


def test_an_error_of_the_network_shows_no_more_of_the_base_url_than_where_it_leads(connect: Connect) -> None:
    with pytest.raises(NotConnected) as caught:
        connect("http://127.0.0.1:1/gateway/secret-path").send(streams.get("rts-1"))

    assert "http://127.0.0.1:1:" in str(caught.value)
    assert "secret-path" not in str(caught.value)
