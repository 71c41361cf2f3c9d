"""End what a test run leaves behind, however it ended: SIGKILL, SIGTERM, Ctrl-C, a crash.

A process of its own, which waits until its standard input ends: the kernel closes the other end with the test run. It
then kills every process whose environment holds the run's mark, which each program that the tests start inherits, and
removes the run's folders.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

MARK = "VIDEODB_TESTS"
_MOST_S = 30.0
_PR_SET_PDEATHSIG = 1


def reap_at_end_of(folder: Path) -> None:
    """Kill, when this process has ended, what it started from now on and still runs; remove `folder` and its siblings.

    Args:
        folder: a temporary folder of this process alone; its name is the mark of what is started from now on. Folders
            in /tmp whose names begin with it are removed, too: those for another user, who cannot reach this one.
    """
    os.environ[MARK] = folder.name
    ours, _theirs = os.pipe()
    with os.fdopen(ours) as end:
        subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, folder], stdin=end, env={}, cwd="/", start_new_session=True
        )
    # `_theirs` is never closed, and inherited by nobody: it is open for as long as this process lives.


def end_with_make() -> None:
    """Have the kernel end this process with the `make` that started it: one that is killed alone leaves the tests."""
    if "MAKELEVEL" in os.environ:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _marked(mark: str) -> list[int]:
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or belongs to somebody else
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def _main() -> None:
    folder = Path(sys.argv[1])
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.stdin.buffer.read()
    deadline = time.monotonic() + _MOST_S
    while (left := _marked(folder.name)) and time.monotonic() < deadline:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    for leftover in (folder, *Path("/tmp").glob(f"{folder.name}-*")):  # noqa: S108 - names that nobody can guess
        shutil.rmtree(leftover, ignore_errors=not leftover.exists())


if __name__ == "__main__":
    _main()
