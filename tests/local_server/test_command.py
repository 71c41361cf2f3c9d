"""`python -m prefect_videodb.local_server`: its start, its end, and what it makes of being killed."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from prefect_videodb.local_server import LocalServer
from prefect_videodb.local_server.errors import FolderInUse, PortInUse, ServerError
from tests.support.processes import free_port, stopped

LONG_ENOUGH_S = 120


@dataclass(frozen=True)
class Running:
    """A server in a process of its own."""

    process: subprocess.Popen[bytes]
    base_url: str
    output: str

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()


Run = Callable[..., Any]


def command(data: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "prefect_videodb.local_server", "--data", str(data), "--port", "0", *options]


@contextmanager
def run_server(data: Path, *options: str, env: dict[str, str] | None = None) -> Iterator[Running]:
    """Start the command, and wait until it says where it listens."""
    with (
        subprocess.Popen(
            command(data, *options), stdout=subprocess.PIPE, start_new_session=True, env={**os.environ, **(env or {})}
        ) as process,
        stopped(process),
    ):
        output = b""
        assert process.stdout is not None
        for line in process.stdout:
            output += line
            if line.startswith(b"Sample meeting:"):
                break
        said = output.decode()
        assert said, "the server ended before it listened"
        yield Running(process, said.split()[3], said)


@pytest.fixture
def running(data: Path, key: str) -> Run:
    """Return what starts a server on this test's folder."""

    @contextmanager
    def run(*options: str, **more: Any) -> Iterator[Running]:
        with run_server(data, "--key", key, *options, **more) as server:
            yield server

    return run


def test_the_command_says_where_it_listens_and_ends_when_told(running: Run, key: str) -> None:
    with running() as server:
        assert httpx.get(server.base_url).json()["success"] is True
        assert "rtsp://127.0.0.1:" in server.output
        assert key not in server.output
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(LONG_ENOUGH_S) == 0


def test_the_key_comes_from_the_environment(data: Path) -> None:
    with run_server(data, env={"VIDEO_DB_API_KEY": "from the environment"}) as server:
        address = f"{server.base_url}/collection"
        assert httpx.get(address, headers={"x-access-token": "from the environment"}).status_code == 200
        assert httpx.get(address, headers={"x-access-token": "local"}).status_code == 401
        assert "from the environment" not in server.output


def test_a_folder_belongs_to_one_server(running: Run, data: Path) -> None:
    with running() as server:
        second = subprocess.run(command(data), capture_output=True, text=True, timeout=LONG_ENOUGH_S, check=False)
        assert second.returncode == 1
        assert f"in use by another server (process {server.process.pid})" in second.stderr
        assert "Traceback" not in second.stderr
        with pytest.raises(FolderInUse), LocalServer(data):
            pass


def test_a_taken_port_is_an_error_that_says_so(data: Path) -> None:
    with LocalServer(data, sample=False) as first:
        port = int(first.base_url.rpartition(":")[2])
        with pytest.raises(PortInUse, match=f"port {port} is taken"), LocalServer(data / "other", port=port):
            pass
        assert httpx.get(first.base_url).is_success


def test_sample_port_follows_the_port(data: Path, key: str) -> None:
    """A saved block of the sample stays valid: its URL is the same at each start, after `--port` by default."""
    port = _two_free_ports()
    with run_server(data, "--key", key, "--port", str(port)) as first:
        assert f"Sample meeting: rtsp://127.0.0.1:{port + 1}/meeting" in first.output
    with run_server(data, "--key", key, "--sample-port", str(port)) as second:  # with --port 0
        assert f"Sample meeting: rtsp://127.0.0.1:{port}/meeting" in second.output
    with LocalServer(data, sample_port=port) as third:
        assert third.sample_url == f"rtsp://127.0.0.1:{port}/meeting"


def test_sample_port_in_use(data: Path) -> None:
    with LocalServer(data) as first:
        port = first.sample_url.rpartition(":")[2].partition("/")[0]
        other = [*command(data / "other"), "--sample-port", port]
        ended = subprocess.run(other, capture_output=True, text=True, timeout=LONG_ENOUGH_S, check=False)
        assert ended.returncode == 1
        assert ended.stderr.startswith(f"error: port {port} is taken by another program")
        assert "--sample-port" in ended.stderr
        with pytest.raises(ServerError, match="70000 is no port"), LocalServer(data / "other", sample_port=70_000):
            pass


def _two_free_ports() -> int:
    """Return a free port whose follower is free, too."""
    while True:
        port = free_port()
        try:
            socket.create_server(("127.0.0.1", port + 1)).close()
        except (OSError, OverflowError):
            continue
        return port


def test_a_folder_can_be_taken_over_when_its_server_was_killed(running: Run, key: str) -> None:
    with running() as first:
        created = httpx.post(
            f"{first.base_url}/collection", headers={"x-access-token": key}, json={"name": "Kept"}
        ).json()["data"]
        first.kill()
    with running() as second:
        kept = httpx.get(f"{second.base_url}/collection/{created['id']}", headers={"x-access-token": key})
        assert kept.json()["data"] == created


def test_a_stream_that_was_recorded_when_the_server_was_killed_is_recorded_further(
    running: Run, server: LocalServer, make_api: Any, wait_until: Any, data: Path
) -> None:
    since = time.time()
    with running() as first, make_api(first.base_url) as api:
        stream_id = api.connect(server.sample_url)
        wait_until(lambda: api.recorded_s(stream_id, since) >= 4)
        before = api.recorded_s(stream_id, since)
        first.kill()
    half_written = [path for path in (data / "recordings").rglob("*") if path.is_file()]
    assert half_written
    with running() as second, make_api(second.base_url) as api:
        assert api.data("GET", f"/rtstream/{stream_id}")["status"] == "connected"
        wait_until(lambda: api.recorded_s(stream_id, since) >= before + 2)
        api.stop(stream_id)
        whole_s = api.recorded_s(stream_id, since)
        window = {"start": since, "end": time.time()}
        link = api.data("GET", f"/rtstream/{stream_id}/stream", params=window)["stream_url"]
        assert api.get(link).text.count("#EXT-X-DISCONTINUITY") == 1
        # One recording, with what was before and what came after.
        export = api.data("POST", f"/rtstream/{stream_id}/export", json={})
        assert export["duration"] == pytest.approx(whole_s, abs=1)
        known = api.get(link).text.count("#EXTINF")
        assert len(list((data / "recordings").rglob("*.ts"))) == known


def test_a_stopped_stream_stays_stopped_when_the_server_comes_back(
    running: Run, server: LocalServer, make_api: Any, wait_until: Any
) -> None:
    since = time.time()
    with running() as first, make_api(first.base_url) as api:
        stream_id = api.connect(server.sample_url)
        wait_until(lambda: api.recorded_s(stream_id, since) > 0)
        api.stop(stream_id)
        recorded_s = api.recorded_s(stream_id, since)
        first.kill()
    with running() as second, make_api(second.base_url) as api:
        assert api.data("GET", f"/rtstream/{stream_id}")["status"] == "stopped"
        assert api.recorded_s(stream_id, since) == recorded_s


def test_an_index_that_was_being_made_when_the_server_was_killed_is_made_after_all(
    running: Run, server: LocalServer, make_api: Any, wait_until: Any
) -> None:
    since = time.time()
    with running() as first, make_api(first.base_url) as api:
        stream_id = api.connect(server.sample_url)
        wait_until(lambda: api.recorded_s(stream_id, since) >= 16)
        api.stop(stream_id)
        video_id = api.data("POST", f"/rtstream/{stream_id}/export", json={})["video_id"]
        path = f"/video/{video_id}/index"
        # The answer may come when the index is done (on a quick machine) or before: the server is killed before both.
        asking = threading.Thread(target=_ask_in_vain, args=(first.base_url + path, dict(api.headers)))
        asking.start()
        wait_until(lambda: api.get(path, params={"index_type": "spoken_word"}).json().get("status") == "processing")
        first.kill()
        asking.join()
    with running() as second, make_api(second.base_url) as api:
        status = wait_until(
            lambda: (
                (now := api.get(path, params={"index_type": "spoken_word"}).json()["status"]) != "processing" and now
            )
        )
        assert status == "done"
        assert api.data("GET", f"/video/{video_id}/transcription")["text"]


def _ask_in_vain(url: str, headers: dict[str, str]) -> None:
    try:
        httpx.post(url, headers=headers, json={"index_type": "spoken_word", "force": True}, timeout=LONG_ENOUGH_S)
    except httpx.TransportError:
        return  # killed while it answered


def test_an_orderly_end_waits_for_no_source_and_keeps_what_was_recorded(
    running: Run, server: LocalServer, make_api: Any, wait_until: Any, data: Path
) -> None:
    since = time.time()
    with running() as first, make_api(first.base_url) as api:
        stream_id = api.connect(server.sample_url)
        wait_until(lambda: api.recorded_s(stream_id, since) >= 2)
        first.process.terminate()
        assert first.process.wait(LONG_ENOUGH_S) == 0
    assert not list((data / "recordings").rglob("*.part"))
    with running("--no-sample") as second, make_api(second.base_url) as api:
        assert api.recorded_s(stream_id, since) >= 2
        api.stop(stream_id)


def test_a_folder_of_something_else_is_refused(data: Path) -> None:
    data.mkdir()
    (data / "videodb.sqlite3").write_text("this is no database, and long enough to be one" * 50)
    ended = subprocess.run(command(data), capture_output=True, text=True, timeout=LONG_ENOUGH_S, check=False)
    assert ended.returncode == 1
    assert "cannot be read as a database" in ended.stderr


def test_importing_the_server_imports_no_media_and_no_http_library() -> None:
    code = (
        "import sys, prefect_videodb.local_server\n"
        "print([name for name in ('av', 'pocketsphinx', 'uvicorn') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


@pytest.mark.parametrize("missing", ["av", "uvicorn"])
def test_a_missing_extra_is_an_error_that_says_what_to_install(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from prefect_videodb.local_server import LocalServer"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.stderr.strip().splitlines()[-1].endswith("pip install '.[local]' in the project's folder")


def test_a_server_that_was_closed_leaves_no_thread_and_no_port(data: Path) -> None:
    before = set(threading.enumerate())
    port = free_port()
    for _ in range(2):
        with LocalServer(data, port=port) as server:
            assert httpx.get(server.base_url).is_success
    left = [thread for thread in set(threading.enumerate()) - before if thread.is_alive()]
    assert left == []


def test_what_was_not_to_be_stored_is_gone_after_a_kill_during_the_stop(
    running: Run, server: LocalServer, make_api: Any, wait_until: Any, data: Path
) -> None:
    since = time.time()
    with running() as first, make_api(first.base_url) as api:
        stream_id = api.connect(server.sample_url, store=False)
        wait_until(lambda: api.recorded_s(stream_id, since) > 0)
        first.kill()
    with closing(sqlite3.connect(data / "videodb.sqlite3")) as database, database:
        # The first step of a stop, after which the server was killed.
        database.execute("UPDATE streams SET status = 'stopped'")
    with running() as second, make_api(second.base_url) as api:
        assert api.recorded_s(stream_id, since) == 0
    assert not list((data / "recordings").rglob("*.ts"))
