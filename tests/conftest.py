"""Shared by all tests: a Prefect home of their own, a real Prefect server, and no silent skips."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Prefect reads these when it is imported, so they are set before anything imports it.
_HOME = Path(tempfile.mkdtemp(prefix="prefect-videodb-tests-"))
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

from prefect.settings import PREFECT_API_URL, temporary_settings  # noqa: E402 - after the environment

from tests.support.postgres import running_postgres  # noqa: E402 - the same
from tests.support.prefect_server import running_prefect_server  # noqa: E402 - the same

# How fast the machine is decides nothing.
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")


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
    """Begin with what waits longest: the processes share the files in this order, and the last file ends the run."""
    long_waits = ("tests/flows/", "tests/worker/", "tests/webhooks/", "tests/deployments/", "tests/test_sdk_workflow")
    items.sort(key=lambda item: not item.nodeid.startswith(long_waits))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[None]:  # pragma: no cover - pytest calls it
    """Under CI nothing may be skipped: what is missing there is missing in CI's own installation."""
    report = yield
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and under CI nothing may be: {call.excinfo}"
    return report


def pytest_unconfigure() -> None:
    """Leave nothing behind."""
    shutil.rmtree(_HOME, ignore_errors=True)
