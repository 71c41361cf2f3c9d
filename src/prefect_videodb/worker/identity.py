"""Which process executes a run, written so that a process of the same machine can tell whether it is still there.

Processes of several containers do not see each other. Those that share the host's name, and with it its network, see a
name that a living process has bound there; it is gone with the process, however that ends.
"""

import hashlib
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

_FIELDS = 4


@dataclass(frozen=True, slots=True)
class Identity:
    """A process. Its number alone is used again after its death; the moment of its start and the boot are not."""

    host: str
    boot: str
    pid: int
    started: str

    @classmethod
    def own(cls) -> Self:
        """Give this process; others can tell from now on that it is there."""
        own = cls(socket.gethostname(), _boot(), os.getpid(), _started(os.getpid()) or "")
        show(str(own))
        return own

    @classmethod
    def read(cls, text: str | None) -> Self | None:
        """Read what `str` of one wrote; None when it is anything else."""
        fields = (text or "").split("/")
        if len(fields) != _FIELDS or not fields[2].isdecimal():
            return None
        return cls(fields[0], fields[1], int(fields[2]), fields[3])

    def __str__(self) -> str:
        return f"{self.host}/{self.boot}/{self.pid}/{self.started}"

    def is_gone(self) -> bool:
        """Tell whether it surely runs no more. Of a process on another machine nobody here knows that."""
        if self.host != socket.gethostname():
            return False
        if self.boot != _boot():
            return True
        return _started(self.pid) != self.started and not _is_shown(str(self))


@cache
def show(text: str) -> socket.socket | None:
    """Bind a name that is not in the file system, for as long as this process lives."""
    with suppress(OSError):  # where there are no such names, what /proc says must do
        shown = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        shown.bind(_name(text))
        return shown
    return None


def _is_shown(text: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as looking:
        try:
            looking.connect(_name(text))
        except OSError:
            return False
    return True


def _name(text: str) -> bytes:
    # The system takes up to 107 bytes.
    return b"\0prefect-videodb-" + hashlib.sha256(text.encode()).hexdigest().encode()


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """Give when a process started, in ticks since the boot; None when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name of the program, in parentheses, may hold anything.
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in {"Z", "X"} else fields[18]
