"""`make demo`, without its installation: it records, shows what it found, and leaves nothing running or lying about."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import stopped, wait_for
from tests.support.tree import copy_tree


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return copy_tree(tmp_path / "checkout")


def _start(checkout: Path, home: Path) -> subprocess.Popen[bytes]:
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
    environment |= {"PYTHONPATH": str(checkout / "src"), "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    with (checkout.parent / "out").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "deployments/demo.py"],
            cwd=checkout,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def _mentioning(folder: Path) -> list[str]:
    """List the processes whose command line or environment names this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue  # it has ended, or belongs to somebody else
        if str(folder).encode() in told:
            found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


def test_the_demo_records_shows_its_links_and_leaves_nothing_outside_its_checkout(checkout: Path) -> None:
    home = checkout.parent / "home"
    with stopped(_start(checkout, home)) as demo:
        demo.wait(280)
    shown = (checkout.parent / "out").read_text(encoding="utf-8")
    assert demo.returncode == 0, shown
    assert re.search(r"^ +\d:\d\d +0\.\d\d +\w+", shown, re.MULTILINE), "the table of hits"
    assert re.search(r"the run in Prefect's UI: +http://127\.0\.0\.1:\d+/runs/flow-run/[0-9a-f-]{36}", shown)
    assert len(re.findall(r"http://127\.0\.0\.1:\d+/watch\?v=", shown)) == 2
    assert re.search(r"\d+ %  Recording Demo meeting until .* left", shown), "progress meanwhile"
    assert "local-demo-key" not in shown
    assert _mentioning(checkout) == []
    assert list(home.iterdir()) == []


def test_a_demo_that_is_ended_in_the_middle_ends_everything_that_it_started(checkout: Path) -> None:
    with stopped(_start(checkout, checkout.parent / "home")) as demo:
        out = checkout.parent / "out"
        wait_for("it records", lambda: "Recording Demo meeting until" in out.read_text(encoding="utf-8"), 240.0)
        demo.send_signal(signal.SIGINT)
        demo.wait(120)
    assert demo.returncode == 130
    assert _mentioning(checkout) == []
