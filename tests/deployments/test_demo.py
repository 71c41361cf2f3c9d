"""`make demo`, without its installation: it records, shows what it found, and leaves nothing running or lying about."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.browser import open_page
from tests.support.pictures import Pictures
from tests.support.processes import stopped, wait_for
from tests.support.tree import copy_tree


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return copy_tree(tmp_path / "checkout")


def _start(checkout: Path, home: Path, output: int | None = None) -> subprocess.Popen[bytes]:
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
    environment |= {"PYTHONPATH": str(checkout / "src"), "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    with (checkout.parent / "out").open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "deployments/demo.py"],
            cwd=checkout,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file if output is None else output,
            stderr=file,
            start_new_session=True,
        )


@contextmanager
def _terminal(log: Path) -> Iterator[int]:
    """Return the end that a program takes for a terminal; what it writes is added to `log`."""
    master, slave = os.openpty()

    def copy() -> None:
        with log.open("ab", buffering=0) as file, suppress(OSError):  # EIO: nobody holds the other end any more
            while read := os.read(master, 4096):
                file.write(read.replace(b"\r\n", b"\n"))

    thread = threading.Thread(target=copy)
    thread.start()
    try:
        yield slave
    finally:
        os.close(slave)
        thread.join()
        os.close(master)


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


@pytest.mark.timeout(900)
def test_the_demo_records_and_leaves_nothing_outside_its_checkout(checkout: Path) -> None:
    """On a terminal it stays up: its run is looked at while it records, and when it has ended."""
    home, out = checkout.parent / "home", checkout.parent / "shown"

    def shows(pattern: str) -> re.Match[str] | None:
        return re.search(pattern, out.read_text(encoding="utf-8"), re.MULTILINE)

    with _terminal(out) as terminal, stopped(_start(checkout, home, terminal)) as demo, open_page() as page:
        wait_for("it is parked", lambda: demo.poll() is not None or shows(r"^\[[\d:]+\]   Recording$"), 400.0)
        run = shows(r"Look at it meanwhile: (http://127\.0\.0\.1:\d+/runs/flow-run/[0-9a-f-]{36})$")
        assert run, out.read_text(encoding="utf-8")
        pictures = Pictures(page, run[1])
        pictures.run("Recording", "parked-in-the-ui")
        wait_for("it has ended", lambda: demo.poll() is not None or shows("Everything stays up"), 400.0)
        pictures.run("Completed", "recording-in-the-ui")
        pictures.report("Demo meeting", "report-in-the-ui")
        demo.send_signal(signal.SIGINT)
        demo.wait(120)
    shown = out.read_text(encoding="utf-8")
    assert demo.returncode == 0, shown
    assert shows(r"^ +\d:\d\d +0\.\d\d +\w+"), "the table of hits"
    assert shows(r"the run in Prefect's UI: +http://127\.0\.0\.1:\d+/runs/flow-run/[0-9a-f-]{36}")
    assert len(re.findall(r"http://127\.0\.0\.1:\d+/watch\?v=", shown)) == 3  # live, the recording, the clip
    assert "local-demo-key" not in shown
    assert _mentioning(checkout) == []
    assert list(home.iterdir()) == []


def test_a_demo_that_is_ended_in_the_middle_ends_everything_that_it_started(checkout: Path) -> None:
    with stopped(_start(checkout, checkout.parent / "home")) as demo:
        out = checkout.parent / "out"
        wait_for("it records", lambda: "  Recording\n" in out.read_text(encoding="utf-8"), 240.0)
        demo.send_signal(signal.SIGINT)
        demo.wait(120)
    assert demo.returncode == 130
    assert _mentioning(checkout) == []
