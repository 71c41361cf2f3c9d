"""How long each step took, over all executions of a run."""

from datetime import UTC, datetime, timedelta

import pytest

from prefect_videodb.recording.steps import Steps


def test_step_times_over_executions() -> None:
    first = Steps()
    with first.step("connect"):
        pass
    first.spent_s["ingest"] = 2.0
    second = Steps.from_text(first.as_text())
    with second.step("ingest"):
        pass
    with second.step("record", since=datetime.now(UTC) - timedelta(seconds=90)):
        pass
    assert list(second.spent_s) == ["connect", "ingest", "record"]
    assert second.spent_s["ingest"] >= 2.0
    assert second.spent_s["record"] >= 90.0


def test_step_since_is_not_added_twice() -> None:
    steps = Steps()
    began = datetime.now(UTC) - timedelta(seconds=90)
    for _ in range(2):
        with steps.step("record", since=began):
            pass
    assert 90.0 <= steps.spent_s["record"] < 180.0


@pytest.mark.parametrize("text", [None, "", "nonsense", "[]", "3", '{"record": "x"}', '{"record": null}', "NaN"])
def test_step_times_that_cannot_be_read(text: str | None) -> None:
    assert Steps.from_text(text).spent_s == {}
