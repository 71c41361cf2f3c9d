"""What the documentation shows works."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from prefect import Flow
from prefect.utilities.importtools import import_object
from pydantic import SecretStr

from prefect_videodb import RTStreamSource, VideoDBCredentials
from prefect_videodb.client import Client, streams
from prefect_videodb.client.models import RTStream
from prefect_videodb.local_server import LocalServer
from prefect_videodb.recording.inputs import load_archive, load_credentials
from prefect_videodb.recording.ownership import stream_name
from tests.support.speech import OneSentence

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
NOT_OURS = {".venv", ".sdk", ".sqs-server", ".prefect-oldest", ".cache", ".demo", ".pytest_cache", "node_modules"}
PAGES = sorted(path for path in ROOT.glob("**/*.md") if not NOT_OURS & set(path.parts))

# What a person types to start a deployment.
STARTED = [
    shlex.split(command)
    for page in PAGES
    for command in re.findall(
        r"^prefect deployment run ((?:'[^']*'|[^'\n])*)", page.read_text(encoding="utf-8"), re.MULTILINE
    )
]


@pytest.fixture(scope="module")
def videodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    with LocalServer(tmp_path_factory.mktemp("videodb"), api_key="sk-docs", speech=OneSentence()) as server:
        yield server


@pytest.fixture
def blocks(videodb: LocalServer, prefect_api: str) -> None:
    """Save what the reader saves in step 2, with the local server in the place of VideoDB."""
    assert prefect_api
    assert videodb.sample_url
    account = VideoDBCredentials(api_key=SecretStr(videodb.api_key), base_url=videodb.base_url)
    account.save("default", overwrite=True)
    RTStreamSource(url=SecretStr(videodb.sample_url), name="Board room").save("meeting-room", overwrite=True)


def _run(holds: str, **instead: str) -> dict[str, Any]:
    """Run the one example of the README that holds a text, with what is the reader's own replaced."""
    [example] = [example for example in EXAMPLES if holds in example]
    for shown, used in instead.items():
        assert shown in example, f"{shown!r} is no longer in the README"
        example = example.replace(shown, used)
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(example, "README.md", "exec"), names)  # noqa: S102 - the project's own README
    return names


def test_blocks_are_saved_as_shown(prefect_api: str) -> None:
    assert prefect_api
    _run('VideoDBCredentials(api_key="sk-…")')
    assert load_credentials("default").has_key()


def test_an_archive_is_saved_as_shown(prefect_api: str) -> None:
    assert prefect_api
    page = (ROOT / "docs" / "archiving.md").read_text(encoding="utf-8")
    example = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    exec(compile(example, "archiving.md", "exec"), {"__name__": "example"})  # noqa: S102 - the project's own page
    assert load_archive("default").bucket == "recordings"


@pytest.mark.usefixtures("blocks")
def test_a_meeting_is_recorded_as_shown_and_its_video_is_clipped_as_shown(
    videodb: LocalServer, capsys: pytest.CaptureFixture[str]
) -> None:
    names = _run("record_meeting(", **{"duration_minutes=30": "duration_minutes=0.5"})
    shown = capsys.readouterr().out
    assert f"{videodb.base_url}/watch?v=" in shown
    assert all(hit.text in shown for hit in names["recording"].hits)
    assert names["recording"].hits

    clip = _run("def clip_of_decisions")["clip_of_decisions"]
    link = clip(names["recording"].video_id)
    assert link is None or link.startswith(f"{videodb.base_url}/watch?v=")  # not every half minute holds a decision


@pytest.fixture
def connected(videodb: LocalServer) -> Iterator[RTStream]:
    """Give a stream that is connected, named as a recording's."""
    assert videodb.sample_url
    with Client(api_key=videodb.api_key, base_url=videodb.base_url) as client:
        name = stream_name("Shown in the README", str(uuid4()))
        stream = client.send(streams.connect(videodb.sample_url, name))
        yield stream
        client.send(streams.stop(stream.id))


def test_the_client_asks_and_stops_as_shown(
    videodb: LocalServer, connected: RTStream, capsys: pytest.CaptureFixture[str]
) -> None:
    client = {'Client(api_key="sk-…")': f"Client(api_key={videodb.api_key!r}, base_url={videodb.base_url!r})"}
    _run("streams.get(", **client, **{"rts-…": connected.id})
    assert capsys.readouterr().out == "connected\n"
    _run("streams.list_page", **client)
    assert capsys.readouterr().out == f"stopped {connected.name}\n"
    _run("streams.get(", **client, **{"rts-…": connected.id})
    assert capsys.readouterr().out == "stopped\n"


def test_the_local_server_runs_inside_a_program_as_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _run("LocalServer(Path(", **{'"videodb-data"': repr(str(tmp_path / "data"))})
    assert "rtsp://127.0.0.1:" in capsys.readouterr().out


def test_every_example_of_the_readme_is_run_here() -> None:
    run_here = (
        'VideoDBCredentials(api_key="sk-…")',
        "record_meeting(",
        "clip_of_decisions",
        "list_page",
        "streams.get(",
        "LocalServer(",
    )
    assert [example for example in EXAMPLES if not any(text in example for text in run_here)] == []


@pytest.mark.parametrize("command", STARTED, ids=lambda command: " ".join(command[:1]))
def test_a_deployment_is_started_as_shown(command: list[str]) -> None:
    deployment, *options = command
    [(flow, given)] = [
        (import_object(shown["entrypoint"]), dict(shown.get("parameters") or {}))
        for shown in yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
        if deployment.endswith(f"/{shown['name']}")
    ]
    assert isinstance(flow, Flow)
    assert deployment.startswith(f"{flow.name}/")
    for option, value in zip(options[::2], options[1::2], strict=True):
        if option == "--params":
            given |= json.loads(value)
        else:
            assert option == "--param"
            name, _, text = value.partition("=")
            given[name] = json.loads(text) if text.startswith("{") else text
    assert flow.validate_parameters(given).keys() >= given.keys()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_into_the_project_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_work_pool_type_is_the_same_everywhere() -> None:
    pages = [*PAGES, ROOT / "prefect.yaml", ROOT / "deployments" / "demo.py"]
    texts = [re.sub(r"[\"',]", "", page.read_text(encoding="utf-8")) for page in pages]
    created = [kind for text in texts for kind in re.findall(r"work-pool create meetings --type (\S+)", text)]
    assert created == ["videodb-in-process"] * 4


def test_nothing_is_installed_from_an_index_that_does_not_have_it() -> None:
    """The package is on none: whoever registers its name there would be installed instead."""
    sources = [*PAGES, *(ROOT / "src").rglob("*.py")]
    assert [page for page in sources if re.search(r"pip install \S*prefect-videodb", page.read_text("utf-8"))] == []


def test_the_blocks_are_registered_as_shown(prefect_api: str) -> None:
    command = "prefect block register -m prefect_videodb"
    assert command in README
    environment = os.environ | {"PREFECT_API_URL": prefect_api}
    done = subprocess.run(
        [sys.executable, "-m", *command.split()], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "VideoDB Credentials" in done.stdout
    assert "RTStream Source" in done.stdout
