"""Prefect's empty database, migrated once for all tests: the migration takes longer than most of them."""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

_CACHE = Path(__file__).resolve().parents[2] / ".cache"


def made_once(kind: str, make: Callable[[Path], None]) -> Path:
    """Give the folder that `make` has filled for this version of Prefect, in this or an earlier run of the tests."""
    _CACHE.mkdir(parents=True, exist_ok=True)
    made = _CACHE / f"{kind}-of-prefect-{version('prefect')}"
    with (_CACHE / f"{kind}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the suite runs in several processes
        if not made.exists():
            half = made.with_suffix(".half")
            shutil.rmtree(half, ignore_errors=True)  # of a run that was interrupted while it copied
            with tempfile.TemporaryDirectory() as folder:
                make(Path(folder))
                shutil.copytree(folder, half)
            half.rename(made)
    return made


def upgrade(environment: dict[str, str]) -> None:
    """Migrate the database that the environment names, as a user does."""
    others = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"],
        env=others | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
