"""Run a command, and list on standard output what is left of its processes some time after it has ended.

`python -m tests.support.subreaper SECONDS COMMAND …`. The kernel hands each process whose parent has ended to this one.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36


def descendants(pid: int) -> list[int]:
    """Return the processes that a process has started and that still run, with theirs."""
    found = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            found += [child, *descendants(child)]
    return found


def main() -> None:
    """Run the command; `SECONDS` is how long what it leaves behind may take to end."""
    assert ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    subprocess.run(sys.argv[2:], check=False)
    deadline = time.monotonic() + float(sys.argv[1])
    while descendants(os.getpid()) and time.monotonic() < deadline:
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        time.sleep(0.05)
    for pid in descendants(os.getpid()):
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        sys.stdout.write(f"left behind: {pid} {command}\n")
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
