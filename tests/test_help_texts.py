"""Prefect shows help texts as markdown, which may hold HTML: `<video id>` becomes an empty player."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from prefect_videodb import blocks, flows

DEPLOYMENTS = yaml.safe_load((Path(__file__).parent.parent / "prefect.yaml").read_text())["deployments"]
MARKUP = re.compile(r"[<>&]")


def texts_in(schema: Any, path: str) -> Iterator[tuple[str, str]]:
    """Return every title and description in a schema, with where it stands."""
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key in {"title", "description"} and isinstance(value, str):
                yield f"{path}.{key}", value
            else:
                yield from texts_in(value, f"{path}.{key}")
    elif isinstance(schema, list):
        for number, value in enumerate(schema):
            yield from texts_in(value, f"{path}.{number}")


def help_texts() -> Iterator[tuple[str, str]]:
    for name in blocks.__all__:
        block: Any = getattr(blocks, name)
        yield f"{name}.description", str(block.get_description())
        yield from texts_in(block.model_json_schema(), name)
    for name in flows.__all__:
        flow: Any = getattr(flows, name)
        yield f"{name}.description", str(flow.description)
        yield from texts_in(flow.parameters.model_dump(), name)
    for deployment in DEPLOYMENTS:
        yield f"prefect.yaml {deployment['name']}", deployment["description"]


def test_no_html_injection_in_help_text() -> None:
    assert [where for where, text in help_texts() if MARKUP.search(text)] == []
