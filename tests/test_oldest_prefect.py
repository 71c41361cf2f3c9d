"""The oldest Prefect that is admitted: some of the tests, those that are short, pass on it, too."""

import os
import subprocess
import sys
from importlib.metadata import Distribution

from packaging.requirements import Requirement

from tests.support.processes import ROOT

FOLDER = ROOT / ".prefect-oldest"
TESTS = (
    "tests/worker/test_as_process_worker.py",
    "tests/worker/test_wake.py::test_run_of_the_pool_wakes_the_poll",
    "tests/worker/test_worker.py::test_what_is_cancelled_while_it_is_parked_ends_with_its_hooks_once",
)


def _installed(name: str) -> Distribution:
    """Return what is imported where the folder of the oldest comes first."""
    assert FOLDER.exists(), f"there is no {FOLDER}: make prefect-oldest"
    return next(iter(Distribution.discover(name=name, path=[str(FOLDER), *sys.path])))


def test_oldest_is_the_lower_bound() -> None:
    needs = [Requirement(line) for line in Distribution.from_name("prefect-videodb").requires or []]
    [prefect] = [one for one in needs if one.name == "prefect"]
    assert _installed("prefect").version in {spec.version for spec in prefect.specifier if spec.operator == ">="}


def test_requirements_of_oldest_are_met() -> None:
    """It is installed with little else, beside what the newest needs."""
    needs = [Requirement(line) for line in _installed("prefect").requires or []]
    wrong = [
        str(one)
        for one in needs
        if (not one.marker or one.marker.evaluate({"extra": ""})) and _installed(one.name).version not in one.specifier
    ]
    assert not wrong


def test_short_tests_pass_on_oldest() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-q", "-p", "no:cacheprovider", "--durations=0", *TESTS],
        cwd=ROOT,
        env=environment | {"PYTHONPATH": str(FOLDER)},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout[-20_000:]
