"""A real PostgreSQL, in a process of its own, for a Prefect server that is to serve many at a time."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from tests.support.migrated import made_once, upgrade
from tests.support.processes import free_port, stopped
from tests.support.reaper import MARK

_START_TIMEOUT_S = 60.0


@contextmanager
def running_postgres() -> Iterator[str]:
    """Run a PostgreSQL with Prefect's empty database while the block runs; gives Prefect's URL for it.

    Raises:
        FileNotFoundError: PostgreSQL is not installed.
    """
    programs = _programs()
    made = made_once(f"postgresql-{programs.parent.name}", partial(_make, programs))
    with _folder() as (folder, user):
        shutil.copytree(made / "data", folder / "data")
        _give(folder, user)
        with _serving(programs, folder, user) as url:
            yield url


def _make(programs: Path, target: Path) -> None:
    with _folder() as (folder, user):
        _initialize(programs, folder, user)
        with _serving(programs, folder, user) as url:
            upgrade({"PREFECT_HOME": str(folder / "home"), "PREFECT_SERVER_DATABASE_CONNECTION_URL": url})
        shutil.copytree(folder / "data", target / "data")


@contextmanager
def _folder() -> Iterator[tuple[Path, str | None]]:
    """Give a folder that the user who runs it can reach, and that user: those of pytest are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix=f"{os.environ.get(MARK, 'videodb-benchmark')}-", dir="/tmp"))
    # PostgreSQL refuses to run as root.
    user = "postgres" if os.geteuid() == 0 else None
    try:
        _give(folder, user)
        yield folder, user
    finally:
        shutil.rmtree(folder)


def _give(folder: Path, user: str | None) -> None:
    if user:
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, user, user)


@contextmanager
def _serving(programs: Path, folder: Path, user: str | None) -> Iterator[str]:
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
    with stopped(process, signal.SIGINT):  # its fast shutdown: it waits for no client
        _wait(programs, port, folder, process)
        yield f"postgresql+asyncpg://prefect@127.0.0.1:{port}/postgres"


def _programs() -> Path:
    """Give the folder of the newest one, where Debian keeps it or where the path leads."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    if found:
        return found[-1]
    if there := shutil.which("postgres"):
        return Path(there).parent
    raise FileNotFoundError("PostgreSQL is not installed: run tools/system-packages")


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
