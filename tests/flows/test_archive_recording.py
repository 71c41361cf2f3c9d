"""Archiving as a flow, and as a step of a recording, through their deployments and into a real store."""

import json
import time
from collections.abc import Iterator

import httpx
import pytest
from pydantic import SecretStr

from prefect_videodb.archiving.models import Archived
from prefect_videodb.blocks import RecordingArchive
from prefect_videodb.client import streams
from prefect_videodb.flows import follow_up_alert
from prefect_videodb.following.models import FollowUpOptions
from prefect_videodb.following.report import markdown
from prefect_videodb.webhooks.alert import Alert
from tests.flows.conftest import KEY, SHORT, Account, Run, result_of, the_one_stopped_stream
from tests.support.faulty_proxy import FaultyProxy, Rule
from tests.support.media import make_silence
from tests.support.processes import stopped, wait_for
from tests.support.swift_server import ACCESS_KEY_ID, SECRET_ACCESS_KEY, SwiftServer, running_swift

DEPLOYMENT = "archive-recording/archive-recording"


@pytest.fixture(scope="module")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SwiftServer]:
    with running_swift(tmp_path_factory.mktemp("swift")) as store:
        yield store


@pytest.fixture
def store(swift: SwiftServer) -> Iterator[FaultyProxy]:
    with FaultyProxy(swift.url).running() as running:
        yield running


@pytest.fixture
def archive(account: Account, deployed: str, swift: SwiftServer, store: FaultyProxy) -> RecordingArchive:
    """Save the block that the deployment names, with a bucket of its own."""
    assert account
    assert deployed
    block = swift.archive(store.url)
    block.save("default", overwrite=True)
    return block


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_silence(tmp_path_factory.mktemp("media") / "silence.mp4", seconds=4).as_uri()


@pytest.fixture
def video_id(account: Account, media: str) -> str:
    """Give a finished video."""
    with account.block.get_client() as client:
        stream = client.send(streams.connect(media, "Board | <b>", store=True))
        wait_for("the file was ingested", lambda: client.send(streams.get(stream.id)).status == "stopped")
        return client.send(streams.export(stream.id, name="Board | <b>")).video_id


def archived_by(run: Run) -> Archived:
    state = run.read().state
    assert state is not None
    assert state.is_completed(), state
    result = state.result(_sync=True)  # type: ignore[call-arg]
    assert isinstance(result, Archived)
    return result


def test_a_video_is_archived_and_told_without_a_secret(
    archive: RecordingArchive, video_id: str, swift: SwiftServer
) -> None:
    run = Run.of(DEPLOYMENT, video_id=video_id)
    run.finish()
    archived = archived_by(run)
    folder = f"videodb/{video_id}"
    assert swift.keys(archive.bucket) == [f"{folder}/recording.json", f"{folder}/video.mp4"]
    report = run.artifacts()["archived-recording"]["data"]
    for told in (archived.sha256, archive.bucket, f"{archived.size_bytes:,} bytes", r"Board \| &lt;b&gt;"):
        assert told in report
    kept = json.dumps([run.read().model_dump(mode="json"), run.logs(), run.artifacts()], default=str)
    for secret in (KEY, SECRET_ACCESS_KEY, ACCESS_KEY_ID, "/downloads/"):
        assert secret not in kept


def test_killed_before_it_was_complete_the_run_is_executed_again_and_leaves_one_copy(
    archive: RecordingArchive, video_id: str, swift: SwiftServer, store: FaultyProxy
) -> None:
    run = Run.of(DEPLOYMENT, video_id=video_id, delete_from_videodb=False)
    with stopped(run.execute()) as process:
        store.rules.append(Rule("POST", r"\?uploadId=", "kill before", kill=process.kill))
        assert process.wait(120) < 0
    assert swift.uploads(archive.bucket) == [f"videodb/{video_id}/video.mp4"]

    run.schedule_again()
    run.finish()

    assert not archived_by(run).was_there
    assert len(swift.keys(archive.bucket)) == 2
    assert swift.uploads(archive.bucket) == []


def test_a_store_that_refuses_fails_the_run_with_what_to_correct(
    archive: RecordingArchive, video_id: str, account: Account
) -> None:
    archive.secret_access_key = SecretStr("wrong-9876543210")
    archive.save("default", overwrite=True)
    run = Run.of(DEPLOYMENT, video_id=video_id, delete_from_videodb=True)
    state = run.finish().state
    assert state is not None
    assert state.is_failed()
    assert "StorageDenied" in (state.message or "")
    assert "correct the access key" in (state.message or "")
    assert "wrong-9876543210" not in run.logs() + (state.message or "")
    assert account.videos("Board")


def test_a_recording_is_archived_when_it_is_exported(
    archive: RecordingArchive, account: Account, deployed: str, swift: SwiftServer
) -> None:
    run = Run.of(deployed, name="Kept", queries=[], options={"archive": "default"}, **SHORT)
    recording = result_of(run.finish())
    [copy] = recording.archived
    assert recording.not_archived == []
    assert copy.key == f"videodb/{recording.video_id}/video.mp4"
    assert len(swift.read(archive.bucket, copy.key)) == copy.size_bytes
    assert "Archived as" in run.artifacts()["meeting-recording"]["data"]
    assert "archive" in recording.steps_s
    the_one_stopped_stream(account, run)


def test_the_clip_of_an_alert_is_archived_once(archive: RecordingArchive, account: Account, swift: SwiftServer) -> None:
    rtstream_id = account.connect("Watched")
    start = time.time() + 2
    wait_for("its window can be played", lambda: account.plays(rtstream_id, start, start + 6))
    alert = Alert(label="door", rtstream_id=rtstream_id, start_time=start + 1, end_time=start + 5)
    options = FollowUpOptions(pad_before_s=1, pad_after_s=1, settle_s=0, context=False, archive="default")
    flow = follow_up_alert.with_options(persist_result=False)
    first, again = (flow(alert, credentials=account.block, options=options) for _ in range(2))
    assert first.missing == []
    assert first.archived is not None
    assert again.archived is not None
    assert again.archived.was_there
    assert swift.read(archive.bucket, first.archived.key)[4:8] == b"ftyp"
    assert first.archived.key[-32:] in markdown(first, [])  # a longer word than the page is wide is cut in its middle
    gone = flow(alert, credentials=account.block, options=options.model_copy(update={"archive": "none-such"}))
    assert "none-such" in gone.missing[0]


def test_an_archive_that_fails_loses_nothing_else_of_the_recording(
    archive: RecordingArchive, account: Account, deployed: str
) -> None:
    archive.bucket = "no-such-bucket"
    archive.save("default", overwrite=True)
    run = Run.of(deployed, name="Not kept", queries=["action items"], options={"archive": "default"}, **SHORT)
    recording = result_of(run.finish())
    assert recording.archived == []
    [trouble] = recording.not_archived
    assert "no-such-bucket" in trouble
    assert recording.spoken_words == "indexed"
    assert httpx.get(recording.video.stream_url or "", timeout=30.0).is_success
    assert "**Not archived**" in run.artifacts()["meeting-recording"]["data"]
    the_one_stopped_stream(account, run)


def test_an_archive_that_does_not_exist_is_refused_before_anything_is_connected(
    account: Account, deployed: str, proxy: FaultyProxy
) -> None:
    assert account
    run = Run.of(deployed, options={"archive": "no-such-archive"}, **SHORT)
    state = run.finish().state
    assert state is not None
    assert "no videodb-recording-archive block for 'no-such-archive'" in (state.message or "")
    assert "POST /rtstream" not in proxy.seen
