"""How long it is to the end of a window that somebody may move."""

from datetime import UTC, datetime, timedelta

import pytest

from prefect_videodb.recording import waiting
from prefect_videodb.recording.models import Window
from prefect_videodb.recording.waiting import until_its_end


def test_an_end_that_was_moved_counts_from_the_next_look_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_LOOK_EVERY_S", 0.0)
    now = datetime.now(UTC)
    window = Window(start=now, end=now + timedelta(hours=1))
    ends = iter([window.end, now + timedelta(hours=2), now])
    left_s = until_its_end(window, lambda: next(ends))
    assert left_s() == pytest.approx(3600, abs=600)
    assert left_s() == pytest.approx(7200, abs=600)
    assert left_s() <= 0


def test_it_is_not_asked_at_every_look() -> None:
    now = datetime.now(UTC)
    asked: list[int] = []

    def end() -> datetime:
        asked.append(1)
        return now

    left_s = until_its_end(Window(start=now, end=now + timedelta(hours=1)), end)
    assert left_s() > 0
    assert left_s() > 0
    assert not asked
