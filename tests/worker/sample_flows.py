"""Flows that the tests of the worker deploy. Each writes what it did into the folder that it is given."""

import asyncio
import ctypes
import os
import signal
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import flow, get_run_logger, task
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.events import emit_event
from prefect.runtime import deployment as this_deployment
from prefect.runtime import flow_run as this_run

from prefect_videodb.durable.on_time import Act, OnTime, on_time, snapshot
from prefect_videodb.recording.parking import leave
from tests.support.prefect_server import read_flow_run

# One line for each time that this module is executed.
if loads := os.environ.get("SAMPLE_FLOWS_LOADS"):
    with Path(loads).open("a", encoding="utf-8") as file:
        file.write("loaded\n")


def note(folder: str, line: str) -> None:
    with (Path(folder) / "notes").open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def count_notes(folder: str) -> int:
    notes = Path(folder) / "notes"
    return len(notes.read_text(encoding="utf-8").splitlines()) if notes.exists() else 0


def notes_in(folder: str) -> list[str]:
    file = Path(folder) / "notes"
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def is_told_to_end(folder: str) -> bool:
    return (Path(folder) / "end").exists()


def _hook(name: str) -> Any:
    def hook(_flow: object, run: Any, state: Any) -> None:
        note(run.parameters["folder"], f"{name} {state.name}")

    hook.__name__ = name
    return hook


HOOKS: dict[str, Any] = {
    "on_failure": [_hook("failed")],
    "on_crashed": [_hook("crashed")],
    "on_cancellation": [_hook("cancelled")],
}


@task
def double(number: int) -> int:
    return 2 * number


@flow(persist_result=True, **HOOKS)
def work(folder: str, number: int = 1) -> int:
    get_run_logger().info("working on %s in %s", number, threading.current_thread().name)
    note(folder, f"pid {os.getpid()}")
    return double(number) + double.submit(number).result()


@flow(**HOOKS)
def wait(folder: str, seconds: float = 600.0) -> None:
    note(folder, "began")
    try:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not is_told_to_end(folder):
            time.sleep(0.1)
    except BaseException as error:
        note(folder, f"left {type(error).__name__}")
        raise
    note(folder, "ended")


def _note_deployment(_flow: Any, run: Any, _state: Any) -> None:
    note(run.parameters["folder"], f"hook names {run.deployment_id}")


RUNNING_HOOKS: list[Any] = [_note_deployment]


@flow(on_running=RUNNING_HOOKS)
def emit(folder: str) -> None:
    note(folder, f"runtime names {this_deployment.id}")
    note(folder, f"observers: {sum('observer_thread' in thread.name for thread in threading.enumerate())}")
    emit_event("sample.happened", {"prefect.resource.id": "sample.thing"})


def _send_at_start(_flow: object, run: Any, due: datetime) -> Act | None:
    folder, word, how = run.parameters["folder"], run.parameters.get("word", "hello"), run.parameters.get("how")
    if "sample.sent" in run.labels or how == "declined":
        return None
    blocks = [Secret.load(run.parameters["block"], _sync=True)] if run.parameters.get("block") else []  # type: ignore[call-arg, list-item]
    said = blocks[0].get() if blocks else word

    def send() -> dict[str, str]:
        if how == "die" and not any(line.startswith("sent") for line in notes_in(folder)):
            note(folder, f"sent {said} {time.time()}")
            os.kill(os.getpid(), signal.SIGKILL)
        note(folder, f"sent {said} {time.time()}")
        if how == "fail":
            raise ValueError("no answer")
        return {"sample.sent": said}

    return Act(at=due, send=send, labels={"sample.asked": "yes"}, blocks=snapshot(*blocks), settle_s=1.0)


def _ends_at(run: Any) -> datetime | None:
    end = run.labels.get("sample.end")
    return datetime.fromisoformat(end) if end else None


def _send_at_end(_flow: object, run: Any) -> Act | None:
    end = _ends_at(run)

    def send() -> dict[str, str]:
        note(run.parameters["folder"], f"stopped {time.time()}")
        return {}

    return Act(at=end, send=send) if end else None


@on_time(OnTime(at_start=_send_at_start, ends_at=_ends_at, at_end=_send_at_end))
@flow(**HOOKS)
def be_on_time(folder: str, word: str = "hello", block: str | None = None, how: str | None = None) -> None:
    del word, block, how  # what is sent is made of them
    sent = read_flow_run(UUID(this_run.get_id())).labels.get("sample.sent")
    note(folder, f"flow finds {sent}")


@on_time(OnTime(ends_at=_ends_at, at_end=_send_at_end))
@flow(**HOOKS)
def park_until_its_end(folder: str, seconds: float) -> None:
    run = read_flow_run(UUID(this_run.get_id()))
    if "sample.end" in run.labels:
        note(folder, f"woken {time.time()}")
        return
    end = datetime.now(UTC) + timedelta(seconds=seconds)
    with get_client(sync_client=True) as client:
        client.update_flow_run_labels(run.id, {"sample.end": end.isoformat()})
        leave(client, str(run.id), end - timedelta(seconds=15), "parked")


@flow(**HOOKS)
async def wait_async(folder: str) -> None:
    async def until_told() -> None:
        while not is_told_to_end(folder):  # noqa: ASYNC110 - another process tells it
            await asyncio.sleep(0.1)

    note(folder, "began")
    try:
        await asyncio.gather(until_told(), asyncio.sleep(0.5))
    except BaseException as error:
        note(folder, f"left {type(error).__name__}")
        raise
    note(folder, "ended")


@flow(**HOOKS)
def park_when_cancelled(folder: str) -> None:
    note(folder, "began")
    run_id = str(this_run.get_id())
    with get_client(sync_client=True) as client:
        while not read_flow_run(run_id).state.is_cancelling():  # type: ignore[union-attr]
            time.sleep(0.01)
        try:
            leave(client, run_id, datetime.now(UTC) + timedelta(hours=1), "parked")
        except RuntimeError:
            note(folder, "not parked")
    time.sleep(120)


@flow(**HOOKS)
def park(folder: str) -> None:
    note(folder, "began")
    with get_client(sync_client=True) as client:
        leave(client, str(this_run.get_id()), datetime.now(UTC) + timedelta(hours=1), "parked")


@flow
def take_stage(event: dict[str, Any]) -> str:
    return str(event["event"])


@flow(**HOOKS)
def stubborn(folder: str) -> None:
    note(folder, "began")
    time.sleep(120)


@flow(**HOOKS)
def misbehave(folder: str, how: str, beside: tuple[str, ...] = ()) -> Any:
    """Misbehave, as soon as the runs beside it, by their folders, have begun as often as it has, up to three times."""
    note(folder, how)
    while any(count_notes(other) < min(count_notes(folder), 3) for other in beside):
        time.sleep(0.1)
    if how == "leave":
        os._exit(0)
    if how == "segmentation fault":
        ctypes.string_at(0)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "exit":
        sys.exit(3)
    if how == "memory":
        raise MemoryError("none left")
    if how == "base":
        raise BaseException("raised by the flow")  # noqa: TRY002 - what nobody should raise
    raise ValueError("raised by the flow")
