"""The table of operations: made of the code, written into the documentation by `python -m tests.support.operations`."""

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from prefect_videodb import tasks
from prefect_videodb.client import collection, streams, transcripts, videos, websocket
from prefect_videodb.local_server.app import OPERATIONS
from prefect_videodb.local_server.routes.unsupported import UNSUPPORTED
from tests.client.test_same_bytes_as_the_sdk import CASES, WITHOUT_THE_SDK, operations
from tests.client.wire.case import Operation, name_of
from tests.tasks.test_same_as_the_client import TASKS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
# Tasks of the recording flow, which have tests of their own.
MORE_TASKS: dict[Operation, str] = {
    collection.create: "create_collection",
    collection.get: "get_collection",
    collection.list_all: "list_collections",
    streams.connect: "connect_rtstream",
    streams.export: "export_rtstream",
    streams.get: "get_rtstream",
    streams.list_page: "list_rtstreams",
    streams.playback: "generate_rtstream_stream",
    streams.start: "start_rtstream",
    streams.stop: "stop_rtstream",
    transcripts.page: "get_rtstream_transcript",
    videos.compile_clip: "compile_clip",
    videos.download: "download",
    videos.get: "get_video",
    videos.get_download: "get_download",
    videos.index_spoken_words: "index_spoken_words",
    videos.search: "search_video",
    videos.spoken_word_index: "get_spoken_word_index",
    videos.transcript: "get_transcript",
    websocket.address: "connect_websocket",
}
# Where the SDK's code in the comparison is longer than a call.
SDK_METHODS = {
    "streams.playback": "generate_stream",
    "streams.search_collection": "legacy_search",
    "videos.search": "legacy_search",
    "videos.compile_clip": "compile",
    "sessions.export": "export",
}
HEAD = """# The operations

Made from the code by `python -m tests.support.operations`; a test fails where it is not what the code says, or where a
row has a hole. [examples.md](examples.md) shows each task in a flow that runs.

Under *SDK* stands the method of the vendor's Python SDK that sends the same bytes (tested with 0.4.5 and 0.5.1); `0.5`
marks those that only the newer one has. Under *Local server* stands whether it does it, or why not.

| Operation of the client | Request | Task | SDK | Local server |
| --- | --- | --- | --- | --- |
"""


@dataclass(frozen=True)
class Row:
    """One operation."""

    operation: str
    request: str
    task: str
    sdk: str
    local: str

    def __str__(self) -> str:
        return f"| `{self.operation}` | `{self.request}` | {self.task} | {self.sdk} | {self.local} |"


def rows() -> Iterator[Row]:
    """Yield a row for each operation of the client."""
    for operation in sorted(operations(), key=name_of):
        methods = {row.operation for row in CASES} | {row[0] for row in WITHOUT_THE_SDK}
        assert operation in methods
        yield Row(name_of(operation), _request(operation), _task(operation), _sdk(operation), _local(operation))


def _request(operation: Operation) -> str:
    """Read the request where the docstring's first lines end with it."""
    text = " ".join((inspect.getdoc(operation) or "").split("\n\n")[0].split())
    found = re.search(r"(GET|POST|PATCH|DELETE) (/\S+?)\.?$", text)
    return f"{found[1]} {found[2]}".replace("|", "\\|") if found else ""


def _task(operation: Operation) -> str:
    name = (TASKS | MORE_TASKS).get(operation, "")
    names = [name.format(within=within) for within in ("video", "collection")] if "{" in name else [name]
    assert all(not name or hasattr(tasks, name) for name in names), names
    return ", ".join(f"`{name}`" for name in names if name)


def _sdk(operation: Operation) -> str:
    cases = [case for case in CASES if case.operation is operation]
    if not cases:
        sources = [source for known, _, source, _ in WITHOUT_THE_SDK if known is operation]
        return f"none: {sources[0].split(':')[0]}" if sources else ""
    case = cases[0]
    called = [name for name in re.findall(r"\.(\w+)\(", case.code) if name not in {"items", "pop", "get"}]
    method = SDK_METHODS.get(name_of(operation)) or called[-1]
    return f"`{method}`" + (" 0.5" if all(case.needs for case in cases) else "")


def _local(operation: Operation) -> str:
    """Look up what the local server does with the requests of an operation."""
    cases = [case.arguments for case in CASES if case.operation is operation]
    cases += [arguments for known, arguments, _, _ in WITHOUT_THE_SDK if known is operation]
    reasons = set()
    for arguments in cases:
        call = operation(**arguments)
        route = _route(call.method, call.path)
        reasons.add("yes" if route in OPERATIONS else f"no (501): {UNSUPPORTED[route]}" if route else "")
    return "; ".join(sorted(reasons))


def _route(method: str, path: str) -> tuple[str, str] | None:
    """Find the route that serves a request: as in the server, the one with the most said, first."""
    places = sorted([*OPERATIONS, *UNSUPPORTED], key=lambda place: [part[:1] == "{" for part in place[1].split("/")])
    for place in places:
        pattern = re.sub(r"\{\w+\}", "[^/]+", place[1])
        if place[0] == method and re.fullmatch(pattern, "/" + path.strip("/")):
            return place
    return None


def page() -> str:
    """Return the page as the code has it."""
    return HEAD + "".join(f"{row}\n" for row in rows())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
