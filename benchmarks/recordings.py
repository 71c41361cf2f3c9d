"""Many recordings due in one second: the worker that runs them in its process, against Prefect's process worker.

    python benchmarks/recordings.py [--ours 1 20 50 200] [--peer 1 20 50] [--lead SECONDS] [--minutes MINUTES]

With ours a recording is parked while it waits; with the peer its process sleeps (`hold_process`). The service is a
small HTTP server that notes when each request came: 200 real sources would measure the sources. A start is the moment
that the service got the request to connect; a stop, to stop. Prefect is one server on PostgreSQL. Memory is of the
worker and all processes below it.
Targets on 2 cores, for ours: of 50 and of 200 the last starts within 1 s and stops within 0.5 s; of 1,000 within 2 s;
none crashed, and the worker takes less than 600 MB.
"""

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
ENTRYPOINT = "prefect_videodb.flows.record_meeting.record_meeting"
OURS, PEER = "videodb-in-process", "process"
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Service(ThreadingHTTPServer):
    """As much of VideoDB as a recording needs. A stream is found by its name's mark, which holds the run's id."""

    request_queue_size = 512
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lock = threading.Lock()
        self.names: dict[str, str] = {}
        self.status: dict[str, str] = {}
        self.started: dict[str, float] = {}
        self.stopped: dict[str, float] = {}

    def answer(self, method: str, parts: list[str], query: str, body: dict[str, Any]) -> Any:
        """Give the data of an answer."""
        now = time.time()
        with self.lock:
            if parts == ["rtstream"] and method == "POST":
                made = f"rts-{uuid4()}"
                self.names[made], self.status[made] = body["name"], "connected"
                self.started[_run_of(body["name"])] = now
                return self._stream(made)
            if parts == ["rtstream"]:
                found = [self._stream(known) for known, name in self.names.items() if _run_of(name) in query]
                return {"results": found, "count": len(found)}
            if parts[-1] == "status":
                self.status[parts[1]] = "stopped" if body["action"] == "stop" else "connected"
                self.stopped.setdefault(_run_of(self.names[parts[1]]), now)
            if parts[-1] == "export":
                return {"video_id": "m-1", "stream_url": "http://x/1", "player_url": "http://x/2", "duration": 1.0}
            if parts[0] == "video":
                return {"id": "m-1", "stream_url": "http://x/1", "player_url": "http://x/2", "length": 1.0}
            if parts[-1] == "stream":
                return {"stream_url": "http://x/1", "player_url": "http://x/2"}
            return self._stream(parts[1])

    def _stream(self, known: str) -> dict[str, Any]:
        return {"id": known, "name": self.names[known], "status": self.status[known]}


def _run_of(name: str) -> str:
    from prefect_videodb.recording.ownership import owner

    return str(owner(name))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _serve(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
        path, _, query = self.path.partition("?")
        assert isinstance(self.server, Service)  # noqa: S101 - for the type checker
        answer = self.server.answer(self.command, path.strip("/").split("/"), query, body)
        data = json.dumps({"success": True, "data": answer}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PATCH = _serve  # noqa: N815 - the names that http.server calls

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the method it replaces
        """Keep quiet."""


def tree(pid: int) -> list[int]:
    """Give a process and all below it."""
    below: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(entry.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        below.setdefault(parent, []).append(int(entry.parent.name))
    found = [pid]
    for known in found:
        found += below.get(known, [])
    return found


def cost(pid: int) -> tuple[float, float]:
    """Give the resident memory (MB) and CPU seconds of a process and all below it, ended ones included."""
    memory = cpu = 0.0
    for known in tree(pid):
        try:
            fields = Path(f"/proc/{known}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        cpu += sum(int(ticks) for ticks in fields[11:15]) / _TICKS
        memory += int(fields[21]) * _PAGE / 1e6
    return memory, cpu


@contextmanager
def worker(kind: str, home: Path) -> Iterator[tuple[UUID, int]]:
    """Run a worker on a pool of its own. Gives the deployment and the worker's process."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate

    from tests.support.programs import running_worker

    pool = f"{kind}-{uuid4()}"
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=pool, type=kind))
        deployment = client.create_deployment(
            client.create_flow_from_name("record-meeting"),
            name=pool,
            entrypoint=ENTRYPOINT,
            work_pool_name=pool,
            pull_steps=[],
        )
    with running_worker(home, pool) as process:
        time.sleep(20)  # it imports what it needs
        yield deployment, process.pid


class Cost(NamedTuple):
    """What some recordings cost: how late the last began, in seconds; memory and CPU of each."""

    last_start_s: float
    waiting_mb: float
    start_cpu_s: float


def measure(kind: str, count: int, *, lead_s: float, minutes: float, service: Service, home: Path) -> Cost:
    """Run so many recordings that are due in one second, and print what they cost."""
    from prefect.client.orchestration import get_client
    from prefect.states import Scheduled

    from prefect_videodb.recording.parking import PARKED

    with worker(kind, home) as (deployment, pid), get_client(sync_client=True) as client:
        idle_mb, _ = cost(pid)
        due = datetime.now(UTC) + timedelta(seconds=lead_s)
        parameters = {
            "source": "bench",
            "credentials": "bench",
            "queries": [],
            "duration_minutes": minutes,
            "options": {"hold_process": kind == PEER},
        }
        ids = [
            client.create_flow_run_from_deployment(
                deployment, parameters=parameters, state=Scheduled(scheduled_time=due)
            ).id
            for _ in range(count)
        ]
        left_s = (due - datetime.now(UTC)).total_seconds()
        _, cpu_before = cost(pid)
        _wait(lambda: sum(str(known) in service.started for known in ids) == count, left_s + 240)
        at_rest = {"name": {"any_": [PARKED if kind == OURS else "Running"]}}
        _wait(lambda: _count(client, deployment, at_rest) == count, minutes * 40)
        waiting_mb, cpu_from = cost(pid)
        time.sleep(10)
        _, cpu_to = cost(pid)
        _wait(lambda: sum(str(known) in service.stopped for known in ids) == count, minutes * 60 + 240)
        unended = {"type": {"not_any_": ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]}}
        _wait(lambda: _count(client, deployment, unended) == 0, 900)
        runs = [client.read_flow_run(known) for known in ids]
    starts = [service.started[str(r)] - due.timestamp() for r in ids if str(r) in service.started]
    stops = [
        service.stopped[str(run.id)] - datetime.fromisoformat(str(run.labels["videodb.window_end"])).timestamp()
        for run in runs
        if str(run.id) in service.stopped and "videodb.window_end" in run.labels
    ]
    states = ", ".join(
        sorted({f"{run.state_name} {sum(o.state_name == run.state_name for o in runs)}" for run in runs})
    )
    each = Cost(max(starts, default=math.nan), (waiting_mb - idle_mb) / count, (cpu_from - cpu_before) / count)
    print(
        f"{kind:18} {count:4} due, known {left_s:3.0f} s before "
        f"| start {_three(starts)} s late | stop {_three(stops)} s late"
        f" | waiting, each: {each.waiting_mb:6.2f} MB, {(cpu_to - cpu_from) / 10 / count:.2%} of a core"
        f" | start, each: {each.start_cpu_s:.2f} s CPU | {states} | load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    return each


def _count(client: Any, deployment: UUID, state: dict[str, Any]) -> int:
    """Count the runs of a deployment that are in such a state."""
    wanted = {"flow_runs": {"deployment_id": {"any_": [str(deployment)]}, "state": state}}
    return int(client.request("POST", "/flow_runs/count", json=wanted).json())


def _three(late: list[float]) -> str:
    if not late:
        return "none"
    return f"{min(late):5.2f} / {statistics.median(late):5.2f} / {max(late):5.2f}"


def _wait(is_so: Any, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.5)


def main() -> None:
    """Print one line for each count and kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", type=int, nargs="*", default=[1, 20, 50, 200])
    parser.add_argument("--peer", type=int, nargs="*", default=[1, 20, 50])
    parser.add_argument(
        "--lead", type=float, help="how long before its time a run is created, in seconds; 60, and 1 more for each"
    )
    parser.add_argument("--minutes", type=float, help="how long a recording is; 2, or 5 of 200, so that all are parked")
    options = parser.parse_args()
    os.environ |= {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore"}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        os.environ["PREFECT_HOME"] = folder
        from tests.support.postgres import running_postgres
        from tests.support.prefect_server import running_prefect_server

        service = Service()
        threading.Thread(target=service.serve_forever, daemon=True).start()
        with running_postgres() as database, running_prefect_server(home, database=database) as server:
            os.environ["PREFECT_API_URL"] = server.url
            from prefect.settings import PREFECT_API_URL, temporary_settings
            from pydantic import SecretStr

            from prefect_videodb.blocks import RTStreamSource, VideoDBCredentials

            with temporary_settings({PREFECT_API_URL: server.url}):
                base_url = f"http://127.0.0.1:{service.server_address[1]}"
                VideoDBCredentials(api_key=SecretStr("sk-bench"), base_url=base_url).save("bench")
                RTStreamSource(url=SecretStr("rtsp://127.0.0.1/room"), name="Bench").save("bench")
                print(
                    f"prefect {version('prefect')}, {os.cpu_count()} cores; first / median / last; a stand-in service"
                )
                costs: dict[tuple[str, int], Cost] = {}
                for kind, counts in ((OURS, options.ours), (PEER, options.peer)):
                    for count in counts:
                        costs[kind, count] = measure(
                            kind,
                            count,
                            lead_s=options.lead or 60.0 + count,
                            minutes=options.minutes or max(2.0, count / 40),
                            service=service,
                            home=home,
                        )
                for count in sorted(set(options.ours) & set(options.peer)):
                    ratios = [ours / peer for ours, peer in zip(costs[OURS, count], costs[PEER, count], strict=True)]
                    print(
                        f"{count:4} due, ours to the peer: how late the last start is {ratios[0]:.3f}, "
                        f"memory while it waits {ratios[1]:.3f}, CPU of a start {ratios[2]:.3f}"
                    )
        service.shutdown()


if __name__ == "__main__":
    main()
