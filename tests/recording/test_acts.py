"""What a recording prepares for its second, and what it leaves to its flow."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun
from pydantic import SecretStr

from prefect_videodb.blocks import RTStreamSource, VideoDBCredentials
from prefect_videodb.errors import ConfigurationError, VideoDBError
from prefect_videodb.flows import record_meeting
from prefect_videodb.recording.acts import connect_at_start, planned_end, stop_at_end
from prefect_videodb.recording.memory import label, label_window
from prefect_videodb.recording.models import Window
from tests.support.processes import free_port

# Later than any test of the suite ends.
NOW = datetime.now(UTC)
SOON = NOW + timedelta(hours=12)


@pytest.fixture
def block(prefect_api: str) -> str:
    """Save an account whose service is not there, a source, and one that is not stored, under one name."""
    assert prefect_api
    name = f"acts-{uuid4()}"
    VideoDBCredentials(api_key=SecretStr("sk-acts"), base_url=f"http://127.0.0.1:{free_port()}").save(name)
    RTStreamSource(url=SecretStr("rtsp://camera/room"), name="Room").save(name)
    RTStreamSource(url=SecretStr("rtsp://camera/room"), store=False).save(f"{name}-unstored")
    return name


def run_of(block: str, labels: dict[str, Any] | None = None, **parameters: Any) -> FlowRun:
    given = {"source": block, "credentials": block} | parameters
    return FlowRun(id=uuid4(), flow_id=uuid4(), parameters=given, labels=labels or {})


def test_prepares_connect(block: str) -> None:
    run = run_of(block, duration_minutes=30)
    act = connect_at_start(record_meeting, run, SOON)
    assert act is not None
    assert act.at == SOON
    assert act.labels["videodb.asked_at"] == SOON.isoformat()
    assert len(act.blocks) == 2
    assert act.send() == label(asked_at="")  # the service is not there: the flow tries
    # What was handed back before its second, nobody can have connected.
    assert connect_at_start(record_meeting, run_of(block, dict(act.labels)), SOON)


def test_leaves_connect_to_flow(block: str) -> None:
    late = NOW - timedelta(minutes=2)
    assert connect_at_start(record_meeting, run_of(block, label(rtstream_id="rts-1")), SOON) is None
    assert connect_at_start(record_meeting, run_of(block, label(asked_at=late.isoformat())), SOON) is None
    assert connect_at_start(record_meeting, run_of(block), late) is None
    assert connect_at_start(record_meeting, run_of(f"{block}-unstored", credentials=block), SOON) is None


@pytest.mark.parametrize("wrong", [{"source": "no-such-block"}, {"end_time": "2020-01-01T00:00:00Z"}])
def test_refuses_what_flow_refuses(block: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        connect_at_start(record_meeting, run_of(block, **wrong), SOON)


def test_prepares_stop(block: str) -> None:
    window = label_window(Window(start=NOW, end=SOON))
    run = run_of(block, label(rtstream_id="rts-1") | window)
    assert planned_end(run) == SOON
    act = stop_at_end(record_meeting, run)
    assert act is not None
    assert act.at == SOON
    with pytest.raises(VideoDBError):  # its flow stops it, or the next look
        act.send()
    assert planned_end(run_of(block, window)) is None  # an adopted stream is not stopped
    assert stop_at_end(record_meeting, run_of(block, label(rtstream_id="rts-1"))) is None
