"""An archiving that is killed at any point is called again: one whole copy, nothing left open."""

import hashlib
import json
import subprocess
import sys

import pytest

from prefect_videodb.blocks import RecordingArchive, VideoDBCredentials
from prefect_videodb.tasks import archive_video
from tests.archiving.conftest import KEY, Finished
from tests.support.faulty_proxy import Fault, FaultyProxy, Rule
from tests.support.processes import ROOT, stopped
from tests.support.swift_server import ACCESS_KEY_ID, SECRET_ACCESS_KEY, SwiftServer

LARGE = ("before", "PUT", r"partNumber=2")
POINTS = [
    ("after", "POST", r"\?uploads"),
    ("after", "PUT", r"partNumber=1"),
    LARGE,
    ("after", "POST", r"\?uploadId="),
    ("before", "PUT", r"recording\.json"),
    ("after", "PUT", r"recording\.json"),
]


def _start() -> subprocess.Popen[bytes]:
    """Start a process that archives what it will be told."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.archiver"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _tell(process: subprocess.Popen[bytes], account: VideoDBCredentials, archive: RecordingArchive, video: str) -> None:
    told = {
        "account": {"api_key": KEY, "base_url": account.base_url},
        "video_id": video,
        "archive": archive.model_dump(include={"bucket", "prefix", "endpoint_url", "region"})
        | {"access_key_id": ACCESS_KEY_ID, "secret_access_key": SECRET_ACCESS_KEY},
    }
    assert process.stdin
    with process.stdin as stdin:
        stdin.write(json.dumps(told).encode())


@pytest.mark.parametrize("point", POINTS, ids=" ".join)
def test_killed_there_it_is_whole_after_the_next_call(
    account: VideoDBCredentials, archive: RecordingArchive, request: pytest.FixtureRequest, point: tuple[str, str, str]
) -> None:
    swift: SwiftServer = request.getfixturevalue("swift")
    store_proxy: FaultyProxy = request.getfixturevalue("store_proxy")
    video: Finished = request.getfixturevalue("large_video" if point == LARGE else "video")
    side, method, path = point
    with stopped(_start()) as process:
        fault: Fault = "kill before" if side == "before" else "kill after"
        store_proxy.rules.append(Rule(method, path, fault, kill=process.kill))
        _tell(process, account, archive, video.id)
        assert process.wait(120) < 0, "it was to be killed, and ended by itself"

    was_complete = point == POINTS[-1]
    folder = f"meetings/2026/{video.id}"
    assert (f"{folder}/recording.json" in swift.keys(archive.bucket)) is was_complete

    archived = archive_video.fn(account, video.id, archive)

    assert archived.was_there is was_complete
    assert swift.keys(archive.bucket) == [f"{folder}/recording.json", f"{folder}/video.mp4"]
    assert hashlib.sha256(swift.read(archive.bucket, archived.key)).hexdigest() == video.sha256
    assert swift.uploads(archive.bucket) == []
