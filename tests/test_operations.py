"""The table of operations in the documentation is what the code does, and has no hole."""

import pytest

from tests.support.operations import PAGE, Row, page, rows


def test_the_table_is_what_the_code_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew: python -m tests.support.operations"


@pytest.mark.parametrize("row", list(rows()), ids=lambda row: row.operation)
def test_a_row_has_no_hole(row: Row) -> None:
    assert row.request
    assert row.task
    assert row.sdk
    assert row.local


def test_the_list_is_long_enough_to_be_whole() -> None:
    assert len(list(rows())) >= 70
