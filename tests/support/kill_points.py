"""Where a process can be killed: between the requests that an undisturbed run of it made."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Side = Literal["before", "after"]

_ID = re.compile(r"(?<=/)(?=[^/]*\d)[0-9a-z]+(?:-[0-9a-zA-Z]+){3,}(?=[/ ]|$)|(?<=/name/)[^/]+")
_ANY = "{id}"
# They ask, though they are sent as POST.
_ASKING = re.compile(r"/(?:filter|search|count|paginate|read)$")
# Sent only where a job takes longer than its first answer, which another run of the same need not meet.
_POLLING = re.compile(r"^/async-response/")
# What tells about a run and is nothing that a run goes on from.
_TELLING = re.compile(r"^/api/(?:logs|events|csrf-token|admin|health|version)\b")


@dataclass(frozen=True, slots=True)
class Point:
    """Before or after the n-th request of a kind; `nth` counts from 0."""

    side: Side
    method: str
    path: str
    nth: int

    def __str__(self) -> str:
        return f"{self.side} {self.method} {self.path} #{self.nth + 1}"

    @property
    def has_effect(self) -> bool:
        """Say whether the request changes something."""
        return _changes(self.method, self.path)

    @property
    def pattern(self) -> str:
        """A regular expression for the paths of the requests of this kind, with their queries."""
        return rf"^{re.escape(self.path).replace(re.escape(_ANY), '[^/?]+')}(\?.*)?$"


def points(seen: Sequence[str]) -> list[Point]:
    """Give the points between the requests of a run, in their order.

    Before and after each request that changes something; before the first of each kind that only asks, as nothing
    lies between one look and the next. A progress that is shown again and again counts once.
    """
    counted: dict[tuple[str, str], int] = {}
    found: list[Point] = []
    for request in seen:
        method, path = kind(request)
        if _TELLING.match(path) or _POLLING.match(path):
            continue
        nth = counted.get((method, path), 0)
        counted[method, path] = nth + 1
        if not _changes(method, path):
            if nth == 0:
                found.append(Point("before", method, path, nth))
        elif nth == 0 or not path.startswith("/api/artifacts/{"):
            found += [Point("before", method, path, nth), Point("after", method, path, nth)]
    return found


def named(path: str, body: bytes) -> str:
    """Tell a request by more than its path where one path serves for much: which state, which labels."""
    if path.endswith("/set_state"):
        return f"{path} {json.loads(body)['state']['type']}"
    if path.endswith("/labels"):
        return f"{path} {list(json.loads(body))[-1]}"  # what could not be written before comes first
    return path


def kind(request: str) -> tuple[str, str]:
    """Give the method of a request and its path without ids and query."""
    method, _, path = request.partition(" ")
    return method, _ID.sub(_ANY, path.partition("?")[0])


def _changes(method: str, path: str) -> bool:
    return method != "GET" and not _ASKING.search(path)
