"""What a flow declares for its second: done then by the worker, once, whatever happens just before or just after."""

import os
import signal
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolUpdate
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.schedules import IntervalSchedule
from pydantic import SecretStr

from tests.support.faulty_proxy import FaultyProxy, Rule
from tests.support.processes import wait_for
from tests.worker.conftest import Pool, Run

if TYPE_CHECKING:
    from collections.abc import Callable

# A claim and what is read before the moment take a second on a quiet machine.
_AHEAD = timedelta(seconds=12)


def due() -> datetime:
    return datetime.now(UTC) + _AHEAD


def set_paused(pool: Pool, *, is_paused: bool) -> None:
    with get_client(sync_client=True) as client:
        client.update_work_pool(pool.name, WorkPoolUpdate(is_paused=is_paused))


def update(run: Run, **values: Any) -> None:
    with get_client(sync_client=True) as client:
        client.request("PATCH", "/flow_runs/{id}", path_params={"id": run.id}, json=values).raise_for_status()


def was_prepared(run: Run) -> bool:
    return "sample.asked" in run.read().labels


def test_acts_at_its_second_and_starts_flow_afterwards(pool: Pool) -> None:
    pool.start("--limit", "1")
    at = due()
    busy = pool.run("wait", seconds=40.0)  # what is due is done though its flow finds no slot
    runs = [pool.run("be_on_time", at=at) for _ in range(3)]
    for run in runs:
        run.wait_until(lambda run=run: run.moments("sent"), "it is done")
        assert len(run.notes()) == 1
    assert busy.state() == "Running"
    late_s = [run.moments("sent")[0] - at.timestamp() for run in runs]
    assert min(late_s) >= -0.001  # two clocks are read
    assert max(late_s) < 1.5
    busy.end()
    for run in runs:
        run.wait_for_state("Completed")
        assert run.notes()[1:] == ["flow finds hello"]


@pytest.mark.parametrize(("how", "finds"), [("declined", "None"), ("fail", "None")])
def test_flow_does_what_could_not_be_done_ahead(pool: Pool, how: str, finds: str) -> None:
    pool.start()
    run = pool.run("be_on_time", how=how)
    run.wait_for_state("Completed")
    assert run.notes()[-1] == f"flow finds {finds}"


def test_cancelled_deleted_or_moved_just_before(pool: Pool) -> None:
    pool.start()
    at = due()
    changes: list[Callable[[Run], object]] = [Run.cancel, Run.delete, lambda run: run.move(at + timedelta(hours=1))]
    runs = [pool.run("be_on_time", at=at) for _ in changes]
    for run, change in zip(runs, changes, strict=True):
        run.wait_until(lambda run=run: was_prepared(run), "it is prepared")
        change(run)
    time.sleep(max(0.0, (at - datetime.now(UTC)).total_seconds()) + 3.0)
    cancelled, _, moved = runs
    cancelled.wait_for_note("cancelled Cancelling")
    assert [run.moments("sent") for run in runs] == [[]] * 3
    assert moved.state() == "Scheduled"


def test_changed_parameters_and_blocks_are_used(pool: Pool) -> None:
    pool.start()
    name = f"on-time-{os.urandom(4).hex()}"
    Secret(value=SecretStr("old")).save(name)
    at = due()
    by_parameter, by_block = pool.run("be_on_time", at=at, word="old"), pool.run("be_on_time", at=at, block=name)
    for run in (by_parameter, by_block):
        run.wait_until(lambda run=run: was_prepared(run), "it is prepared")
    update(by_parameter, parameters=by_parameter.read().parameters | {"word": "new"})
    Secret(value=SecretStr("new")).save(name, overwrite=True)
    for run in (by_parameter, by_block):
        run.wait_for_state("Completed")
        assert run.notes()[0].startswith("sent new")
        assert run.notes()[1:] == ["flow finds new"]
        assert run.moments("sent")[0] - at.timestamp() < 1.5


def test_paused_pool_starts_nothing(pool: Pool) -> None:
    pool.start()
    at = due()
    run = pool.run("be_on_time", at=at)
    run.wait_until(lambda: was_prepared(run), "it is prepared")
    set_paused(pool, is_paused=True)
    run.wait_for_state("Scheduled")
    time.sleep(max(0.0, (at - datetime.now(UTC)).total_seconds()) + 2.0)
    assert run.notes() == []
    set_paused(pool, is_paused=False)
    run.wait_for_state("Completed")
    assert len(run.moments("sent")) == 1


def test_paused_schedule_starts_nothing(pool: Pool) -> None:
    pool.start()
    deployment = pool.deploy("tests.worker.sample_flows.be_on_time")
    schedule = IntervalSchedule(interval=timedelta(hours=1), anchor_date=datetime.now(UTC) + timedelta(seconds=45))
    folder = pool.folder / "scheduled"
    folder.mkdir()
    with get_client(sync_client=True) as client:
        client.update_deployment(deployment, DeploymentUpdate(parameters={"folder": str(folder)}))
        [made] = client.create_deployment_schedules(deployment, [(schedule, True)])

        def pending() -> list[FlowRun]:
            wanted = {
                "flow_runs": {"deployment_id": {"any_": [str(deployment)]}, "state": {"name": {"any_": ["Pending"]}}}
            }
            answer = client.request("POST", "/flow_runs/filter", json=wanted)
            return [FlowRun.model_validate(run) for run in answer.json()]

        wait_for("the scheduled run is prepared", lambda: any("sample.asked" in run.labels for run in pending()), 60.0)
        client.update_deployment_schedule(deployment, made.id, active=False)
        wait_for("the run is withdrawn", lambda: not pending(), 60.0)
    assert not (folder / "notes").exists()


def test_prefect_away_at_the_moment(pool: Pool, prefect_api: str) -> None:
    with FaultyProxy(prefect_api.removesuffix("/api")).running() as proxy:
        pool.start(api_url=f"{proxy.url}/api")
        at = due()
        run = pool.run("be_on_time", at=at)
        run.wait_until(lambda: was_prepared(run), "it is prepared")
        proxy.rules += [Rule(method, "", "cut before", times=10**6) for method in ("GET", "POST", "PATCH")]
        run.wait_until(lambda: run.moments("sent"), "it is done")
        assert run.moments("sent")[0] - at.timestamp() < 1.5
        proxy.rules.clear()
        run.wait_for_state("Completed")
        assert len(run.moments("sent")) == 1


def test_killed_while_it_acts(pool: Pool) -> None:
    """Nobody has written down what was done: the run goes on, and is told so by what it asked for before."""
    worker = pool.start()
    run = pool.run("be_on_time", how="die")
    worker.wait(90)
    assert was_prepared(run)
    assert run.state() == "Pending"
    pool.start()
    run.wait_for_state("Completed")


def test_told_to_end_between_claim_and_act(pool: Pool) -> None:
    first = pool.start()
    at = datetime.now(UTC) + timedelta(seconds=45)
    run = pool.run("be_on_time", at=at)
    run.wait_until(lambda: was_prepared(run), "it is prepared")
    first.send_signal(signal.SIGTERM)
    first.wait(90)
    assert run.state() == "Scheduled", pool.log()
    pool.start()
    run.wait_for_state("Completed")
    assert run.moments("sent")[0] >= at.timestamp() - 0.001  # two clocks are read
    assert len(run.notes()) == 2


def test_only_one_of_two_workers_acts(pool: Pool) -> None:
    pool.start(name="one")
    pool.start(name="two")
    runs = [pool.run("be_on_time", at=due()) for _ in range(6)]
    for run in runs:
        run.wait_for_state("Completed")
        assert len(run.moments("sent")) == 1


def claimed_at(run: Run) -> float:
    """Return when a run was claimed last."""
    with get_client(sync_client=True) as client:
        states = client.request("GET", "/flow_run_states/", params={"flow_run_id": str(run.id)}).json()
    return max(datetime.fromisoformat(one["timestamp"]).timestamp() for one in states if one["type"] == "PENDING")


def test_ends_are_on_time_without_a_claim(pool: Pool) -> None:
    pool.start()
    deployment = pool.deploy("tests.worker.sample_flows.park_until_its_end")
    run, moved, paused = (pool.run_of(deployment, seconds=seconds) for seconds in (35.0, 3600.0, 45.0))
    for one in (run, moved, paused):
        one.wait_for_state("Recording")
    end = datetime.now(UTC) + timedelta(seconds=20)
    with get_client(sync_client=True) as client:
        client.update_flow_run_labels(moved.id, {"sample.end": end.isoformat()})
    moved.move(end - timedelta(seconds=15), "Recording")
    run.wait_for_state("Completed")
    set_paused(pool, is_paused=True)
    moved.wait_until(lambda: moved.moments("stopped"), "it is stopped")
    paused.wait_until(lambda: paused.moments("stopped"), "it is stopped though its pool is paused")
    set_paused(pool, is_paused=False)
    for one in (run, moved, paused):
        one.wait_for_state("Completed")
        end_s = datetime.fromisoformat(str(one.read().labels["sample.end"])).timestamp()
        assert -0.001 <= one.moments("stopped")[0] - end_s < 1.5  # two clocks are read
        assert len(one.moments("stopped")) == 1
        assert one.moments("woken")[0] > one.moments("stopped")[0]
        assert claimed_at(one) > end_s  # until then it is shown as what it is
