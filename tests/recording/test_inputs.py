"""What a person fills in: used, or refused with what to fill in instead."""

import contextlib
import re
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from pydantic import SecretStr

from prefect_videodb.blocks import RTStreamSource, VideoDBCredentials
from prefect_videodb.errors import ConfigurationError
from prefect_videodb.flows import record_meeting, watch_stream
from prefect_videodb.recording.inputs import Plan, SourceName, load_credentials, load_source
from prefect_videodb.watching.models import Watch

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


BAD_SOURCES = [
    "rtsp://admin:hunter22@camera/room",
    "rtsp://admin:4711#hunter22@camera.example/room",
    "rtsp://admin:4711/hunter22@camera.example/room",
    "rtsp:/admin:hunter22@camera/room",
    "admin:hunter22@camera/room",
    " RTMP://live.example/app/hunter22",
    "rtsp://camera/room?token=hunter22",
    "rtsp://camera/room#hunter22",
    "https://h.example/hls/hunter22-3f2b8c1e4d5a6978/index.m3u8",
]


@pytest.mark.parametrize("source", BAD_SOURCES)
def test_secret_in_a_source_is_refused_before_a_run_shows_it(prefect_api: str, source: str) -> None:
    account = VideoDBCredentials(api_key=SecretStr("k"), base_url="http://127.0.0.1:9")
    calls = [
        lambda: record_meeting(source, account),
        lambda: record_meeting.with_options(persist_result=False)(source, account),
        lambda: watch_stream([Watch(prompt="x", label="y", route="z")], source, credentials=account),
    ]
    for call in calls:
        with pytest.raises(ConfigurationError, match="save it as an RTStreamSource block") as refusal:
            call()
        assert "hunter22" not in str(refusal.value)
        assert refusal.value.__cause__ is None
        assert refusal.value.__context__ is None
    with pytest.raises(ConfigurationError, match="delete this run") as refusal:
        load_source(source)
    assert "hunter22" not in str(refusal.value)
    shown = httpx.post(f"{prefect_api}/flow_runs/filter", json={}).text
    assert "hunter22" not in shown


def test_inline_block_is_refused_before_a_run_shows_it(prefect_api: str) -> None:
    with pytest.raises(ConfigurationError, match="the parameter `source`"):
        record_meeting({"url": "rtsp://user:hunter22@camera/room"})  # type: ignore[arg-type] # as JSON has it
    assert "hunter22" not in httpx.post(f"{prefect_api}/flow_runs/filter", json={}).text


@pytest.mark.parametrize("source", BAD_SOURCES[:8])
def test_schema_of_the_source_refuses_a_secret(source: str) -> None:
    pattern = SourceName.__metadata__[0].json_schema_extra["pattern"]  # type: ignore[attr-defined] # of Annotated
    assert re.search(pattern, "rtsp://camera.example/room")
    assert re.search(pattern, "rtmp-room")
    assert not re.search(pattern, source)


def test_bad_field_of_a_saved_block_is_named(prefect_api: str) -> None:
    assert prefect_api
    RTStreamSource(url=SecretStr("rtsp://camera/room"), name="Room").save("inputs-bad", overwrite=True)
    documents = httpx.get(f"{prefect_api}/block_types/slug/rtstream-source/block_documents").json()
    found = next(one for one in documents if one["name"] == "inputs-bad")
    changed = {"data": {"url": "rtsp://admin:4711#hunter22@camera/room"}, "merge_existing_data": True}
    httpx.patch(f"{prefect_api}/block_documents/{found['id']}", json=changed).raise_for_status()
    with pytest.raises(ConfigurationError, match=r"rtstream-source block 'inputs-bad' .*`url`: .*# as %23") as refusal:
        load_source("inputs-bad")
    assert "hunter22" not in str(refusal.value)
