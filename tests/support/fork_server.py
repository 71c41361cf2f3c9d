"""Start Prefect's engine many times without paying for an interpreter each time: import once, then fork.

Run as a program, it reads what to execute from its standard input, one JSON object a line, and writes there is on its
standard output: the process's id as it begins, and its status as it ends. Each execution is a process of its own, the
leader of its session, in which `prefect.engine` runs as a worker runs it.
"""

import json
import os
import runpy
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.support.processes import stopped

_ROOT = Path(__file__).resolve().parents[2]


class Execution:
    """One process that executes a flow run, with the methods of one that `subprocess` started."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.ended = threading.Event()
        self.started_as = 0
        self.status = 0

    @property
    def pid(self) -> int:
        """The process's id; it is waited for."""
        if not self.began.wait(60):
            raise RuntimeError("the process was not started")
        return self.started_as

    def poll(self) -> int | None:
        """Give how it ended; None before it did."""
        return os.waitstatus_to_exitcode(self.status) if self.ended.is_set() else None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, and give it.

        Raises:
            TimeoutExpired: it did not come in time.
        """
        if not self.ended.wait(timeout):
            raise subprocess.TimeoutExpired("prefect.engine", timeout or 0.0)
        return os.waitstatus_to_exitcode(self.status)

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process is gone."""
        if not self.ended.is_set():
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it as the kernel does when memory is short, and come back when it is dead."""
        self.send_signal(signal.SIGKILL)
        if not self.ended.wait(60):
            raise RuntimeError(f"process {self.pid} does not die")


class ForkServer:
    """The server as a test sees it. Any number of threads may use it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._lock = threading.Lock()
        self._executions: list[Execution] = []

    @classmethod
    @contextmanager
    def running(cls) -> Iterator["ForkServer"]:
        """Run one while the block runs; what it started and still runs is killed at its end."""
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.fork_server"],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        with stopped(process):
            server = cls(process)
            reader = threading.Thread(target=server._read, args=(process.stdout,))
            reader.start()
            try:
                yield server
            finally:
                for execution in server._executions:
                    if not execution.ended.is_set():
                        execution.kill()
                assert process.stdin
                process.stdin.close()
                reader.join()

    def execute(self, flow_run_id: object, environment: Mapping[str, str], log: Path) -> Execution:
        """Execute a flow run; what the process prints is appended to `log`."""
        execution = Execution()
        with self._lock:
            number = len(self._executions)
            self._executions.append(execution)
            order = {
                "number": number,
                "environment": {**environment, "PREFECT__FLOW_RUN_ID": str(flow_run_id)},
                "log": str(log),
            }
            assert self._process.stdin
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
        return execution

    def _read(self, output: IO[bytes]) -> None:
        for line in output:
            told = json.loads(line)
            execution = self._executions[told["number"]]
            if "pid" in told:
                execution.started_as = told["pid"]
                execution.began.set()
            else:
                execution.status = told["status"]
                execution.ended.set()


def _serve() -> dict[str, str] | None:
    """Fork until the input ends. Comes back twice or more: with an order in each child, with None in the server."""
    numbers: dict[int, int] = {}
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    pending = b""
    while True:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _tell_the_dead(numbers)
        if 0 not in ready:
            continue
        if not (read := os.read(0, 1 << 16)):
            return None
        *lines, pending = (pending + read).split(b"\n")
        for line in lines:
            order: dict[str, str] = json.loads(line)
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                os.close(woken)
                os.close(waker)
                return order
            numbers[pid] = int(order["number"])
            _tell(number=numbers[pid], pid=pid)


def _tell_the_dead(numbers: dict[int, int]) -> None:
    while numbers:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        _tell(number=numbers.pop(pid), status=status)


def _tell(**what: int) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


def _become(order: dict[str, str]) -> None:
    """Make of this fork what a worker would have started."""
    os.setsid()
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.environ.update(order["environment"])  # type: ignore[arg-type]  # the one value that is no text
    sys.argv = ["prefect.engine"]

    from prefect.context import refresh_global_settings_context  # noqa: PLC0415 - not in the test's process

    refresh_global_settings_context()
    runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    import prefect.flow_engine  # noqa: F401 - what every fork needs

    import prefect_videodb.flows  # noqa: F401 - the same

    assert threading.active_count() == 1, "a fork would lose the other threads"
    if mine := _serve():
        _become(mine)
