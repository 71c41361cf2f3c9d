"""What the UI shows of a recording that is under way."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_UI_URL, temporary_settings

from prefect_videodb.recording.liveness import BACK, LOST
from prefect_videodb.recording.memory import label
from prefect_videodb.recording.showing import LIVE, SHOWN, TITLE, Status, artifact_url, ui_url
from prefect_videodb.recording.time_zones import ZONE

RUN = UUID("11111111-2222-3333-4444-555555555555")
START, END = datetime(2026, 11, 23, 9, 0, tzinfo=UTC), datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
AT = datetime(2026, 11, 23, 9, 10, tzinfo=UTC).isoformat()


def status(known: dict[str, str] | None = None, options: dict[str, Any] | None = None) -> Status:
    window = {"window_start": START.isoformat(), "window_end": END.isoformat(), TITLE: "Board | <b>"}
    labels = label(**(window | {ZONE: "Europe/Berlin"} | (known or {})))
    parameters = {"options": options} if options else {}
    found = Status.of(FlowRun(id=RUN, flow_id=uuid4(), labels=labels, parameters=parameters))
    assert found is not None
    return found


def test_parked_state_message() -> None:
    with temporary_settings({PREFECT_UI_URL: "http://ui:4200"}):
        told = status({LIVE: "http://h/watch?v=1", SHOWN: "abc"}).message()
    assert told == (
        "Recording Board | <b> until 2026-11-23 10:30:00 Europe/Berlin (UTC+01:00). "
        "Live picture: http://h/watch?v=1 Artifact: http://ui:4200/artifacts/artifact/abc"
    )
    assert Status.of(FlowRun(flow_id=uuid4())) is None


def test_parked_state_message_of_an_outage() -> None:
    assert "delivers nothing since about 2026-11-23 10:10:00 Europe/Berlin" in status({LOST: AT}).message()
    assert "delivers again since 2026-11-23 10:10:00 Europe/Berlin" in status({LOST: "", BACK: AT}).message()


def test_cancellation_promises_only_what_it_keeps() -> None:
    shown = str(status().artifact().data)
    assert r"**Board \| &lt;b&gt;** is recorded from 2026-11-23 10:00:00 Europe/Berlin (UTC+01:00) until" in shown
    assert f"change-recording/change-recording --param flow_run_id={RUN}" in shown
    assert "Only the video of what was recorded until then is kept: there is no search, no clip and no report." in shown
    assert "Nothing is kept then" in str(status(options={"export_when_cancelled": False}).artifact().data)


@pytest.mark.parametrize(
    ("ui", "shown"),
    [
        ("http://ui:4200", "http://ui:4200/artifacts/artifact/1"),
        (
            "https://user:hunter22@ui.example/prefect/?token=hunter22#x",
            "https://ui.example/prefect/artifacts/artifact/1",
        ),
        ("http://[::1]:4200", "http://[::1]:4200/artifacts/artifact/1"),
        ("javascript:alert(1)", None),
        ("http://h:99999", None),
        ("http://[", None),
    ],
)
def test_artifact_url_without_secrets(ui: str, shown: str | None) -> None:
    with temporary_settings({PREFECT_UI_URL: ui}):
        assert artifact_url("1") == shown


def test_ui_url_of_a_run() -> None:
    with temporary_settings({PREFECT_UI_URL: "http://ui"}):
        assert ui_url("runs/flow-run/1") == "http://ui/runs/flow-run/1"
