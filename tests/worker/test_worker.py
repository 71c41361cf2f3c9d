"""The worker as a process, on a real Prefect server."""

import itertools
import os
import signal
import time
from datetime import UTC, datetime, timedelta

import pytest
from prefect.client.orchestration import get_client

from prefect_videodb.durable.recovery import crash_count
from tests.support.processes import wait_for
from tests.worker.conftest import Pool


def test_runs_are_executed_inside_the_worker_and_their_flow_is_loaded_once(pool: Pool) -> None:
    worker = pool.start()
    runs = [pool.run("work", number=number) for number in range(1, 6)]
    for number, run in enumerate(runs, 1):
        run.wait_for_state("Completed")
        assert run.notes() == [f"pid {worker.pid}"]
        state = run.read().state
        assert state is not None
        assert state.result(_sync=True) == 4 * number  # type: ignore[call-arg]
        run.wait_until(lambda run=run, number=number: f"working on {number} in run-{run.id}" in run.logs(), "its log")
    assert (pool.folder / "loads").read_text() == "loaded\n"


def test_more_run_at_a_time_than_may_start_at_a_time(pool: Pool) -> None:
    deployment = pool.deploy("tests.worker.sample_flows.wait")
    runs = [pool.run_of(deployment) for _ in range(45)]
    pool.start()
    for run in runs:
        run.wait_for_note("began")
    assert {run.notes()[-1] for run in runs} == {"began"}


def test_one_run_that_breaks_takes_no_other_along(pool: Pool) -> None:
    pool.start()
    beside = pool.run("wait")
    beside.wait_for_note("began")
    ends = {
        "exit": ("Crashed", "crashed Crashed"),
        "base": ("Crashed", "crashed Crashed"),
        "memory": ("Failed", "failed Failed"),
        "error": ("Failed", "failed Failed"),
    }
    for how, (state, hook) in ends.items():
        run = pool.run("misbehave", how=how)
        run.wait_for_state(state)
        run.wait_for_note(hook)  # hooks are called when the state is there
        assert run.notes() == [how, hook]
    for entrypoint in ("tests.worker.broken_module.never", "tests.worker.no_such_module.flow", "flows/some.py:flow"):
        run = pool.run_of(pool.deploy(entrypoint))
        run.wait_for_state("Crashed")
        run.wait_until(lambda run=run: "The flow cannot be loaded" in run.logs(), "its log")
    beside.end()
    beside.wait_for_state("Completed")
    assert beside.notes() == ["began", "ended"]


@pytest.mark.parametrize("how", ["leave", "kill"])
def test_poison_pill_is_given_up_alone(pool: Pool, how: str) -> None:
    """Only the run that kills its process is reported as crashed; the others finish, and the worker survives."""
    beside = [pool.run("wait"), pool.run("wait_async")]
    worker = pool.start()
    for run in beside:
        run.wait_for_note("began")
    culprit = pool.run("misbehave", how=how, beside=[str(run.folder) for run in beside])
    deaths = 0
    while culprit.state() != "Crashed":
        if worker.poll() is not None:
            deaths += 1
            worker = pool.start()
        time.sleep(0.2)
    assert deaths == 2
    assert culprit.notes() == [how] * 6 + ["crashed Crashed"]
    apart, apart_async = beside
    apart.cancel()
    apart.wait_for_state("Cancelled")
    assert apart.notes() == ["began"] * 3 + ["left RunCancelled", "cancelled Cancelling"]
    apart_async.end()
    apart_async.wait_for_state("Completed")
    assert apart_async.notes() == ["began"] * 3 + ["ended"]
    assert worker.poll() is None


def test_run_under_suspicion_is_handed_to_the_next_worker(pool: Pool) -> None:
    """A worker that is killed takes a run apart along, which is not counted; one that is told to end hands it back."""
    run = pool.run("wait")
    for deaths in range(1, 5):
        worker = pool.start()
        run.wait_until(lambda n=deaths: run.notes().count("began") == n, "it began")
        worker.kill()
    worker = pool.start()
    run.wait_until(lambda: run.notes().count("began") == 5, "it began")
    assert crash_count(run.read()) == 2
    worker.send_signal(signal.SIGTERM)
    worker.wait(90)
    assert run.state() == "AwaitingRetry", pool.log()
    assert run.notes() == ["began"] * 5 + ["left RunLetGo"]
    run.end()
    pool.start()
    run.wait_for_state("Completed")


def test_a_cancelled_run_ends_with_its_hooks(pool: Pool) -> None:
    pool.start()
    runs = [pool.run("wait"), pool.run("wait_async")]
    for run in runs:
        run.wait_for_note("began")
        run.cancel()
        run.wait_for_state("Cancelled")
        assert run.notes() == ["began", "left RunCancelled", "cancelled Cancelling"]


def test_a_run_that_is_cancelled_right_before_it_is_parked_ends_with_its_hooks_too(pool: Pool) -> None:
    pool.start()
    run = pool.run("park_when_cancelled")
    run.wait_for_note("began")
    run.cancel()
    run.wait_for_state("Cancelled")
    assert run.notes()[-1] == "cancelled Cancelling"


def test_what_is_cancelled_while_it_is_parked_ends_with_its_hooks_once(pool: Pool) -> None:
    first = pool.start()
    runs = [pool.run("park") for _ in range(2)]
    never_begun = pool.run("park", at=datetime.now(UTC) + timedelta(hours=1))
    for run in runs:
        run.wait_for_state("Recording")
    runs[0].cancel()
    never_begun.cancel()
    runs[0].wait_for_note("cancelled Cancelled")
    runs[0].wait_until(lambda: runs[0].read().infrastructure_pid, "it is told who ran them")
    first.send_signal(signal.SIGTERM)
    first.wait(90)
    runs[1].cancel()  # nobody is there; the next one finds it
    pool.start()
    runs[1].wait_for_note("cancelled Cancelled")
    assert [run.notes() for run in runs] == [["began", "cancelled Cancelled"]] * 2
    assert never_begun.notes() == []


def test_a_run_that_does_not_heed_its_cancellation_is_reported_all_the_same(pool: Pool) -> None:
    pool.start()
    run = pool.run("stubborn")
    run.wait_for_note("began")
    run.cancel()
    run.wait_for_state("Cancelled")
    assert run.notes() == ["began", "cancelled Cancelling"]
    assert "did not end within" in str(run.read().state.message)  # type: ignore[union-attr]


@pytest.mark.parametrize("flow", ["wait", "wait_async"])
def test_a_run_is_cancelled_before_its_time(pool: Pool, flow: str) -> None:
    pool.start("--prefetch-seconds", "900")
    run = pool.run(flow, at=datetime.now(UTC) + timedelta(seconds=600))
    # From here on the worker answers for it. What was never taken, Prefect calls cancelled without hooks.
    run.wait_until(lambda: run.read().infrastructure_pid, "its worker took it")
    run.cancel()
    run.wait_for_state("Cancelled")
    assert run.notes() == ["cancelled Cancelling"]


def test_a_worker_that_is_told_to_end_hands_its_runs_to_the_next(pool: Pool) -> None:
    first = pool.start("--prefetch-seconds", "60")
    runs = [pool.run("wait"), pool.run("wait_async")]
    later = pool.run("work", at=datetime.now(UTC) + timedelta(seconds=45))
    for run in runs:
        run.wait_for_note("began")
    later.wait_for_state("Pending", "Scheduled")
    short = pool.run("wait", seconds=4.0)
    short.wait_for_note("began")
    first.send_signal(signal.SIGTERM)
    first.wait(90)
    short.wait_for_state("Completed")  # it had the time to end
    assert short.notes() == ["began", "ended"]
    for run in runs:
        assert run.state() == "AwaitingRetry", pool.log()
        assert run.notes() == ["began", "left RunLetGo"]
    assert later.state() == "Scheduled"

    second = pool.start()
    for run in runs:
        run.end()
        run.wait_for_state("Completed")
        assert run.notes() == ["began", "left RunLetGo", "began", "ended"]
    later.wait_for_state("Completed")
    assert later.notes() == [f"pid {second.pid}"]


def test_the_runs_of_a_worker_that_was_killed_go_on_with_the_next(pool: Pool) -> None:
    first = pool.start()
    run, cancelled = pool.run("wait"), pool.run("wait")
    run.wait_for_note("began")
    cancelled.wait_for_note("began")
    os.kill(first.pid, signal.SIGKILL)
    first.wait(30)
    cancelled.cancel()
    assert run.state() == "Running"
    pool.start()
    run.end()
    run.wait_for_state("Completed")
    assert run.notes() == ["began", "began", "ended"]
    cancelled.wait_for_state("Cancelled")
    assert cancelled.notes() == ["began", "cancelled Cancelling"]


def test_a_worker_beside_leaves_the_runs_of_a_living_one_alone(pool: Pool) -> None:
    pool.start("--limit", "2")
    runs = [pool.run("wait", seconds=15.0) for _ in range(4)]
    runs[0].wait_for_note("began")
    pool.start(name="beside")
    for run in runs:
        run.wait_for_state("Completed")
        assert run.notes() == ["began", "ended"]


def test_a_worker_without_a_limit_has_one(pool: Pool) -> None:
    pool.start("--limit", "1")
    runs = [pool.run("wait", seconds=5.0) for _ in range(3)]
    for run in runs:
        run.wait_for_state("Completed")
    with get_client(sync_client=True) as client:
        times = sorted((r.start_time, r.end_time) for r in (client.read_flow_run(run.id) for run in runs))
    assert all(start >= end for (_, end), (start, _) in itertools.pairwise(times))  # type: ignore[operator]
    wait_for("it says what it took", lambda: "wait" in pool.log())
