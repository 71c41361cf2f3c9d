"""A video's way into a real store, undisturbed."""

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from prefect_videodb.blocks import RecordingArchive, VideoDBCredentials
from prefect_videodb.errors import ConfigurationError, NotFound
from prefect_videodb.tasks import archive_video
from tests.archiving.conftest import KEY, Finished, is_there
from tests.support.faulty_proxy import FaultyProxy
from tests.support.media import make_silence
from tests.support.swift_server import SECRET_ACCESS_KEY, SwiftServer


def test_a_video_lies_in_the_store_byte_for_byte_with_what_is_known_of_it(
    account: VideoDBCredentials, archive: RecordingArchive, video: Finished, swift: SwiftServer
) -> None:
    archived = archive_video.fn(account, video.id, archive)

    folder = f"meetings/2026/{video.id}"
    assert swift.keys(archive.bucket) == [f"{folder}/recording.json", f"{folder}/video.mp4"]
    content = swift.read(archive.bucket, f"{folder}/video.mp4")
    assert hashlib.sha256(content).hexdigest() == video.sha256 == archived.sha256
    assert (archived.key, archived.size_bytes, archived.was_there) == (f"{folder}/video.mp4", video.size, False)
    head = swift.client.head_object(Bucket=archive.bucket, Key=archived.key)
    assert head["ContentType"] == "video/mp4"
    assert head["ETag"].strip('"') == archived.etag

    text = swift.read(archive.bucket, f"{folder}/recording.json").decode()
    sidecar = json.loads(text)
    assert sidecar["video_id"] == video.id
    assert sidecar["name"] == video.name
    assert sidecar["sha256"] == video.sha256
    assert sidecar["size_bytes"] == video.size
    assert sidecar["length_s"] == pytest.approx(4, abs=1.0)
    assert "://" not in text
    assert KEY not in text


def test_a_large_video_goes_in_parts_and_its_checksum_is_that_of_the_parts(
    account: VideoDBCredentials,
    archive: RecordingArchive,
    large_video: Finished,
    swift: SwiftServer,
    store_proxy: FaultyProxy,
) -> None:
    archived = archive_video.fn(account, large_video.id, archive)

    sent = [request for request in store_proxy.seen if "partNumber=" in request]
    size = 16 * 1024 * 1024
    assert len(sent) == -(-large_video.size // size) >= 3
    content = swift.read(archive.bucket, archived.key)
    assert hashlib.sha256(content).hexdigest() == large_video.sha256
    md5s = [hashlib.md5(content[at : at + size], usedforsecurity=False).digest() for at in range(0, len(content), size)]
    assert archived.etag == f"{hashlib.md5(b''.join(md5s), usedforsecurity=False).hexdigest()}-{len(md5s)}"
    assert swift.uploads(archive.bucket) == []


def test_a_second_call_finds_it_and_asks_for_nothing_else(
    account: VideoDBCredentials,
    archive: RecordingArchive,
    video: Finished,
    videodb_proxy: FaultyProxy,
    store_proxy: FaultyProxy,
) -> None:
    first = archive_video.fn(account, video.id, archive)
    videodb_proxy.seen.clear()
    store_proxy.seen.clear()

    second = archive_video.fn(account, video.id, archive)

    assert second.was_there
    assert second.archived_at == first.archived_at
    assert videodb_proxy.seen == []
    assert [request.split()[0] for request in store_proxy.seen] == ["GET", "HEAD"]


@pytest.mark.parametrize("damage", ["gone", "other", "sidecar"])
def test_a_copy_that_somebody_damaged_is_made_again(
    account: VideoDBCredentials, archive: RecordingArchive, video: Finished, swift: SwiftServer, damage: str
) -> None:
    first = archive_video.fn(account, video.id, archive)
    if damage == "gone":
        swift.client.delete_object(Bucket=archive.bucket, Key=first.key)
    else:
        key = first.key if damage == "other" else first.key.replace("video.mp4", "recording.json")
        swift.client.put_object(Bucket=archive.bucket, Key=key, Body=b"x" * first.size_bytes)

    second = archive_video.fn(account, video.id, archive)

    assert not second.was_there
    assert hashlib.sha256(swift.read(archive.bucket, first.key)).hexdigest() == video.sha256


def test_the_key_of_videodb_and_the_link_stay_where_they_belong(
    account: VideoDBCredentials,
    archive: RecordingArchive,
    video: Finished,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore", "prefect_videodb", "urllib3"):
        caplog.set_level(logging.DEBUG, logger=name)

    archive_video.fn(account, video.id, archive)

    assert "POST /download: HTTP 200" in caplog.text  # logs were caught
    for secret in (KEY, SECRET_ACCESS_KEY, "/downloads/", video.stream_url):
        assert secret not in caplog.text


def test_sound_alone_is_archived_by_the_link_of_its_export(
    account: VideoDBCredentials,
    archive: RecordingArchive,
    finish: Callable[..., Finished],
    swift: SwiftServer,
    tmp_path: Path,
) -> None:
    sound = finish(make_silence(tmp_path / "sound.mp4", seconds=4), "Sound", ["audio"])
    with pytest.raises(NotFound):
        archive_video.fn(account, sound.id, archive)
    with pytest.raises(ConfigurationError, match="cannot be deleted there"):
        archive_video.fn(account, sound.id, archive, url=SecretStr(sound.stream_url), delete_from_videodb=True)

    archived = archive_video.fn(account, sound.id, archive, url=SecretStr(sound.stream_url))

    assert archived.sha256 == sound.sha256
    assert swift.client.head_object(Bucket=archive.bucket, Key=archived.key)["ContentType"] == "audio/mp4"
    assert "://" not in swift.read(archive.bucket, archived.key.replace("video.mp4", "recording.json")).decode()


@pytest.fixture
def mine(finish: Callable[..., Finished], tmp_path: Path) -> Finished:
    """Give a video that may be deleted."""
    return finish(make_silence(tmp_path / "mine.mp4", seconds=4), "Mine", ["video"])


def test_it_is_deleted_at_videodb_only_after_it_was_verified(
    account: VideoDBCredentials,
    archive: RecordingArchive,
    mine: Finished,
    store_proxy: FaultyProxy,
    videodb_proxy: FaultyProxy,
) -> None:
    seen: list[str] = []
    store_proxy.seen = videodb_proxy.seen = seen

    archived = archive_video.fn(account, mine.id, archive, delete_from_videodb=True)

    assert archived.deleted_from_videodb
    assert is_there(account, mine.id) is None
    deleted = seen.index(f"DELETE /video/{mine.id}")
    assert [request.split()[0] for request in seen[deleted - 2 : deleted]] == ["HEAD", "PUT"]  # look, then the sidecar
    again = archive_video.fn(account, mine.id, archive, delete_from_videodb=True)
    assert again.was_there
    assert again.deleted_from_videodb
