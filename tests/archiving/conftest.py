"""A real store, a local VideoDB with two finished videos, a faulty network before each."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from prefect_videodb.blocks import RecordingArchive, VideoDBCredentials
from prefect_videodb.client import Client, streams, videos
from prefect_videodb.client.models import Export, Video
from prefect_videodb.client.streams import MediaType
from prefect_videodb.local_server import LocalServer
from tests.support.faulty_proxy import FaultyProxy
from tests.support.media import make_noise, make_silence
from tests.support.processes import wait_for
from tests.support.swift_server import SwiftServer, running_swift

KEY = "sk-archiving-0123456789"


@dataclass(frozen=True)
class Finished:
    """A finished video, and what its file is."""

    id: str
    name: str
    size: int
    sha256: str
    stream_url: str


@pytest.fixture(scope="session")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SwiftServer]:
    with running_swift(tmp_path_factory.mktemp("swift")) as store:
        yield store


@pytest.fixture(scope="session")
def videodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    with LocalServer(tmp_path_factory.mktemp("videodb"), api_key=KEY, sample=False) as server:
        yield server


@pytest.fixture(scope="session")
def finish(videodb: LocalServer) -> Callable[..., Finished]:
    """Give what makes a finished video of a media file."""

    def finish(media: Path, name: str, media_types: list[MediaType]) -> Finished:
        with Client(api_key=KEY, base_url=videodb.base_url) as client:
            stream = client.send(streams.connect(media.as_uri(), name, media_types=media_types, store=True))
            wait_for("the file was ingested", lambda: client.send(streams.get(stream.id)).status == "stopped")
            export: Export = client.send(streams.export(stream.id, name=name))
            assert export.stream_url
            link = client.send(videos.download(export.stream_url, export.video_id)).download_url
        assert link
        content = httpx.get(link, timeout=60.0).raise_for_status().content
        digest = hashlib.sha256(content).hexdigest()
        return Finished(export.video_id, name, len(content), digest, export.stream_url)

    return finish


@pytest.fixture(scope="session")
def video(finish: Callable[..., Finished], tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Give a small video."""
    media = make_silence(tmp_path_factory.mktemp("media") / "silence.mp4", seconds=4)
    return finish(media, "Weekly | <b>", ["video", "audio"])


@pytest.fixture(scope="session")
def large_video(finish: Callable[..., Finished], tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Give a video that takes several parts."""
    media = make_noise(tmp_path_factory.mktemp("media") / "noise.mp4")
    large = finish(media, "Noise", ["video"])
    assert large.size > 2 * 16 * 1024 * 1024
    return large


@pytest.fixture
def videodb_proxy(videodb: LocalServer) -> Iterator[FaultyProxy]:
    with FaultyProxy(videodb.base_url).running() as running:
        yield running


@pytest.fixture
def store_proxy(swift: SwiftServer) -> Iterator[FaultyProxy]:
    with FaultyProxy(swift.url).running() as running:
        yield running


@pytest.fixture
def account(videodb_proxy: FaultyProxy) -> VideoDBCredentials:
    return VideoDBCredentials(api_key=SecretStr(KEY), base_url=videodb_proxy.url, timeout_s=20.0)


@pytest.fixture
def archive(swift: SwiftServer, store_proxy: FaultyProxy) -> RecordingArchive:
    """Give an archive with a bucket of its own."""
    return swift.archive(store_proxy.url, prefix="meetings/2026")


def is_there(account: VideoDBCredentials, video_id: str) -> Video | None:
    """Look whether VideoDB has a video."""
    from prefect_videodb.errors import NotFound  # noqa: PLC0415

    try:
        with account.get_client() as client:
            return client.send(videos.get(video_id))
    except NotFound:
        return None
