"""Keys, bodies, envelopes and errors, whatever the operation."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefect_videodb.local_server import LocalServer
from prefect_videodb.local_server.app import MAX_BODY_BYTES, OPERATIONS
from prefect_videodb.local_server.errors import ServerError
from prefect_videodb.local_server.routes.unsupported import UNSUPPORTED
from tests.local_server.conftest import Meeting


def place(path: str, value: str = "unknown") -> str:
    """Fill a path's parameters."""
    return "/".join(value if part.startswith("{") else part for part in path.split("/"))


@pytest.mark.parametrize(("method", "path"), [*OPERATIONS, *UNSUPPORTED])
def test_no_operation_works_without_the_key(stranger: httpx.Client, method: str, path: str) -> None:
    response = stranger.request(method, place(path))
    assert response.status_code == 401
    assert response.json()["success"] is False


@pytest.mark.parametrize("wrong", ["", "wrong", "ключ"])
def test_a_wrong_key_is_refused(stranger: httpx.Client, wrong: str) -> None:
    response = stranger.get("/collection", headers=[(b"x-access-token", wrong.encode())])
    assert response.status_code == 401
    assert not wrong or wrong not in response.text


@pytest.mark.parametrize(("method", "path"), list(UNSUPPORTED))
def test_an_operation_of_the_service_that_is_missing_here_says_so(api: Any, method: str, path: str) -> None:
    status, message = api.refusal(method, place(path))
    assert status == 501
    assert message.startswith("This operation ")


def test_nothing_is_called_unsupported_that_works() -> None:
    # Paths compared by shape: the parameters' names do not matter to a caller.
    shapes = [{(method, place(path, "{}")) for method, path in some} for some in (OPERATIONS, UNSUPPORTED)]
    assert not shapes[0] & shapes[1]


def test_a_path_that_is_no_operation_is_not_found(api: Any) -> None:
    assert api.refusal("GET", "/rtstreams") == (404, "No such operation")


def test_a_wrong_method_is_refused_in_the_envelope(api: Any) -> None:
    assert api.refusal("PUT", "/collection") == (405, "Method not allowed")


@pytest.mark.parametrize("path", ["/collection", "/collection/default", "/rtstream", "/video"])
def test_a_slash_at_the_end_makes_no_difference(api: Any, path: str) -> None:
    assert api.get(path).json() == api.get(path + "/").json()


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"nonsense",
        b"\xff\xfe",
        b'{"url": NaN}',
        b'{"url": "\\ud800"}',
        b"[" * 100_000,
        b'{"name": ' + b"9" * 5000 + b"}",
    ],
)
def test_a_body_that_is_no_json_is_refused(api: Any, content: bytes) -> None:
    assert api.refusal("POST", "/rtstream", content=content) == (400, "The body is not valid JSON")


@pytest.mark.parametrize(
    ("method", "path", "body", "message"),
    [
        ("POST", "/rtstream", {}, "url: Field required"),
        ("POST", "/rtstream", [], "body: Input should be"),
        ("POST", "/rtstream", {"url": 7}, "url: Input should be a valid string"),
        ("POST", "/rtstream", {"url": "rtsp://x/", "store": "yes"}, "store: Input should be a valid boolean"),
        ("POST", "/rtstream", {"url": "rtsp://x/", "media_types": []}, "media_types: List should have at least 1 item"),
        ("POST", "/rtstream", {"url": "rtsp://x/", "media_types": ["smell"]}, "media_types.0: Input should be"),
        ("POST", "/collection", {"name": ""}, "name: String should have at least 1 character"),
        ("POST", "/compile", {}, "body: Input should be a valid list"),
        ("POST", "/compile", [{"video_id": "m-1", "shots": [[1]]}], "0.shots.0: List should have at least 2 items"),
    ],
)
def test_a_wrong_field_is_named(api: Any, method: str, path: str, body: Any, message: str) -> None:
    status, said = api.refusal(method, path, json=body)
    assert status == 400
    assert said.startswith(message)


def test_a_body_larger_than_any_request_is_refused(api: Any) -> None:
    status, _ = api.refusal("POST", "/rtstream", content=b" " * (MAX_BODY_BYTES + 1))
    assert status == 413


@pytest.mark.parametrize("host", ["", "evil/path", 'x"><script>', "a b", "host:port"])
def test_a_host_header_that_is_no_host_is_refused(server: LocalServer, key: str, host: str) -> None:
    address = httpx.URL(server.base_url)
    with socket.create_connection((address.host, address.port), timeout=60) as connection:
        lines = ["GET /collection HTTP/1.1", f"Host: {host}", f"x-access-token: {key}", "Connection: close", "", ""]
        connection.sendall("\r\n".join(lines).encode())
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert b" 400 " in answer.split(b"\r\n")[0]


def test_links_hold_the_host_that_the_caller_used(server: LocalServer, key: str, meeting: Any) -> None:
    address = server.base_url.replace("127.0.0.1", "localhost")
    headers = {"x-access-token": key, "host": address.removeprefix("http://")}
    response = httpx.get(f"{server.base_url}/video/{meeting.video_id}", headers=headers)
    assert response.json()["data"]["stream_url"].startswith(address)


def _status(server: LocalServer, *headers: str, path: str = "/") -> bytes:
    address = httpx.URL(server.base_url)
    with socket.create_connection((address.host, address.port), timeout=60) as connection:
        connection.sendall("\r\n".join([f"GET {path} HTTP/1.1", *headers, "Connection: close", "", ""]).encode())
        return connection.recv(65_536).split(b" ")[1]


@pytest.mark.parametrize("path", ["/", "/collection", "/watch?v=x", "/websocket/x", "/no/such/thing"])
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "localhost.evil", "10.0.0.1"]
)
def test_dns_rebinding(server: LocalServer, key: str, path: str, host: str) -> None:
    upgrade = (
        *("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"),
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    more = upgrade if "websocket" in path else ()
    assert _status(server, f"Host: {host}", f"x-access-token: {key}", *more, path=path) == b"421"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.:80", "127.0.0.1", "[::1]:8765", "[::ffff:127.0.0.1]"])
def test_host_of_this_machine(server: LocalServer, host: str) -> None:
    assert _status(server, f"Host: {host}") == b"200"


def test_host_that_is_allowed(tmp_path: Path) -> None:
    with LocalServer(tmp_path, sample=False, allow_hosts=["videodb.internal"]) as server:
        assert _status(server, "Host: videodb.internal:80") == b"200"
        assert _status(server, "Host: other.internal") == b"421"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "::ffff:0.0.0.0"])  # noqa: S104 - they must be refused
def test_default_key_where_others_reach_it(tmp_path: Path, host: str) -> None:
    with pytest.raises(ServerError, match="--key"):
        LocalServer(tmp_path, host=host)


def test_key_of_ones_own_where_others_reach_it(tmp_path: Path) -> None:
    with LocalServer(tmp_path, host="0.0.0.0", api_key="sk-of-my-own", sample=False) as server:  # noqa: S104 - it is asked for
        port = httpx.URL(server.base_url).port
        assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 200
        assert httpx.get(f"http://127.0.0.1:{port}/", headers={"host": "evil.example"}).status_code == 421


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
BODIES = [(method, path) for method, path in OPERATIONS if method in {"POST", "PATCH"}]
FIELDS = [
    *("url", "name", "collection_id", "media_types", "sample_rate", "store", "action", "query", "search_type"),
    *("index_type", "score_threshold", "result_threshold", "filter", "timeline", "length", "force", "language_code"),
    *("stream_link", "video_id", "shots", "segmentation_type", "description", "is_public"),
]
LIKELY = st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=8)


@pytest.fixture(scope="module")
def own(api: Any, record: Callable[..., tuple[str, float]]) -> Meeting:
    """Return a recording that bodies may change: an empty one indexes scenes, which others want the meeting without."""
    stream_id, started_at = record(2)
    return Meeting(stream_id, started_at, api.data("POST", f"/rtstream/{stream_id}/export", json={"name": "Own"}))


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(operation=st.sampled_from(BODIES), body=JSON | LIKELY | st.lists(LIKELY, max_size=3))
def test_no_body_breaks_the_server(
    api: Any, own: Meeting, operation: tuple[str, str], body: dict[str, Any] | list[Any]
) -> None:
    method, path = operation
    for value in ("unknown", own.video_id, own.stream_id):
        content = json.dumps(body).replace("Infinity", "1e999").encode()
        response = api.request(method, place(path, value), content=content)
        assert response.status_code < 500 or response.status_code == 501, response.text
        assert isinstance(response.json()["success"], bool)


QUERIES = st.dictionaries(
    st.sampled_from([
        *("limit", "offset", "status", "name", "ordering", "start", "end", "player_title", "player_slug_prefix"),
        *("collection_id", "page_index", "count", "segmenter", "length", "force", "index_type", "v"),
    ]),
    st.text(max_size=20) | st.integers().map(str) | st.floats().map(str),
    max_size=5,
)  # fmt: skip
READS = [path for method, path in OPERATIONS if method == "GET"]
PUBLIC = ["/watch", "/embed", "/manifests/{}/1-2.m3u8", "/clips/{}/index.m3u8", "/videos/{}/index.m3u8"]


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(path=st.sampled_from([*READS, *PUBLIC]), query=QUERIES, name=st.text(max_size=20))
def test_no_query_or_id_breaks_the_server(api: Any, meeting: Any, path: str, query: dict[str, str], name: str) -> None:
    for value in (httpx.QueryParams({"": name}).__str__()[1:] or "x", meeting.video_id, meeting.stream_id):
        response = api.get(place(path, value), params={k: v.encode(errors="replace") for k, v in query.items()})
        assert response.status_code < 500, response.text
