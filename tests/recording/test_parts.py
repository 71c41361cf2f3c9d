"""What lies between the videos of a recording that was interrupted."""

from datetime import UTC, datetime, timedelta

from prefect_videodb.recording.models import Window
from prefect_videodb.recording.parts import Part, gaps, read_part

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


def test_a_part_of_unknown_length_leaves_no_gap() -> None:
    assert gaps([Part("a", at(0), None)], at(90)) == []


def test_what_was_lost_before_a_late_beginning_is_a_gap() -> None:
    assert gaps([], at(90), START) == [Window(start=START, end=at(90))]
    late_then_interrupted = [Window(start=START, end=at(30)), Window(start=at(90), end=at(120))]
    assert gaps([Part("a", at(30), 60)], at(120), START) == late_then_interrupted
    assert gaps([Part("a", START, 60)], at(90), START) == [Window(start=at(60), end=at(90))]
    assert gaps([], None, START) == []


def test_part_round_trip() -> None:
    assert read_part(f"m-1|{START.isoformat()}|60") == Part("m-1", START, 60.0)  # as an earlier version wrote it
    assert read_part(f"a-1|{START.isoformat()}||http://h/a%7Cb%20c") == Part("a-1", START, None, "http://h/a|b c")
