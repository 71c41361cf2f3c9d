"""Execute a run that was there when its worker died twice in a process of its own: if it dies again, it dies alone."""

import asyncio
import contextvars
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, cast

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun

from prefect_videodb.durable.recovery import is_suspect
from prefect_videodb.worker.execution import Execution, Outcome
from prefect_videodb.worker.flows import Flows
from prefect_videodb.worker.interrupts import Interrupt, RunCancelled, RunLetGo

if TYPE_CHECKING:
    from uuid import UUID

_INTERRUPTS: dict[str, Interrupt] = {interrupt.__name__: interrupt for interrupt in (RunCancelled, RunLetGo)}
_PR_SET_PDEATHSIG = 1
_LOOK_S = 5.0


class ProcessDied(Exception):
    """The process of a run ended before the run did."""


class ExecutionApart(Execution):
    """One execution of a run in a process of its own, which ends with the worker."""

    def __init__(self, run: FlowRun) -> None:
        super().__init__(run)
        self._process: subprocess.Popen[bytes] | None = None

    def abandon(self) -> None:
        """Kill the process: it did not heed an interrupt."""
        if self._process:
            self._process.kill()

    def _execute(self, flow: Flow[..., Any]) -> None:
        del flow  # the process loads its own
        self._enter()
        try:
            told = self._run_process()
        except OSError as error:  # the machine lets no more processes begin
            self.outcome, self.error = Outcome.DIED, error
            return
        if told:
            report = json.loads(told)
            self.outcome, self.found_cancelling = Outcome[report["outcome"]], report["found_cancelling"]
            self.error = ProcessDied(report["error"]) if report["error"] else None

    def _run_process(self) -> bytes:
        """Return what the process reports; nothing where it died before."""
        command = [sys.executable, "-c", "from prefect_videodb.worker.apart import main; main()"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:  # noqa: S603 - ours
            with self._lock:
                self._process = process
                self._tell(self.run.model_dump_json())
                if self.interrupted:
                    self._tell(self.interrupted.__name__)
            status = process.wait()
            output = cast("IO[bytes]", process.stdout)
            # A process that the flow has left behind may hold the other end open.
            os.set_blocking(output.fileno(), False)
            self.outcome, self.error = Outcome.DIED, ProcessDied(f"it ended with status {status}")
            return output.read() or b""

    def _raise(self, interrupt: Interrupt) -> None:
        self._tell(interrupt.__name__)

    def _tell(self, line: str) -> None:
        if self._process and self._process.stdin:
            with suppress(BrokenPipeError):  # it has died, as `wait` tells
                self._process.stdin.write(line.encode() + b"\n")


def execution_of(run: FlowRun) -> Execution:
    """Return an execution in a thread, or apart for a run under suspicion."""
    return ExecutionApart(run) if is_suspect(run) else Execution(run)


def main() -> None:
    """Execute the run that the first line of standard input holds, interrupt it as later lines say, and report."""
    # What the flow prints belongs into the worker's log.
    report = os.dup(1)
    os.dup2(2, 1)
    if sys.platform == "linux":  # also where the flow holds the interpreter for itself
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.SIG_IGN)  # the worker is told the same, and lets the run end well
    lines = os.fdopen(0, "rb", buffering=0)
    run = FlowRun.model_validate_json(lines.readline())
    with get_client(sync_client=True) as client:
        flow = Flows().load(client.read_deployment(cast("UUID", run.deployment_id)))
    execution = Execution(run)
    asyncio.run(_execute(execution, flow, lines))
    error = f"{type(execution.error).__name__}: {execution.error}" if execution.error else ""
    told = {"outcome": execution.outcome.name, "found_cancelling": execution.found_cancelling, "error": error}
    os.write(report, json.dumps(told).encode())


async def _execute(execution: Execution, flow: Flow[..., Any], lines: Any) -> None:
    def listen() -> None:
        while line := lines.readline():
            execution.interrupt(_INTERRUPTS[line.decode().strip()])
        os._exit(1)  # the worker is gone, and the next one executes the run

    execution.start(flow, contextvars.copy_context())
    threading.Thread(target=listen, name="worker", daemon=True).start()
    while not await execution.wait(_LOOK_S):
        pass
