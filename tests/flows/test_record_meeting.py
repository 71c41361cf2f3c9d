"""The main flow, through its deployment, on real media: what it leaves behind, and what can go wrong."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prefect.exceptions import PrefectHTTPStatusError
from pydantic import SecretStr

from prefect_videodb.blocks import RTStreamSource
from prefect_videodb.errors import ConfigurationError
from prefect_videodb.flows import record_meeting
from prefect_videodb.local_server import LocalServer
from prefect_videodb.recording.inputs import load_source
from tests.flows.conftest import HOLDING, KEY, SHORT, Account, Run, result_of, the_one_stopped_stream
from tests.support.faulty_proxy import FaultyProxy
from tests.support.media import make_silence
from tests.support.processes import free_port, stopped, wait_for


@pytest.fixture(scope="module")
def videodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """Give a VideoDB that listens."""
    with LocalServer(tmp_path_factory.mktemp("videodb"), api_key=KEY) as server:
        yield server


def test_a_meeting_is_recorded_exported_searched_and_compiled(account: Account, deployed: str) -> None:
    run = Run.of(deployed, duration_minutes=0.5, name="Weekly | <b>", queries=["action items", "zebra crossing"])
    recording = result_of(run.finish())

    stream = the_one_stopped_stream(account, run)
    assert stream["id"] == recording.rtstream_id
    assert recording.window.end - recording.window.start == timedelta(seconds=30)
    assert recording.video_length_s is not None
    assert 25 < recording.video_length_s < 60
    assert recording.spoken_words == "indexed"
    assert recording.hits, "every half minute of the sample meeting holds an action item"
    assert {hit.query for hit in recording.hits} == {"action items"}
    assert recording.hits == sorted(recording.hits, key=lambda hit: hit.start_s)
    assert recording.clip is not None
    assert recording.clip.player_url
    assert recording.playback.player_url
    assert recording.video.player_url
    assert list(recording.steps_s) == [
        "connect", "ingest", "record", "stop", "playback link", "export", "index", "search", "clip",
    ]  # fmt: skip

    artifacts = run.artifacts()
    report = artifacts["meeting-recording"]["data"]
    assert recording.video.player_url in report
    assert recording.clip.player_url in report
    assert r"Weekly \| &lt;b&gt;" in report
    assert recording.hits[0].text.split()[0] in report
    assert artifacts["recording-progress"]["data"] == 100.0


def test_no_secret_is_in_what_prefect_keeps(account: Account, deployed: str, prefect_url: str) -> None:
    secret = "hunter22-stream-key"
    source = load_source("meeting-room")
    with_secret = source.url.get_secret_value().replace("rtsp://", f"rtsp://user:{secret}@")
    RTStreamSource(url=SecretStr(with_secret), name="Secret room").save("secret-room", overwrite=True)
    run = Run.of(deployed, source="secret-room", queries=[], **SHORT)
    finished = run.finish()
    kept = json.dumps(
        [finished.model_dump(mode="json"), run.logs(), run.artifacts(), account.streams(str(run.id))], default=str
    )
    assert secret not in kept
    assert KEY not in kept
    assert result_of(finished).spoken_words == "not searched"
    assert prefect_url


def test_a_url_with_a_password_is_refused_before_there_is_a_run_that_shows_it(account: Account, deployed: str) -> None:
    assert account
    for url in ("rtsp://user:hunter22@camera/room", "rtsp://camera/room?token=hunter22"):
        with pytest.raises(PrefectHTTPStatusError, match="409"):
            Run.of(deployed, source=url)


def test_unknown_option_is_refused_before_there_is_a_run(account: Account, deployed: str) -> None:
    assert account
    with pytest.raises(PrefectHTTPStatusError, match="409"):
        Run.of(deployed, source="meeting-room", options={"archve": "default"})


def test_a_wrong_key_is_said_at_once(account: Account, deployed: str, proxy: FaultyProxy) -> None:
    account.block.api_key = SecretStr("sk-wrong")
    account.block.save("default", overwrite=True)
    run = Run.of(deployed, **SHORT)
    state = run.finish().state
    assert state is not None
    assert state.is_failed()
    assert "AuthenticationError" in (state.message or "")
    assert "POST /rtstream" not in proxy.seen
    assert "sk-wrong" not in run.logs()


def test_a_source_that_delivers_nothing_is_named_and_its_stream_is_stopped(account: Account, deployed: str) -> None:
    RTStreamSource(url=SecretStr(f"rtsp://user:hunter22@127.0.0.1:{free_port()}/x"), name="Off").save(
        "switched-off", overwrite=True
    )
    run = Run.of(deployed, source="switched-off", **SHORT)
    state = run.finish().state
    assert state is not None
    assert "SourceError" in (state.message or "")
    assert "nothing was recorded" in (state.message or "")
    assert "hunter22" not in (state.message or "") + run.logs()
    the_one_stopped_stream(account, run)


def test_silence_is_recorded_and_said(account: Account, deployed: str, tmp_path: Path) -> None:
    RTStreamSource(url=SecretStr(make_silence(tmp_path / "silence.mp4").as_uri()), name="Silence").save(
        "silence", overwrite=True
    )
    run = Run.of(deployed, source="silence", **SHORT)
    recording = result_of(run.finish())
    assert recording.spoken_words == "none"
    assert recording.clip is None
    assert "Nobody spoke" in run.artifacts()["meeting-recording"]["data"]
    the_one_stopped_stream(account, run)


def test_somebody_who_stops_the_stream_ends_the_recording_early(account: Account, deployed: str) -> None:
    run = Run.of(deployed, duration_minutes=30.0, queries=[], options=HOLDING)
    with stopped(run.execute()) as process:
        run.wait_for_label("videodb.window_start")
        wait_for("something is recorded", lambda: account.has_recorded(run))
        account.stop_all()
        process.wait(120)
    recording = result_of(run.read())
    assert recording.ended_early
    assert recording.window.end < datetime.now(UTC)


def test_what_cannot_be_recorded_is_refused_before_anything_is_connected(account: Account, proxy: FaultyProxy) -> None:
    flow = record_meeting.with_options(persist_result=False)
    with pytest.raises(ConfigurationError, match="already past"):
        flow("meeting-room", account.block, end_time=datetime.now(UTC) - timedelta(minutes=1))
    with pytest.raises(ConfigurationError, match="visible character"):
        flow("meeting-room", account.block, name="\u200b ")
    with pytest.raises(ConfigurationError, match="no rtstream-source block"):
        flow("no-such-room", account.block)
    with pytest.raises(Exception, match="do not belong into the parameters") as inline:
        flow({"url": "rtsp://user:hunter22@camera/room"}, account.block)  # type: ignore[arg-type] # as JSON has it
    assert "hunter22" not in str(inline.value)
    with pytest.raises(Exception, match="greater than 0"):
        flow("meeting-room", account.block, duration_minutes=0)
    assert "POST /rtstream" not in proxy.seen
