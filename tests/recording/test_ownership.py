"""A stream's name tells which flow run made it."""

from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from prefect_videodb.recording.ownership import is_elsewhere, owner, server_in, stream_name, title_in

RUN = UUID("01234567-89ab-4cde-8f01-23456789abcd")


SERVER, ANOTHER = "0123456789ab", "ba9876543210"


@given(st.text(max_size=300), st.sampled_from([None, "", SERVER]))
def test_the_owner_is_read_back_whatever_the_title(title: str, server: str | None) -> None:
    name = stream_name(title, str(RUN), server)
    assert owner(name) == RUN
    assert server_in(name) == (server or None)
    assert str(RUN) in name  # by which streams are asked for
    assert len(name) <= 200


def test_only_a_stream_that_names_another_server_is_elsewhere() -> None:
    assert is_elsewhere(stream_name("x", str(RUN), ANOTHER), SERVER)
    assert is_elsewhere(stream_name("x", str(RUN), ANOTHER), None)  # who we are is not known
    assert not is_elsewhere(stream_name("x", str(RUN), SERVER), SERVER)
    assert not is_elsewhere(stream_name("x", str(RUN)), SERVER)
    assert not is_elsewhere("Not ours", SERVER)


@given(st.text())
def test_a_stream_that_we_did_not_name_has_no_owner(name: str) -> None:
    assert owner(name) is None


def test_a_title_that_poses_as_a_mark_does_not_change_the_owner() -> None:
    assert owner(stream_name(f"[prefect-videodb {uuid4()}]", str(RUN))) == RUN
    assert owner(f"{stream_name('x', str(RUN))} copy") is None
    assert title_in(stream_name("A [meeting]", str(RUN), "0123456789ab")) == "A [meeting]"
    assert title_in("not ours") == "not ours"
    assert title_in(None) is None
    assert owner(None) is None
