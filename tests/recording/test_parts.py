"""What lies between the videos of a recording that was interrupted."""

from datetime import UTC, datetime, timedelta

from prefect_videodb.recording.models import Window
from prefect_videodb.recording.parts import Part, gaps

START = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def test_there_is_no_gap_in_a_recording_of_one_part() -> None:
    assert gaps([], None) == []


def test_what_lies_between_two_parts_is_a_gap() -> None:
    assert gaps([Part("a", at(0), 60)], at(90)) == [Window(start=at(60), end=at(90))]


def test_parts_that_follow_each_other_at_once_have_no_gap() -> None:
    assert gaps([Part("a", at(0), 60)], at(60.5)) == []


def test_a_source_that_never_came_back_leaves_no_gap_between_parts() -> None:
    assert gaps([Part("a", at(0), 60), Part("b", at(100), 20)], None) == [Window(start=at(60), end=at(100))]
