"""What the page on alerts shows works."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from prefect_videodb.client.models.frames import read_frame
from prefect_videodb.webhooks.alert import Alert
from tests.support.processes import ROOT
from tests.webhooks.conftest import RECORDED

PAGE = (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")


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
        with TestClient(names["application"]) as application:
            path = "/alerts" + names["address"].get_secret_value().removeprefix("https://hooks.example")
            assert application.post(path, json=RECORDED).json() == {"accepted": True, "new": False}
            assert application.get("/alerts/healthz").json()["waiting"] == 1
    finally:
        inbox.close()
