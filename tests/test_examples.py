"""The page that shows each operation as a task, run from top to bottom."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from prefect_videodb import RecordingArchive, RTStreamSource, VideoDBCredentials, tasks
from prefect_videodb.local_server import LocalServer
from tests.support.speech import OneSentence
from tests.support.swift_server import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY, SwiftServer, running_swift

PAGE = Path(__file__).resolve().parents[1] / "docs" / "examples.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
KEY = "sk-examples"


@pytest.fixture
def videodb(tmp_path: Path) -> Iterator[LocalServer]:
    with LocalServer(tmp_path / "videodb", api_key=KEY, speech=OneSentence()) as server:
        yield server


@pytest.fixture
def swift(tmp_path: Path) -> Iterator[SwiftServer]:
    with running_swift(tmp_path / "swift") as store:
        yield store


def _capture(videodb: LocalServer, session_id: str) -> None:
    """Do what the vendor's capture client does."""
    channels = [{"channel_id": "mic"}, {"channel_id": "screen", "type": "video", "is_primary": True}]
    with httpx.Client(base_url=videodb.base_url, headers={"x-access-token": KEY}, timeout=60) as client:
        start = {"session_id": session_id, "channels": channels}
        client.post("/capture/session/start", json=start).raise_for_status()
        time.sleep(4)
        client.post(f"/capture/session/{session_id}/stop").raise_for_status()


def test_the_page_runs_from_top_to_bottom(videodb: LocalServer, swift: SwiftServer, prefect_api: str) -> None:
    assert prefect_api
    account = VideoDBCredentials(api_key=SecretStr(KEY), base_url=videodb.base_url)
    account.save("default", overwrite=True)
    RTStreamSource(url=SecretStr(videodb.sample_url), name="Board room").save("meeting-room", overwrite=True)
    RecordingArchive(
        bucket=swift.make_bucket(),
        endpoint_url=swift.url,
        region=REGION,
        access_key_id=SecretStr(ACCESS_KEY_ID),
        secret_access_key=SecretStr(SECRET_ACCESS_KEY),
    ).save("default", overwrite=True)
    names: dict[str, Any] = {"__name__": "examples"}
    for block in BLOCKS:
        exec(compile(block, PAGE.name, "exec"), names)  # noqa: S102 - the project's own page
    assert names["spoken"]
    assert names["kept"].endswith("/video.mp4")
    _capture(videodb, names["session_id"])
    assert names["finish_capture"](names["session_id"]).startswith("m-z-")
    connected = tasks.list_all_rtstreams.fn(account, status="connected")
    assert connected == []


def test_every_task_is_on_the_page() -> None:
    shown = set(re.findall(r"tasks\.(\w+)", "".join(BLOCKS)))
    assert set(tasks.__all__) - shown == set()
