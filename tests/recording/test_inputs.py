"""What a person fills in: used, or refused with what to fill in instead."""

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from prefect_videodb.blocks import RTStreamSource, VideoDBCredentials
from prefect_videodb.errors import ConfigurationError
from prefect_videodb.recording.inputs import Plan, load_credentials, load_source

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


def test_an_hour_is_recorded_when_nothing_is_said() -> None:
    assert Plan.of("Stand-up", None, None).window(NOW).end - NOW == timedelta(hours=1)


def test_a_duration_counts_from_the_start_and_an_end_does_not() -> None:
    assert Plan.of("x", 0.5, None).window(NOW).end == NOW + timedelta(seconds=30)
    later = NOW + timedelta(minutes=7)
    assert Plan.of("x", None, later).window(NOW).end == later


@pytest.mark.parametrize("minutes", [0.0, -1.0, float("inf"), float("nan")])
def test_a_recording_of_no_length_is_refused(minutes: float) -> None:
    with pytest.raises(ConfigurationError, match="longer than 0 minutes"):
        Plan.of("x", minutes, None)


def test_an_end_counts_more_than_a_duration() -> None:
    assert Plan.of("x", 5.0, NOW + timedelta(hours=1)).window(NOW).end == NOW + timedelta(hours=1)


def test_nothing_is_recorded_for_longer_than_a_day() -> None:
    with pytest.raises(ConfigurationError, match="at most 1 day"):
        Plan.of("x", None, NOW + timedelta(days=1, seconds=1)).window(NOW)


def test_an_end_that_is_past_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="already past"):
        Plan.of("x", None, NOW).window(NOW + timedelta(seconds=1))


@pytest.mark.parametrize("name", ["", "   ", "\x00\x1b\n", "\u200b\u202e"])
def test_a_name_without_a_visible_character_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="visible character"):
        Plan.of(name, None, None)


def test_a_hostile_name_is_made_one_visible_line() -> None:
    assert Plan.of("a\nb\x1b[31m\u202ec", None, None).title == "a b [31m c"


@pytest.mark.parametrize(
    "url",
    ["rtsp://user:hunter22@camera/room", "rtsp://camera/room?token=hunter22", "rtmp://live.example/app/hunter22"],
)
def test_a_url_that_may_hold_a_secret_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match="save it as an RTStreamSource block") as refusal:
        load_source(url)
    assert "hunter22" not in str(refusal.value)


def test_a_url_without_a_secret_is_a_source() -> None:
    assert load_source("rtsp://camera.example/room").url.get_secret_value() == "rtsp://camera.example/room"


def test_blocks_are_taken_as_they_are_or_by_name(prefect_api: str) -> None:
    assert prefect_api
    source = RTStreamSource(url=SecretStr("rtsp://camera/room"), name="Room")
    source.save("inputs-room", overwrite=True)
    VideoDBCredentials(api_key=SecretStr("the-key")).save("inputs-account", overwrite=True)
    assert load_source(source) is source
    assert load_source("inputs-room").name == "Room"
    assert load_source("rtstream-source/inputs-room").url == source.url
    assert load_source({"$ref": {"block_document_slug": "inputs-room"}}).name == "Room"
    assert load_credentials("inputs-account").has_key()


def test_a_block_that_is_not_there_is_named(prefect_api: str) -> None:
    assert prefect_api
    with pytest.raises(ConfigurationError, match="no rtstream-source block for 'nowhere'"):
        load_source("nowhere")
    with pytest.raises(ConfigurationError, match="no videodb-credentials block for 'nobody'"):
        load_credentials("nobody")


def test_without_a_default_block_the_environments_key_is_used(
    prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert prefect_api
    # Other tests of this process may have saved the block that this one is about.
    with contextlib.suppress(ValueError):
        VideoDBCredentials.delete("default")
    with pytest.raises(ConfigurationError, match="set VIDEO_DB_API_KEY"):
        load_credentials("default")
    monkeypatch.setenv("VIDEO_DB_API_KEY", "from-the-environment")
    assert load_credentials("default").has_key()
