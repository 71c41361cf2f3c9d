"""Every pattern that meets text from outside takes time in proportion to the text."""

import dataclasses
import importlib
import pkgutil
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

import prefect_videodb
from prefect_videodb.client.models.reading import as_seconds
from prefect_videodb.local_server import urls as server_urls
from prefect_videodb.recording.inputs import SourceName
from prefect_videodb.recording.text import escape, one_line, plain, web_link
from prefect_videodb.redact import foreign, redact_url, redact_urls, scrub, scrub_answer, url_secrets, webhook_secrets
from prefect_videodb.urls import place_of

# Eight times the text takes about eight times as long; in quadratic time it takes 64 times as long.
LENGTHS = (4_000, 32_000)
MOST = 32
# Too short to be measured: as fast as that, the text may be as long as it likes.
FAST_S = 0.03
HOSTILE = [
    *(
        "a",
        " ",
        "0",
        "9.",
        "a.",
        ".",
        "-",
        "_",
        "A",
        "\n",
        "%",
        "\\",
        "'",
        '"',
        "<",
        "[",
        "://",
        "a://",
        "rtsp://",
        "www.",
    ),
    *(
        "rtsp://a:b@",
        "a@",
        "/a",
        "?a=",
        "#",
        "%3A%2F%2F",
        ":\\/\\/",
        '"token": ',
        '"token"',
        '"token": "\\',
        "\u200b",
        "\u00e9",
    ),
    *(
        "[prefect-videodb ",
        "/manifests/a/",
        "/manifests/a/1-1",
        "bytes 1-1/",
        "no spoken data ",
        "please ",
        "ms",
        "1s ",
        "-0",
    ),
    *(
        "to do ",
        "action ",
        "next ",
        "can you ",
        "/videodb/a/",
        "/healthz/",
        "&#",
        "=",
        "a b ",
        "i will ",
        "$ref_",
        "\u0661",
    ),
]


def _seconds(work: Callable[[str], object], text: str) -> float:
    """Return the time that a piece of work takes of the processor, whatever else runs."""
    began = time.thread_time()
    with suppress(ValueError):  # refused is as good
        work(text)
    return time.thread_time() - began


def _is_linear(work: Callable[[str], object]) -> list[str]:
    slow = []
    for piece in HOSTILE:
        for end in ("", "\0"):  # what nearly matches costs the most
            short, long = ((piece * (length // len(piece) + 1))[:length] + end for length in LENGTHS)
            took = _seconds(work, long)
            if took > FAST_S and took > MOST * max(min(_seconds(work, short) for _ in range(3)), 1e-4):
                slow.append(f"{piece!r}: {took:.3f} s")
    return slow


def _patterns() -> Iterator[tuple[str, re.Pattern[str]]]:
    """Yield every compiled pattern of the package, also those in collections."""
    seen: set[str] = set()
    for module in pkgutil.walk_packages(prefect_videodb.__path__, "prefect_videodb."):
        if module.name.endswith("__main__"):
            continue
        values = list(vars(importlib.import_module(module.name)).items())
        while values:
            name, value = values.pop()
            if isinstance(value, re.Pattern):
                if isinstance(value.pattern, str) and value.pattern not in seen:
                    seen.add(value.pattern)
                    yield f"{module.name}.{name}-{len(seen)}", value
            elif isinstance(value, list | tuple) and not isinstance(value, str):
                values += [(name, inner) for inner in value]
            elif dataclasses.is_dataclass(value) and not isinstance(value, type):
                values += [(name, getattr(value, field.name)) for field in dataclasses.fields(value)]
            elif isinstance(value, dict) and not name.startswith("__"):
                values += [(name, inner) for inner in value.values()]


PATTERNS = dict(_patterns())


def test_patterns_are_found() -> None:
    assert any("redact._KEPT_BACK_TEXT" in name for name in PATTERNS)
    assert any(name.startswith("prefect_videodb.local_server.search") for name in PATTERNS)
    assert len(PATTERNS) > 25


@pytest.mark.parametrize("name", PATTERNS)
def test_regular_expression_has_no_quadratic_backtracking(name: str) -> None:
    pattern = PATTERNS[name]
    assert _is_linear(pattern.fullmatch) == []
    assert _is_linear(lambda text: pattern.sub("", text)) == []


def test_pattern_of_a_parameter_has_no_quadratic_backtracking() -> None:
    schema = SourceName.__metadata__[0].json_schema_extra  # type: ignore[attr-defined] # how Annotated keeps it
    assert _is_linear(re.compile(schema["pattern"]).search) == []


@pytest.mark.parametrize(
    "work",
    [
        *(
            scrub,
            scrub_answer,
            redact_url,
            redact_urls,
            url_secrets,
            webhook_secrets,
            foreign,
            place_of,
            server_urls.shown,
        ),
        *(
            one_line,
            escape,
            web_link,
            as_seconds,
            lambda text: plain(text, 1000),
            lambda text: scrub(text, ["cam1", "a"]),
        ),
        lambda text: scrub(text, ["a-longer-secret", "a" * 20]),
    ],
)
def test_redaction_takes_linear_time(work: Callable[[str], object]) -> None:
    assert _is_linear(work) == []
