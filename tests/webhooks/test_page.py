"""What the page on alerts shows works."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette

from prefect_videodb.client.models.frames import read_frame
from prefect_videodb.webhooks.alert import Alert
from tests.support.processes import ROOT, wait_for
from tests.webhooks.conftest import RECORDED

PAGE = (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")


@contextmanager
def served(application: Starlette) -> Iterator[str]:
    """Serve an application on a free port. Gives its address."""
    server = uvicorn.Server(uvicorn.Config(application, port=0, log_level="warning"))
    thread = Thread(target=copy_context().run, args=[server.run])  # with the settings of Prefect
    thread.start()
    try:
        wait_for("it listens, or has ended", lambda: server.started or not thread.is_alive())
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def test_the_examples_of_the_page_run_one_after_the_other(
    prefect_api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prefect_api
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "example"}
    for example in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(example, "docs/alerts.md", "exec"), names)  # noqa: S102 - the project's own page
    inbox = names["inbox"]
    try:
        assert names["address"].get_secret_value().startswith("https://hooks.example/videodb/follow-up/")
        names["ring_the_bell"].fn(Alert.model_validate(RECORDED))
        assert "door_opened" in capsys.readouterr().out
        frame = read_frame(json.dumps({"channel": "alert", "data": RECORDED}))
        assert names["keep"](inbox, frame) is True
        assert names["keep"](inbox, frame) is False
        with served(names["application"]) as url, httpx.Client(base_url=url) as client:
            path = "/alerts" + names["address"].get_secret_value().removeprefix("https://hooks.example")
            assert client.post(path, json=RECORDED).json() == {"accepted": True, "new": False}
            assert client.get("/alerts/healthz").json()["waiting"] == 1
    finally:
        inbox.close()
