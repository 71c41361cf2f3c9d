"""A real PostgreSQL, in a process of its own, for a Prefect server that is to serve many at a time."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.processes import free_port, stopped

_START_TIMEOUT_S = 60.0


@contextmanager
def running_postgres() -> Iterator[str]:
    """Run a PostgreSQL with an empty database while the block runs; gives Prefect's URL for it."""
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    # Its user must be able to reach the folder: those of pytest are closed to others.
    folder = Path(tempfile.mkdtemp(prefix="prefect-videodb-postgres-", dir="/tmp"))
    user = _user(folder)
    try:
        _initialize(programs, folder, user)
        port = free_port()
        options = ["-p", str(port), "-h", "127.0.0.1", "-k", str(folder), "-F", "-c", "max_connections=200"]
        with (folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [str(programs / "postgres"), "-D", str(folder / "data"), *options],
                user=user,
                stdout=log,
                stderr=log,
                cwd=folder,
                start_new_session=True,
            )
        with stopped(process):
            _wait(programs, port, folder, process)
            yield f"postgresql+asyncpg://prefect@127.0.0.1:{port}/postgres"
    finally:
        shutil.rmtree(folder)


def _programs() -> Path | None:
    """Give the folder of the newest one, where Debian keeps it or where the path leads."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    if found:
        return found[-1]
    return Path(there).parent if (there := shutil.which("postgres")) else None


def _user(folder: Path) -> str | None:
    """Give the user that runs it: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    owner = pwd.getpwnam("postgres")
    os.chown(folder, owner.pw_uid, owner.pw_gid)
    return "postgres"


def _initialize(programs: Path, folder: Path, user: str | None) -> None:
    command = [str(programs / "initdb"), "-D", str(folder / "data"), "-U", "prefect", "--auth=trust", "--no-sync"]
    done = subprocess.run(
        [*command, "-E", "UTF8", "--locale=C"], user=user, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _wait(programs: Path, port: int, folder: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    command = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    while subprocess.run(command, check=False).returncode != 0:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"PostgreSQL did not start:\n{(folder / 'log').read_text()}")
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
