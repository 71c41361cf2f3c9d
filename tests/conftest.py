"""Shared by all tests: a Prefect home of their own, a real Prefect server, and no silent skips."""

import os
import signal
import tempfile
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support.certificates import make_authority
from tests.support.reaper import end_with_make, reap_at_end_of

# Prefect reads these when it is imported, so they are set before anything imports it.
_HOME = Path(tempfile.mkdtemp(prefix="videodb-tests-"))
reap_at_end_of(_HOME)
if "PYTEST_XDIST_WORKER" not in os.environ:
    end_with_make()
    # Everything temporary is in one folder, pytest's own included (`--basetemp` keeps that). Not for each worker:
    # the paths of sockets may have 107 characters.
    os.environ["TMPDIR"] = tempfile.tempdir = str(_HOME)
for _name in [name for name in os.environ if name.startswith("PREFECT_")]:
    del os.environ[_name]  # what the developer has set for another Prefect must not reach this one
os.environ |= {
    "PREFECT_HOME": str(_HOME / "prefect"),
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLI_PROMPT": "false",
    "PREFECT_WORKER_QUERY_SECONDS": "1",
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "DO_NOT_TRACK": "1",
}
os.environ.pop("VIDEO_DB_API_KEY", None)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Begun by a script in the background; a worker that inherits it does not end upon SIGTERM (docs/workers.md).
    signal.signal(signal.SIGINT, signal.default_int_handler)
# An authority of nobody that is asked, since all of them are on loopback: each client that is made reads its
# authorities, and to read the world's takes 50 ms of CPU.
os.environ |= dict.fromkeys(("SSL_CERT_FILE", "PREFECT_API_SSL_CERT_FILE"), str(make_authority(_HOME)[0]))

from prefect.settings import PREFECT_API_URL, temporary_settings  # noqa: E402 - after the environment

from tests.support.postgres import running_postgres  # noqa: E402 - the same
from tests.support.prefect_server import running_prefect_server  # noqa: E402 - the same
from tests.support.programs import forking  # noqa: E402 - the same

# The longest first.
_COMPUTING = (
    "tests/flows/test_recording",
    "tests/worker/",
    "tests/flows/test_watch",
    "tests/flows/test_prefect",
    "tests/test_examples",
    "tests/test_documentation",
    "tests/flows/",
    "tests/webhooks/",
)
_WAITING = (
    "tests/deployments/",
    "tests/test_sdk",
    "tests/local_server/live/",
    "tests/local_server/media/",
    "tests/test_in",
    "tests/local_server/",
    "tests/archiving/",
)

# How fast the machine is decides nothing.
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")


@pytest.fixture(scope="session", autouse=True)
def _forking() -> Iterator[None]:
    with forking():
        yield


@pytest.fixture(scope="session")
def prefect_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the API of a Prefect server in a process of its own.

    It is on PostgreSQL: on SQLite it refuses or delays, for up to a minute, what many do at the same time.
    """
    with (
        running_postgres() as database,
        running_prefect_server(tmp_path_factory.mktemp("prefect-server"), database=database) as server,
    ):
        yield server.url


@pytest.fixture
def prefect_api(prefect_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Work against the test server, in this process and in those that it starts."""
    monkeypatch.setenv("PREFECT_API_URL", prefect_url)
    with temporary_settings({PREFECT_API_URL: prefect_url}):
        yield prefect_url


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest, and let those that mostly compute take turns with those that mostly wait for media.

    The processes share the files in this order, and the last file ends the run.
    """
    files: dict[str, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.nodeid.partition("::")[0], []).append(item)
    computing = [file for prefix in _COMPUTING for file in files if file.startswith(prefix)]
    waiting = [file for prefix in _WAITING for file in files if file.startswith(prefix)]
    turns = [file for pair in zip_longest(computing, waiting) for file in pair if file]
    order = dict.fromkeys((*turns, *files))
    items[:] = [item for file in order for item in files[file]]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """Under CI nothing may be skipped: what is missing there is missing in CI's own installation."""
    return _not_skipped((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    """Under CI no file may be skipped as a whole, either."""
    return _not_skipped((yield))


def _not_skipped(report: pytest.TestReport | pytest.CollectReport) -> Any:
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} was skipped, and under CI nothing may be: {report.longrepr}"
    return report
