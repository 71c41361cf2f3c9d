"""Start Python programs as `python -m` does, without paying for an interpreter and for Prefect's imports each time.

Importing them takes seconds of CPU, the suite starts hundreds of programs, and a fork has imported them already. Each
is a process of its own, the leader of its session. Run as a program, this reads what to start from its standard input,
one JSON object a line, and tells on its standard output each process's id as it begins, and its status as it ends.
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
from typing import IO, Any

from tests.support.processes import ROOT, Process, stopped

_PRELOADED = (
    "prefect.cli.deploy",
    "prefect.cli.server",
    "prefect.cli.work_pool",
    "prefect.cli.worker",
    "prefect.flow_engine",
    "prefect.server.api.server",
    "prefect.workers.process",
    "prefect_videodb.flows",
    "prefect_videodb.webhooks.service",
    "prefect_videodb.worker",
)


class Program:
    """One program that was forked, with the methods of one that `subprocess` started."""

    def __init__(self, name: str) -> None:
        self.began = threading.Event()
        self.ended = threading.Event()
        self.started_as = 0
        self.status = 0
        self._name = name

    @property
    def pid(self) -> int:
        """The process's id; it is waited for."""
        if not self.began.wait(60):
            raise RuntimeError(f"{self._name} was not started")
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
            raise subprocess.TimeoutExpired(self._name, timeout or 0.0)
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


class _ForkServer:
    """What forks, as a test sees it. Any number of threads may use it; it starts with the first program."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._lock = threading.Lock()
        self._programs: list[Program] = []

    def start(self, arguments: list[str], environment: Mapping[str, str], log: Path) -> Program:
        program = Program(" ".join(arguments))
        with self._lock:
            process = self._process or self._begin()
            order = {
                "number": len(self._programs),
                "arguments": arguments,
                "environment": dict(environment),
                "log": str(log),
            }
            self._programs.append(program)
            assert process.stdin
            process.stdin.write(json.dumps(order).encode() + b"\n")
            process.stdin.flush()
        return program

    def end(self) -> None:
        """Kill what it started and still runs, and end."""
        for program in self._programs:
            if not program.ended.is_set():
                program.kill()
        if self._process and self._reader:
            assert self._process.stdin
            with stopped(self._process):
                self._process.stdin.close()
                self._process.wait(30)
            self._reader.join()

    def _begin(self) -> subprocess.Popen[bytes]:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,))
        self._reader.start()
        return self._process

    def _read(self, output: IO[bytes]) -> None:
        for line in output:
            told = json.loads(line)
            program = self._programs[told["number"]]
            if "pid" in told:
                program.started_as = told["pid"]
                program.began.set()
            else:
                program.status = told["status"]
                program.ended.set()


_AT_HAND: list[_ForkServer] = []


@contextmanager
def forking() -> Iterator[None]:
    """Fork what is started while the block runs, and kill at its end what still runs."""
    server = _ForkServer()
    _AT_HAND.append(server)
    try:
        yield
    finally:
        _AT_HAND.remove(server)
        server.end()


def start(module: str, *arguments: str, log: Path, environment: Mapping[str, str] | None = None) -> Process:
    """Start `python -m module arguments …` in the checkout, as the leader of a session; its output is added to `log`.

    It has this process's environment, changed by `environment`.
    """
    if _AT_HAND:
        return _AT_HAND[-1].start([module, *arguments], os.environ | dict(environment or {}), log)
    return spawn(module, *arguments, log=log, environment=environment)


def spawn(module: str, *arguments: str, log: Path, environment: Mapping[str, str] | None = None) -> Process:
    """Start it in an interpreter of its own, which has imported nothing yet."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env=os.environ | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def execute(flow_run_id: object, log: Path, environment: Mapping[str, str] | None = None) -> Process:
    """Execute a flow run as a worker does."""
    return start(
        "prefect.engine", log=log, environment={**(environment or {}), "PREFECT__FLOW_RUN_ID": str(flow_run_id)}
    )


@contextmanager
def running_worker(
    folder: Path,
    pool: str = "meetings",
    *arguments: str,
    name: str = "the-worker",
    environment: Mapping[str, str] | None = None,
) -> Iterator[Process]:
    """Run a worker, of the pool that `prefect.yaml` names or of another; its log goes to a folder.

    One of the name of a worker that was killed finds its runs at once; two at a time need two names.
    """
    command = ("prefect", "worker", "start", "--pool", pool, "--name", name, *arguments)
    with stopped(start(*command, log=folder / "worker.log", environment=environment)) as process:
        yield process


@contextmanager
def running_workers(folder: Path) -> Iterator[None]:
    """Run the workers of both work pools that `prefect.yaml` names."""
    (folder / "cleanup").mkdir()
    with running_worker(folder), running_worker(folder / "cleanup", "cleanup"):
        yield


def _serve() -> dict[str, Any] | None:
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
            order: dict[str, Any] = json.loads(line)
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                os.close(woken)
                os.close(waker)
                return order
            numbers[pid] = order["number"]
            _tell(number=numbers[pid], pid=pid)


def _tell_the_dead(numbers: dict[int, int]) -> None:
    while numbers:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        _tell(number=numbers.pop(pid), status=status)


def _tell(**what: int) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


def _become(arguments: list[str], environment: dict[str, str], log: str) -> None:
    """Make of this fork what `python -m` would have started."""
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.environ.clear()
    os.environ.update(environment)

    from prefect.context import refresh_global_settings_context  # noqa: PLC0415 - not in the test's process

    refresh_global_settings_context()
    sys.argv = arguments
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    import gc
    from importlib import import_module

    for _module in _PRELOADED:
        import_module(_module)
    assert threading.active_count() == 1, "a fork would lose the other threads"
    gc.freeze()
    if _mine := _serve():
        _become(_mine["arguments"], _mine["environment"], _mine["log"])
