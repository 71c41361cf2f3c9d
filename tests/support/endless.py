"""A test that never ends, and holds what the tests start; `tests/test_test_runs.py` interrupts it.

Its file is not named as one of the suite's tests: it runs only where it is named.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from prefect_videodb.local_server import LocalServer
from tests.support.programs import running_worker
from tests.support.reaper import MARK


@pytest.mark.timeout(600)
def test_endless(prefect_api: str, tmp_path: Path) -> None:
    """Start a database, a Prefect server, a worker, a local server and a program that ignores signals."""
    assert prefect_api
    ignoring = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pause()"
    with (
        running_worker(tmp_path, "no-such-pool", "--type", "process"),
        LocalServer(tmp_path / "videodb", api_key="k"),
        subprocess.Popen([sys.executable, "-c", ignoring], start_new_session=True),
    ):
        told = Path(os.environ["ENDLESS_TELLS"])
        told.with_suffix(".new").write_text(json.dumps({"pid": os.getpid(), "mark": os.environ[MARK]}))
        told.with_suffix(".new").rename(told)
        signal.pause()
