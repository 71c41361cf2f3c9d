"""The process: how it begins and ends while Prefect hangs, and goes on while its inbox cannot be written."""

import re
import resource
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest
from prefect.client.orchestration import get_client

from prefect_videodb.blocks import AlertWebhook
from tests.support.processes import wait_for
from tests.webhooks.conftest import RECORDED, Service, firing, running_service, take_alert, wait_for_runs


@pytest.fixture
def hanging_api() -> Iterator[str]:
    """Give the address of what accepts every connection and never answers."""
    accepted: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listening:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    accepted.append(listening.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/api"
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
    for connection in accepted:
        connection.close()


def test_while_prefect_hangs_it_begins_accepts_and_ends(
    webhook: AlertWebhook, deployed: str, hanging_api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert webhook
    inbox, log = tmp_path / "inbox.sqlite", tmp_path / "log"
    with running_service(inbox, log):
        pass  # it has seen the block once
    with monkeypatch.context() as hanging:
        hanging.setenv("PREFECT_API_URL", hanging_api)
        with running_service(inbox, log) as service:
            assert "going on with what was last known" in service.log.read_text()
            for number in range(3):
                assert service.post(firing(number)).json() == {"accepted": True, "new": True}
            assert service.health()["waiting"] == 3
            service.process.send_signal(signal.SIGTERM)
            assert service.process.wait(50) == 0
    with running_service(inbox, log):
        wait_for_runs(deployed, 3)


def test_the_rules_that_are_fresh_count_from_the_beginning(webhook: AlertWebhook, tmp_path: Path) -> None:
    inbox, log = tmp_path / "inbox.sqlite", tmp_path / "log"
    with running_service(inbox, log) as service:
        assert service.post(RECORDED).is_success
    new = "new-0123456789-abcdefghij"
    AlertWebhook(base_url=webhook.base_url, token=new).save("default", overwrite=True)  # type: ignore[arg-type] # coerced
    with running_service(inbox, log) as service:
        assert service.post(RECORDED, token=new).is_success
        assert service.post(RECORDED).status_code == 401


def test_a_block_that_was_deleted_is_named_though_the_inbox_remembers_it(webhook: AlertWebhook, tmp_path: Path) -> None:
    webhook.save("short-lived", overwrite=True)
    inbox, log = tmp_path / "inbox.sqlite", tmp_path / "log"
    with running_service(inbox, log, webhook="short-lived"):
        pass
    AlertWebhook.delete("short-lived")
    with (
        pytest.raises(RuntimeError, match="no AlertWebhook block 'short-lived'"),
        running_service(inbox, log, webhook="short-lived"),
    ):
        pass


def test_a_disk_that_is_full_stops_nothing_for_good(service: Service, tmp_path: Path) -> None:
    """The process may write no file longer than its inbox is."""
    assert service.post(RECORDED, route="later").is_success
    wait_for("it is told", lambda: "videodb-alerts:later" in str(service.health()["troubles"]))
    unlimited = resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE)
    size = (tmp_path / "inbox.sqlite-wal").stat().st_size
    resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (size, unlimited[1]))
    answer = service.post(firing(1), route="later")
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    with get_client(sync_client=True) as client:
        later = client.create_deployment(client.create_flow(take_alert), "later", tags=["videodb-alerts:later"])
        # The run is made, and that it is cannot be written down.
        wait_for("the dispatcher is told", lambda: "the inbox cannot be reached" in service.log.read_text())
        assert service.process.poll() is None
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, unlimited)
        assert service.post(firing(1), route="later").json() == {"accepted": True, "new": True}
        wait_for("nothing waits", lambda: service.health()["waiting"] == 0)
        wait_for_runs(str(later), 2)
        client.delete_deployment(later)


@pytest.mark.parametrize("only", ["receiver", "dispatcher", ""])
def test_unlinked_inbox_ends_the_process(webhook: AlertWebhook, tmp_path: Path, only: str) -> None:
    """The answer is 503, and whoever looks after the process is told why it ended."""
    assert webhook
    inbox, log = tmp_path / "inbox.sqlite", tmp_path / "log"
    with running_service(inbox, log, only=only) as running:
        process = running if only == "dispatcher" else running.process
        wait_for("it is open", lambda: Path(f"{inbox}-wal").exists())
        if only != "dispatcher":
            assert running.post(RECORDED).is_success
            inbox.rename(tmp_path / "moved.sqlite")
            with suppress(httpx.TransportError):  # it noticed by itself, and has ended
                assert running.post(firing(1)).status_code == 503
        else:
            wait_for("it has begun", lambda: _holds(process.pid, inbox))
            inbox.unlink()
        assert process.wait(60) == 1
        assert f"the inbox {inbox}, or a file of SQLite beside it (-wal, -shm), was moved, removed" in log.read_text()
        assert "Traceback" not in log.read_text()


def test_connection_exhaustion(service: Service, deployed: str) -> None:
    """Who opens connections and says nothing leaves the dispatcher files to work with."""
    assert service.post(firing(1)).is_success
    wait_for_runs(deployed, 1)
    resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE, (300, 300))
    host, _, port = service.base_url.removeprefix("http://").rpartition(":")
    with ExitStack() as silent:
        opened = [silent.enter_context(socket.create_connection((host, int(port)))) for _ in range(400)]
        wait_for("some are closed at once", lambda: sum(map(_is_closed, opened[-50:])) == 50, 5)
        assert service.post(firing(2)).is_success  # on the connection that it has
        wait_for_runs(deployed, 2)
    assert "Too many open files" not in service.log.read_text()
    assert "system resource" not in service.log.read_text()


def _is_closed(connection: socket.socket) -> bool:
    connection.settimeout(0.0)
    try:
        return not connection.recv(1)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _holds(pid: int, path: Path) -> bool:
    """Whether a process has a file open, and watches over it: all three connections are there."""
    opened = [link.readlink() for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]
    return opened.count(path) == 3


@pytest.mark.parametrize(
    ("host", "shown", "reached"),
    [
        ("::1", r"\[::1\]", ["[::1]"]),
        ("[::1]", r"\[::1\]", ["[::1]"]),
        ("::", r"\[::\]", ["[::1]", "127.0.0.1"]),
        ("127.0.0.1", r"127\.0\.0\.1", ["127.0.0.1"]),
        ("0.0.0.0", r"0\.0\.0\.0", ["127.0.0.1"]),  # noqa: S104 - it is tested
        ("localhost", r"127\.0\.0\.1", ["127.0.0.1", "localhost"]),
    ],
)
@pytest.mark.parametrize("shares_port", [False, True])
def test_listen_address(
    webhook: AlertWebhook, tmp_path: Path, host: str, shown: str, reached: list[str], *, shares_port: bool
) -> None:
    assert webhook
    log = tmp_path / "log"
    with running_service(tmp_path / "inbox.sqlite", log, only="receiver", host=host, shares_port=shares_port):
        found = re.search(rf"received at http://{shown}:(\d+)/videodb/", log.read_text())
        assert found
        for address in reached:
            assert httpx.get(f"http://{address}:{found[1]}/healthz").is_success


@pytest.mark.parametrize(("host", "port"), [("no.such.host.invalid", 0), ("127.0.0.1", 99_999), ("192.0.2.1", 0)])
def test_listen_address_that_is_none(webhook: AlertWebhook, tmp_path: Path, host: str, port: int) -> None:
    assert webhook
    with (
        # Nothing of ours follows; Prefect may say that it still sends an event.
        pytest.raises(
            RuntimeError, match=rf"^nothing can listen at {host}:{port}: [^\n]+\n(.*\| EventsWorker - .*\n)?$"
        ),
        running_service(tmp_path / "inbox.sqlite", tmp_path / "log", only="receiver", host=host, port=port),
    ):
        pass
