"""A stream's name tells which flow run made it."""

from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from prefect_videodb.recording.ownership import owner, stream_name

RUN = UUID("01234567-89ab-4cde-8f01-23456789abcd")


@given(st.text(max_size=300))
def test_the_owner_is_read_back_whatever_the_title(title: str) -> None:
    assert owner(stream_name(title, str(RUN))) == RUN


@given(st.text())
def test_a_stream_that_we_did_not_name_has_no_owner(name: str) -> None:
    assert owner(name) is None


def test_a_title_that_poses_as_a_mark_does_not_change_the_owner() -> None:
    assert owner(stream_name(f"[prefect-videodb {uuid4()}]", str(RUN))) == RUN
    assert owner(f"{stream_name('x', str(RUN))} copy") is None
    assert owner(None) is None
