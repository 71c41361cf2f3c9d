"""Runs whose worker died, is cut off from Prefect, or was started again, on a real Prefect server."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import State, StateType
from prefect.states import Pending
from prefect.workers.process import ProcessWorker

from prefect_videodb.durable import recovery
from prefect_videodb.durable.recovery import crash_count, recover_all
from tests.support.processes import ROOT, Process
from tests.support.programs import running_worker
from tests.worker.conftest import Pool, Run

# Prefect calls a worker offline when three heartbeats are missing.
HEARTBEAT = {"PREFECT_WORKER_HEARTBEAT_SECONDS": "1", "PYTHONPATH": str(ROOT)}


def kill(worker: Process) -> None:
    worker.send_signal(signal.SIGKILL)
    worker.wait(30)


def test_dead_workers_runs_go_on_with_another(pool: Pool) -> None:
    """Killed while a run waits for its time, runs, and is cancelled: by its heartbeats, whatever its host."""
    dead = pool.start("--prefetch-seconds", "60", name="dead", heartbeat_s=1)
    running, cancelled = pool.run("wait"), pool.run("wait")
    ahead = pool.run("wait", at=datetime.now(UTC) + timedelta(seconds=25), seconds=0.0)
    for run in (running, cancelled):
        run.wait_for_note("began")
    ahead.wait_until(lambda: ahead.read().infrastructure_pid, "it is claimed")
    pool.start(name="alive", heartbeat_s=1)
    kill(dead)
    cancelled.cancel()
    running.wait_until(lambda: running.notes() == ["began", "began"], "it goes on")
    assert crash_count(running.read()) == 1
    running.end()
    running.wait_for_state("Completed")
    cancelled.wait_for_state("Cancelled")
    assert cancelled.notes() == ["began", "cancelled Cancelling"]
    ahead.wait_for_state("Completed")
    assert ahead.notes() == ["began", "ended"]


def test_worker_of_the_same_name_finds_runs_at_once(pool: Pool) -> None:
    """Prefect still calls the name online: the heartbeats are a minute apart."""
    first = pool.start(heartbeat_s=60)
    run = pool.run("wait")
    run.wait_for_note("began")
    kill(first)
    began = time.monotonic()
    pool.start(heartbeat_s=60)
    run.wait_until(lambda: run.notes() == ["began", "began"], "it goes on")
    assert time.monotonic() - began < 45


def test_worker_cut_off_leaves_its_run_to_another(pool: Pool) -> None:
    """Come back, it interrupts its own execution of the run, which the other one ends."""
    cut_off = pool.start(name="cut off", heartbeat_s=1)
    run = pool.run("wait")
    run.wait_for_note("began")
    pool.start(name="alive", heartbeat_s=1)
    cut_off.send_signal(signal.SIGSTOP)
    run.wait_until(lambda: run.notes() == ["began", "began"], "it goes on")
    run.wait_until(lambda: run.state() == "Running", "it runs")
    cut_off.send_signal(signal.SIGCONT)
    run.wait_for_note("left RunLetGo")
    run.end()
    run.wait_for_state("Completed")
    assert run.notes() == ["began", "began", "left RunLetGo", "ended"]
    assert run.read().run_count == 2


# --- a process worker -------------------------------------------------------------------------------------------------


class ProcessPool(Pool):
    """A work pool of Prefect's type `process`, looked after by `recover_all`."""

    flow = f"flow-{uuid4()}"

    def of_state(self, state: State[Any] | None = None, worker: str = "dead") -> Run:
        """Create a run, as a worker of this name left it."""
        run = self.run_of(self.deploy("tests.worker.sample_flows.wait", self.flow))
        labels: dict[str, Any] = {"prefect.worker.name": worker, "prefect.worker.type": "process"}
        with get_client(sync_client=True) as client:
            if state:
                client.update_flow_run_labels(run.id, labels)
                client.set_flow_run_state(run.id, Pending())
                client.set_flow_run_state(run.id, state)
        return run

    def recovered(self, run: Run) -> Callable[[], bool]:
        """Whether a look finds the run dead and reschedules it."""

        def is_recovered() -> bool:
            with get_client(sync_client=True) as client:
                recover_all(client, [self.flow])
            return run.state() == "AwaitingRetry"

        return is_recovered


@pytest.fixture
def process_pool(prefect_api: str, tmp_path: Path) -> ProcessPool:
    assert prefect_api
    name = f"process-{uuid4()}"
    with get_client(sync_client=True) as client:
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(WorkPoolCreate(name=name, type="process", base_job_template=template))
    return ProcessPool(name, tmp_path, ExitStack())


def test_process_worker_killed_while_it_submits(process_pool: ProcessPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "_MARK_TIMEOUT", timedelta())
    run = process_pool.of_state(State(type=StateType.PENDING, name="Submitting"))
    run.wait_until(process_pool.recovered(run), "it is rescheduled")
    assert crash_count(run.read()) == 0  # it did not kill its worker


def test_process_worker_killed_with_its_flow(process_pool: ProcessPool, tmp_path: Path) -> None:
    run = process_pool.of_state()
    arguments = (tmp_path, process_pool.name, "--type", "process")
    with running_worker(*arguments, name="dead", environment=HEARTBEAT) as worker:
        run.wait_for_note("began")
        run.wait_until(lambda: run.read().infrastructure_pid, "its process is known")
        assert not process_pool.recovered(run)()
        kill(worker)
        os.kill(int(str(run.read().infrastructure_pid).rpartition(":")[2]), signal.SIGKILL)
    run.wait_until(process_pool.recovered(run), "it is rescheduled")
    with running_worker(*arguments, name="next", environment=HEARTBEAT):
        run.end()
        run.wait_for_state("Completed")
    assert run.notes() == ["began", "began", "ended"]
