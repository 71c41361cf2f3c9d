"""Many recordings wait at the same time, none of them holds a process, and every one is finished.

A few in the suite; `VIDEODB_PARKED=1000` for the full number (`make soak`).
"""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from pydantic import SecretStr

from prefect_videodb.blocks import RTStreamSource, VideoDBCredentials
from prefect_videodb.local_server import LocalServer
from prefect_videodb.local_server.media.rtsp_server import LoopingRTSPServer
from prefect_videodb.recording.changing import set_recording_end
from prefect_videodb.recording.parking import is_parked
from tests.flows.conftest import KEY, Account, Run, deploy_to, pool_in_process
from tests.support.media import make_still
from tests.support.prefect_server import is_final, runs_of
from tests.support.processes import session_of, wait_for
from tests.support.programs import running_worker

PARKED = int(os.environ.get("VIDEODB_PARKED", "8"))
# A camera serves so many at a time, and some.
FOR_EACH_CAMERA = 200
# What any machine needs for so many, and then some.
PATIENCE_S = 180.0 + 6.0 * PARKED


@pytest.fixture
def account(prefect_api: str, tmp_path: Path) -> Iterator[Account]:
    """A service of its own, with sources that cost next to nothing to record."""
    assert prefect_api
    still = make_still(tmp_path / "still.mp4")
    with ExitStack() as cameras, LocalServer(tmp_path / "videodb", api_key=KEY) as videodb:
        block = VideoDBCredentials(api_key=SecretStr(KEY), base_url=videodb.base_url)
        block.save("many", overwrite=True)
        for number in range(-(-PARKED // FOR_EACH_CAMERA)):
            url = SecretStr(cameras.enter_context(LoopingRTSPServer(still)).url)
            RTStreamSource(url=url, name="Still", media_types=["video"]).save(f"many-{number}", overwrite=True)
        known = Account(block, videodb.base_url)
        yield known
        known.stop_all()


@pytest.mark.timeout(7200)
def test_recordings_that_are_parked_hold_no_process_and_are_all_finished(account: Account, tmp_path: Path) -> None:
    pool = pool_in_process()
    deployment = deploy_to(pool, "prefect_videodb.flows.record_meeting.record_meeting", "record-meeting")
    with running_worker(tmp_path, pool) as worker:
        ids = [start(deployment, f"many-{number // FOR_EACH_CAMERA}") for number in range(PARKED)]
        wait_for("all are parked", lambda: sum(map(is_parked, runs_of(deployment))) == PARKED, PATIENCE_S, 1.0)
        worker.terminate()
        worker.wait(60)
        assert session_of(worker.pid) == []
    statuses = Counter(stream["status"] for stream in account.streams(""))
    assert statuses == {"connected": PARKED}  # they record, and nobody is there

    for run_id in ids:
        wait_for("something is recorded", partial(account.has_recorded, Run(run_id)))
    # All at the same moment, as meetings end.
    end = datetime.now(UTC) + timedelta(seconds=5 + 0.3 * PARKED)
    for run_id in ids:
        set_recording_end.fn(run_id, end)
    with running_worker(tmp_path, pool):
        wait_for("all have ended", lambda: all(map(is_final, runs_of(deployment))), PATIENCE_S, 1.0)
    assert Counter(run.state_name for run in runs_of(deployment)) == {"Completed": PARKED}
    assert Counter(stream["status"] for stream in account.streams("")) == {"stopped": PARKED}
    assert len(account.videos("")) == PARKED


def start(deployment: UUID, source: str) -> UUID:
    parameters = {"source": source, "credentials": "many", "queries": [], "duration_minutes": 600.0}
    with get_client(sync_client=True) as client:
        return client.create_flow_run_from_deployment(deployment, parameters=parameters).id
