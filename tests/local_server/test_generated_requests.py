"""Requests generated from the server's own table of operations and models: none is a 500, and each is answered."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from prefect_videodb.local_server import LocalServer
from prefect_videodb.local_server.app import OPERATIONS
from prefect_videodb.local_server.calls import Fields, Parameters
from prefect_videodb.local_server.media.sample import sample_meeting
from prefect_videodb.local_server.routes import faults
from tests.local_server.conftest import KEY, Api, wait_until
from tests.support.processes import free_port
from tests.support.speech import OneSentence

# What is deleted is deleted last.
TABLE = dict(sorted({**OPERATIONS, **faults.OPERATIONS}.items(), key=lambda item: item[0][0] == "DELETE"))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["", "\0", "\ud83d", "' OR 1=1 --", "../../etc/passwd", "%00", "-1", "1e400"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
# What no schema knows: what exists here, and addresses that lead nowhere but to this machine.
# For each operation; more are tried with VIDEODB_TEST_EXAMPLES.
EXAMPLES = int(os.environ.get("VIDEODB_TEST_EXAMPLES", "8"))
NOWHERE = f"127.0.0.1:{free_port()}"
Known = dict[str, list[str]]


Values = st.SearchStrategy[Any]
Inner = Callable[..., Values]


def values(schema: dict[str, Any], known: Known, definitions: dict[str, Any], name: str = "") -> Values:
    """Return what a JSON schema admits, as far as pydantic's are written."""

    def inner(part: dict[str, Any], name: str = name) -> Values:
        return values(part, known, definitions, name)

    if "$ref" in schema:
        return inner(definitions[schema["$ref"].rpartition("/")[2]])
    if "anyOf" in schema:
        return st.one_of(*map(inner, schema["anyOf"]))
    if "const" in schema or "enum" in schema:
        return st.sampled_from(schema.get("enum", [schema.get("const")]))
    if name in known and schema.get("type") == "string":
        return st.sampled_from(known[name])
    return OF_TYPE.get(schema.get("type", ""), lambda _schema, _inner: JSON)(schema, inner)


def _number(schema: dict[str, Any], _inner: Inner) -> Values:
    least = schema.get("minimum", schema.get("exclusiveMinimum", -1e12))
    return st.floats(least, schema.get("maximum", 1e12), exclude_min="exclusiveMinimum" in schema)


def _object(schema: dict[str, Any], inner: Inner) -> Values:
    if "properties" not in schema:
        return st.dictionaries(st.text(max_size=8), JSON, max_size=3)
    fields = {key: inner(part, key) for key, part in schema["properties"].items()}
    needed = set(schema.get("required", []))
    return st.fixed_dictionaries(
        {key: fields[key] for key in needed}, optional={key: fields[key] for key in fields.keys() - needed}
    )


OF_TYPE: dict[str, Callable[[dict[str, Any], Inner], Values]] = {
    "null": lambda _schema, _inner: st.none(),
    "boolean": lambda _schema, _inner: st.booleans(),
    "integer": lambda schema, _inner: st.integers(schema.get("minimum", -(2**63)), schema.get("maximum", 2**63)),
    "number": _number,
    "string": lambda schema, _inner: st.text(
        min_size=schema.get("minLength", 0), max_size=min(schema.get("maxLength", 30), 30)
    ),
    "array": lambda schema, inner: st.lists(
        inner(schema.get("items", {})), min_size=schema.get("minItems", 0), max_size=min(schema.get("maxItems", 3), 3)
    ),
    "object": _object,
}


def models(operation: Any, base: type) -> list[Any]:
    """Return the models that an operation reads: those that its code names."""
    function = getattr(operation, "__func__", operation)
    named = (function.__globals__.get(name) for name in function.__code__.co_names)
    adapters = base is Fields
    return [
        one
        for one in named
        if (isinstance(one, type) and issubclass(one, base)) or (adapters and isinstance(one, TypeAdapter))
    ]


def schema_of(model: Any) -> dict[str, Any]:
    schema: dict[str, Any] = model.json_schema() if isinstance(model, TypeAdapter) else model.model_json_schema()
    return schema


@st.composite
def requests(draw: st.DrawFn, place: tuple[str, str], known: Known) -> dict[str, Any]:
    """Return a request to a place: mostly of what its models admit, a part of it sometimes replaced by anything."""
    method, path = place

    def made(kind: Literal["body", "query"]) -> Any:
        found = models(TABLE[place], Fields if kind == "body" else Parameters)
        if not found or draw(st.integers(0, 9)) == 0:
            return draw(JSON)
        schema = schema_of(draw(st.sampled_from(found)))
        value = draw(values(schema, known, schema.get("$defs", {})))
        if isinstance(value, dict) and value and draw(st.integers(0, 3)) == 0:
            value = {**value, draw(st.sampled_from(sorted(value))): draw(JSON)}
        return value

    parts = []
    for part in path.split("/"):
        if not part.startswith("{"):
            parts.append(part)
        elif draw(st.integers(0, 4)) == 0:
            parts.append(quote(draw(st.text(min_size=1, max_size=20)), safe=""))
        else:
            parts.append(draw(st.sampled_from(known.get(part.strip("{}"), ["none"]))))
    query = made("query")
    if not isinstance(query, dict):
        query = {}
    # Half a character is no text in a URL; in JSON it can be written.
    query = {
        key: value for key, value in query.items() if not isinstance(value, dict) and "\\ud83d" not in ascii(value)
    }
    request = {"method": method, "url": "/".join(parts), "params": query}
    return request if method == "GET" else {**request, "content": json.dumps(made("body"))}


@pytest.fixture(scope="module")
def place_to_ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Api, Known]]:
    """Return a server with one of everything, and the ids of it."""
    folder = tmp_path_factory.mktemp("generated")
    with LocalServer(folder, api_key=KEY, speech=OneSentence()) as server, Api(server.base_url) as api:
        yield api, _known(api, server, folder)


def _known(api: Api, server: LocalServer, folder: Path) -> Known:
    stream_id = api.connect(server.sample_url)
    index = api.data("POST", f"/rtstream/{stream_id}/index/scene", json={"extraction_type": "time"})
    event_id = api.data("POST", "/rtstream/event", json={"event_prompt": "a budget", "label": "budget"})["event_id"]
    index_id = index["rtstream_index_id"]
    alert = api.data(
        "POST", f"/rtstream/{stream_id}/index/{index_id}/alert", json={"event_id": event_id, "callback_url": ""}
    )
    wait_until(lambda: api.recorded_s(stream_id, 0) >= 4)
    api.stop(stream_id)
    export = api.data("POST", f"/rtstream/{stream_id}/export", json={})
    api.data("POST", f"/video/{export['video_id']}/index", json={"index_type": "spoken_word", "force": True})
    session = api.data("POST", "/collection/default/capture/session", json={"end_user_id": "u"})["session_id"]
    meeting = {"meeting_url": f"rtsp://{NOWHERE}/m"}
    urls = [
        server.sample_url,
        f"rtsp://{NOWHERE}/x",
        sample_meeting().as_uri(),
        (folder / "none.mp4").as_uri(),
        "x://y",
    ]
    return {
        "collection_id": ["default"],
        "rtstream_id": [stream_id],
        "index_id": [index_id],
        "scene_index_id": [index_id],
        "understanding_id": ["none"],
        "event_id": [event_id],
        "alert_id": [alert["alert_id"]],
        "video_id": [export["video_id"]],
        "session_id": [session],
        "meeting_id": [api.data("POST", "/collection/default/meeting/record", json=meeting)["meeting_id"]],
        "job_id": ["none"],
        "download_id": ["none"],
        "url": urls,
        "meeting_url": [*urls, "https://example.com/meeting"],
        "stream_link": [export["stream_url"], f"http://{NOWHERE}/x.m3u8"],
        "callback_url": ["", f"http://{NOWHERE}/hook?token=x", "ftp://x"],
        # A fault is nothing that the server does by mistake; a path that no request has does nothing.
        "path": ["/none/*", "x"],
        "job": ["meeting", "none"],
    }


@pytest.mark.parametrize("place", TABLE, ids=" ".join)
def test_generated_requests(place_to_ask: tuple[Api, Known], place: tuple[str, str]) -> None:
    api, known = place_to_ask

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(requests(place, known))
    def ask(request: dict[str, Any]) -> None:
        try:
            response = api.request(**request)
        except httpx.TimeoutException:
            pytest.fail(f"no answer to {request}")
        assert response.status_code != 500, (request, response.text)
        assert response.status_code < 600
        assert response.json()["success"] in {True, False}

    ask()
