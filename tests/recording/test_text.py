"""Text for people."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_videodb.recording.text import clock, escape, link, one_line, timecode


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00"), (-3, "0:00"), (59.9, "0:59"), (61, "1:01"), (3599, "59:59"), (3600, "1:00:00"), (36061, "10:01:01")],
)
def test_seconds_are_shown_as_a_time_code(seconds: float, shown: str) -> None:
    assert timecode(seconds) == shown


def test_a_moment_is_shown_with_its_time_zone() -> None:
    assert clock(datetime(2026, 11, 23, 9, 5, 7, tzinfo=UTC)) == "2026-11-23 09:05:07 UTC"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a | b", r"a \| b"),
        ("<script>alert(1)</script>", r"&lt;script&gt;alert\(1\)&lt;/script&gt;"),
        ("[x](javascript:y)", r"\[x\]\(javascript:y\)"),
        ("two\nlines\r\n# title", r"two lines \# title"),
        ("`code` *bold* _it_", r"\`code\` \*bold\* \_it\_"),
        ("\u202egnp.exe", "gnp.exe"),
    ],
)
def test_hostile_text_stands_in_a_table_as_it_is(text: str, shown: str) -> None:
    assert escape(text) == shown


@given(st.text())
def test_no_text_breaks_a_row_of_a_table(text: str) -> None:
    shown = escape(text)
    assert "\n" not in shown
    assert "\r" not in shown
    assert "<" not in shown
    assert "|" not in shown.replace(r"\\", "").replace(r"\|", "")


@given(st.text())
def test_one_line_is_one_line_of_visible_characters(text: str) -> None:
    line = one_line(text)
    assert line == line.strip()
    assert len(line.splitlines()) <= 1


def test_a_link_leads_to_the_web_only() -> None:
    assert link("Play", "http://h/w?v=a%20b|c") == "[Play](<http://h/w?v=a%20b%7Cc>)"
    assert link("Play", "http://h/w?v=a b>c") == "Play"
    assert link("Play", "javascript:alert(1)") == "Play"
    assert link("Play", None) == "Play"
