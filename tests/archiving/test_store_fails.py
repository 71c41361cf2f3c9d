"""What a store can do to an archiving: each is told as what it is, and leaves no secret in a log and no upload open."""

import hashlib
import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pydantic import SecretStr

from prefect_videodb.blocks import RecordingArchive, VideoDBCredentials
from prefect_videodb.errors import (
    BucketNotFound,
    CopyDamaged,
    StorageDenied,
    StorageError,
    StorageFull,
    StorageUnavailable,
)
from prefect_videodb.tasks import archive_video
from tests.archiving.conftest import KEY, Finished, is_there
from tests.support.faulty_proxy import FaultyProxy, Rule
from tests.support.processes import free_port
from tests.support.swift_server import ACCESS_KEY_ID, SECRET_ACCESS_KEY, STRANGER_KEY_ID, SwiftServer

WRONG_KEY = "wrong-secret-9876543210"
SECRETS = (SECRET_ACCESS_KEY, WRONG_KEY, ACCESS_KEY_ID, STRANGER_KEY_ID, KEY, "/downloads/")


@pytest.fixture(autouse=True)
def logs(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Hold every line that is shown by default to the rule, whatever the test is about."""
    caplog.set_level(logging.INFO)
    yield caplog
    assert not [secret for secret in SECRETS if secret in caplog.text]


@contextmanager
def refused(kind: type[StorageError], *told: str, may_be_repeated: bool = False) -> Iterator[None]:
    """Expect an error of exactly this kind that tells this, and no secret."""
    with pytest.raises(StorageError) as caught:
        yield
    shown = "".join(traceback.format_exception(caught.value))
    assert type(caught.value) is kind, shown
    assert [text for text in told if text not in str(caught.value)] == [], str(caught.value)
    assert not [secret for secret in SECRETS if secret in shown]
    assert caught.value.retry_is_safe is may_be_repeated


def test_a_wrong_key_is_said_with_what_to_correct(
    account: VideoDBCredentials, archive: RecordingArchive, video: Finished
) -> None:
    wrong = archive.model_copy(update={"secret_access_key": SecretStr(WRONG_KEY)})
    with refused(StorageDenied, "correct the access key in the RecordingArchive block", "SignatureDoesNotMatch"):
        archive_video.fn(account, video.id, wrong)


def test_a_key_without_the_right_is_told_which_rights_are_needed(
    account: VideoDBCredentials, archive: RecordingArchive, video: Finished
) -> None:
    stranger = archive.model_copy(update={"access_key_id": SecretStr(STRANGER_KEY_ID)})
    with refused(StorageDenied, "s3:PutObject", "403"):
        archive_video.fn(account, video.id, stranger)


def test_a_wrong_bucket_is_named(account: VideoDBCredentials, archive: RecordingArchive, video: Finished) -> None:
    elsewhere = archive.model_copy(update={"bucket": "no-such-bucket"})
    with refused(BucketNotFound, "'no-such-bucket'", "make it, or correct its name"):
        archive_video.fn(account, video.id, elsewhere)


def test_without_any_key_it_is_said_where_one_belongs(
    account: VideoDBCredentials, archive: RecordingArchive, video: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    keyless = archive.model_copy(update={"access_key_id": None, "secret_access_key": None})
    with refused(StorageDenied, "fill an access key into the RecordingArchive block"):
        archive_video.fn(account, video.id, keyless)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)
    assert archive_video.fn(account, video.id, keyless).size_bytes == video.size


def test_a_store_that_is_full_is_told_and_the_video_stays_at_videodb(
    account: VideoDBCredentials, archive: RecordingArchive, large_video: Finished, swift: SwiftServer
) -> None:
    swift.limit(archive.bucket, 20_000_000)  # one part has room, the second has not
    with refused(StorageFull, "make room"):
        archive_video.fn(account, large_video.id, archive, delete_from_videodb=True)
    assert swift.keys(archive.bucket) == []
    assert swift.uploads(archive.bucket) == []
    assert is_there(account, large_video.id)


def test_a_store_that_is_not_there_may_be_asked_again(
    account: VideoDBCredentials, archive: RecordingArchive, video: Finished
) -> None:
    away = archive.model_copy(update={"endpoint_url": f"http://127.0.0.1:{free_port()}"})
    with refused(StorageUnavailable, "is the endpoint URL of the RecordingArchive block right", may_be_repeated=True):
        archive_video.fn(account, video.id, away)


@pytest.mark.parametrize("status", [500, 503])
def test_a_store_that_fails_in_passing_is_asked_again_at_once(
    account: VideoDBCredentials, archive: RecordingArchive, video: Finished, store_proxy: FaultyProxy, status: int
) -> None:
    store_proxy.rules.append(Rule("PUT", "partNumber=1", status, times=2))
    assert archive_video.fn(account, video.id, archive).sha256 == video.sha256


def test_a_store_that_goes_on_failing_may_be_asked_later_and_keeps_nothing(
    account: VideoDBCredentials,
    archive: RecordingArchive,
    video: Finished,
    store_proxy: FaultyProxy,
    swift: SwiftServer,
) -> None:
    store_proxy.rules.append(Rule("PUT", "partNumber=1", 503, times=100))
    with refused(StorageUnavailable, "try later", may_be_repeated=True):
        archive_video.fn(account, video.id, archive)
    assert swift.keys(archive.bucket) == []
    assert swift.uploads(archive.bucket) == []


REQUESTS = [
    ("GET", r"recording\.json"),
    ("GET", r"uploads"),
    ("POST", r"video\.mp4\?uploads"),
    ("PUT", r"partNumber=1"),
    ("POST", r"video\.mp4\?uploadId="),
    ("HEAD", r"video\.mp4"),
    ("PUT", r"recording\.json"),
]


@pytest.fixture(params=REQUESTS, ids=" ".join)
def lost(request: pytest.FixtureRequest, store_proxy: FaultyProxy) -> Rule:
    """Lose the answer of one request."""
    method, path = request.param
    store_proxy.rules.append(Rule(method, path, "cut after"))
    return store_proxy.rules[-1]


def test_an_answer_that_is_lost_leaves_one_whole_copy_and_nothing_open(
    account: VideoDBCredentials, archive: RecordingArchive, video: Finished, swift: SwiftServer, lost: Rule
) -> None:
    archived = archive_video.fn(account, video.id, archive)
    assert lost.times == 0
    assert len(swift.keys(archive.bucket)) == 2
    assert hashlib.sha256(swift.read(archive.bucket, archived.key)).hexdigest() == video.sha256
    assert swift.uploads(archive.bucket) == []


def test_what_is_not_what_was_sent_is_found_out_and_the_video_is_not_deleted(
    account: VideoDBCredentials,
    archive: RecordingArchive,
    video: Finished,
    store_proxy: FaultyProxy,
    swift: SwiftServer,
) -> None:
    key = f"meetings/2026/{video.id}/video.mp4"
    other = b"x" * video.size

    def overwrite() -> None:
        swift.client.put_object(Bucket=archive.bucket, Key=key, Body=other)

    store_proxy.rules.append(Rule("POST", r"\?uploadId=", "kill after", kill=overwrite))
    with refused(CopyDamaged, key, "archive again", may_be_repeated=True):
        archive_video.fn(account, video.id, archive, delete_from_videodb=True)
    assert swift.keys(archive.bucket) == [key]  # and no sidecar that says that it is whole
    assert is_there(account, video.id)
    assert archive_video.fn(account, video.id, archive).sha256 == video.sha256


def test_an_upload_that_somebody_aborts_is_told_and_begun_anew_the_next_time(
    account: VideoDBCredentials,
    archive: RecordingArchive,
    large_video: Finished,
    store_proxy: FaultyProxy,
    swift: SwiftServer,
) -> None:
    def abort() -> None:
        for upload in swift.client.list_multipart_uploads(Bucket=archive.bucket)["Uploads"]:
            swift.client.abort_multipart_upload(
                Bucket=archive.bucket, Key=upload.get("Key", ""), UploadId=upload.get("UploadId", "")
            )

    store_proxy.rules.append(Rule("PUT", "partNumber=2", "kill before", kill=abort))
    with pytest.raises(StorageError, match="another run archives the same video") as caught:
        archive_video.fn(account, large_video.id, archive)
    assert caught.value.retry_is_safe
    assert archive_video.fn(account, large_video.id, archive).sha256 == large_video.sha256
