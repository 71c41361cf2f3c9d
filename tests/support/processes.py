"""Start programs, and be sure that they are gone afterwards."""

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol, TypeVar

ROOT = Path(__file__).resolve().parents[2]
_STOP_TIMEOUT_S = 30.0
_LONGEST_INTERVAL_S = 1.0


class Process(Protocol):
    """What `subprocess` gives, and what is forked."""

    @property
    def pid(self) -> int:
        """Its id."""
        ...

    def poll(self) -> int | None:
        """Give how it ended."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end."""
        ...

    def send_signal(self, number: int, /) -> None:
        """Send it a signal."""
        ...

    def terminate(self) -> None:
        """Ask it to end."""
        ...

    def kill(self) -> None:
        """Kill it."""
        ...


_P = TypeVar("_P", bound=Process)


@contextmanager
def stopped(process: _P, end: signal.Signals = signal.SIGTERM) -> Iterator[_P]:
    """End a process (the leader of its session) and everything that it started, with the block."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(end)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_TIMEOUT_S)
        _kill_session(process.pid)
        process.wait()


def session_of(leader: int) -> list[int]:
    """Give the processes of a session that still run."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.getsid(int(entry.name)) == leader:
                found.append(int(entry.name))
    return found


def _kill_session(leader: int) -> None:
    """Kill what a session's leader left behind."""
    for pid in session_of(leader):
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def free_port() -> int:
    """Give a port that is free on loopback, and that the system does not hand out by itself to somebody else."""
    while True:
        port = random.randrange(10_000, 30_000)  # noqa: S311 - a port, no secret
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_for(what: str, is_so: Callable[[], object], timeout_s: float = 120.0, interval_s: float = 0.2) -> None:
    """Wait until something is so; fail with what it was after a time that no machine needs.

    What takes long is looked for less often: asking costs whoever is asked.
    """
    deadline = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > deadline:
            raise AssertionError(f"not so after {timeout_s:g} s: {what}")
        time.sleep(interval_s)
        interval_s = max(interval_s, min(_LONGEST_INTERVAL_S, 1.15 * interval_s))
