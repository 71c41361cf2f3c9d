"""A test run that is interrupted leaves no process and no temporary file behind; under CI nothing is skipped."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT, stopped, wait_for
from tests.support.subreaper import descendants

_MAY_LAST_S = 60
_HERE = ("-n", "0")
_IN_A_WORKER = ("-n", "1", "--max-worker-restart", "0")


def _outside_of_workers() -> dict[str, str]:
    """Return the environment without what marks a process as a worker of the run that executes these tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}


@pytest.mark.parametrize(
    ("arguments", "whom", "number"),
    [
        (_HERE, "pytest", signal.SIGTERM),
        (_HERE, "pytest", signal.SIGINT),
        (_HERE, "pytest", signal.SIGKILL),
        (_IN_A_WORKER, "pytest", signal.SIGTERM),
        (_IN_A_WORKER, "worker", signal.SIGKILL),
    ],
    ids=lambda value: value.name if isinstance(value, signal.Signals) else None if isinstance(value, str) else value[1],
)
def test_interrupted_run_leaves_nothing_behind(
    arguments: tuple[str, ...], whom: str, number: signal.Signals, tmp_path: Path
) -> None:
    told, temporary, log = tmp_path / "told", tmp_path / "temporary", tmp_path / "log"
    temporary.mkdir()
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments, "tests/support/endless.py"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.subreaper", str(_MAY_LAST_S), *command],
            cwd=ROOT,
            env=_outside_of_workers() | {"ENDLESS_TELLS": str(told), "TMPDIR": str(temporary)},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    with stopped(process):
        wait_for("the test holds everything", lambda: told.exists() or process.poll() is not None)
        assert told.exists(), log.read_text()
        [pytest_pid] = _children(process.pid)
        inner = json.loads(told.read_text())
        assert len(descendants(process.pid)) > 10
        assert (inner["pid"] == pytest_pid) == (arguments is _HERE)
        os.kill(inner["pid"] if whom == "worker" else pytest_pid, number)
        process.wait(2 * _MAY_LAST_S)
    assert "left behind" not in log.read_text()
    assert list(temporary.iterdir()) == []
    assert list(Path("/tmp").glob(f"{inner['mark']}*")) == []  # noqa: S108 - looked at, not written


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize(
    ("ci", "status"), [("true", pytest.ExitCode.INTERRUPTED), ("", pytest.ExitCode.NO_TESTS_COLLECTED)]
)
def test_skipped_file_fails_under_ci(ci: str, status: pytest.ExitCode) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "0", "tests/support/skipping.py"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"CI": ci},
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )
    assert done.returncode == status, done.stdout
    assert "as a file does whose package is not installed" in done.stdout
