"""What the matrices share: a recording whose run has a network of its own, and what must hold when it has ended."""

import logging
import os
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments import run_deployment
from pydantic import SecretStr

from prefect_videodb.blocks import RTStreamSource, VideoDBCredentials
from prefect_videodb.local_server import LocalServer
from prefect_videodb.recording.models import MeetingRecording
from prefect_videodb.recording.servers import this_server
from tests.flows.conftest import KEY, Account, Run, deploy_to, look_after_only, pool_in_process
from tests.support.faulty_proxy import Fault, FaultyProxy, Rule
from tests.support.kill_points import Point, named
from tests.support.processes import Process, stopped, wait_for
from tests.support.programs import execute, running_worker
from tests.support.speech import OneSentence

logger = logging.getLogger(__name__)
ALL = bool(os.environ.get("VIDEODB_SOAK"))
# So many runs at a time: they wait for much of their time.
AT_ONCE = 6
_EXECUTION_S = 240.0
_MOST_EXECUTIONS = 5
HOLDING: dict[str, Any] = {"duration_minutes": 8 / 60, "options": {"hold_process": True}}
# Parked only while there are 30 s left, on any machine.
PARKING: dict[str, Any] = {"duration_minutes": 75 / 60}
_PLANNED_S = {8.0, 75.0}


@dataclass
class Service:
    """The local VideoDB of the matrix, and what is counted of it in its database."""

    server: LocalServer
    folder: Path
    undisturbed: dict[tuple[str, float], list[str]] = field(default_factory=dict)
    """The requests of undisturbed runs, by how they run and the minutes that they record: asked for once."""

    def jobs(self, kind: str, about: str) -> int:
        """Count the jobs of a kind whose arguments hold something."""
        with closing(sqlite3.connect(f"file:{self.folder / 'videodb.sqlite3'}?mode=ro", uri=True)) as database:
            query = "SELECT count(*) FROM jobs WHERE kind = ? AND (subject = ? OR instr(arguments, ?))"
            return int(database.execute(query, (kind, about, about)).fetchone()[0])


@contextmanager
def running_service(folder: Path) -> Iterator[Service]:
    """Run the local VideoDB of a matrix."""
    with LocalServer(folder, api_key=KEY, speech=OneSentence()) as server:
        yield Service(server, folder)


@dataclass
class Matrix:
    """What all runs of the matrix share."""

    service: Service
    account: Account
    prefect_url: str
    deployment: str
    folder: Path
    _number: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def number(self) -> int:
        with self._lock:
            self._number += 1
            return self._number


@contextmanager
def matrix_of(service: Service, prefect_url: str, deployment: str, folder: Path) -> Iterator[Matrix]:
    """Save what the runs of a matrix name, and leave no stream."""
    RTStreamSource(url=SecretStr(service.server.sample_url), name="Sample meeting").save("matrix-room", overwrite=True)
    block = VideoDBCredentials(api_key=SecretStr(KEY), base_url=service.server.base_url)
    block.save("default", overwrite=True)
    # Its requests through a run's own network would be taken for the run's.
    look_after_only("default")
    with get_client(sync_client=True) as client:
        assert this_server(client)  # only the first run of all makes the identity, and dies nowhere
    account = Account(block, service.server.base_url)
    yield Matrix(service, account, prefect_url, deployment, folder)
    look_after_only(None)
    account.stop_all()


class Subject:
    """One run, with a network of its own, in which something may happen to its process or its requests."""

    timeout_s = 60.0
    """How long it waits for an answer of the service."""

    def __init__(self, matrix: Matrix, parameters: dict[str, Any], network: ExitStack) -> None:
        self.matrix = matrix
        number = matrix.number()
        self.title = f"subject {number} of {matrix.folder.name}"
        self.log = matrix.folder / f"{number}.log"
        self.seen: list[str] = []
        self._videodb = network.enter_context(FaultyProxy(matrix.service.server.base_url, self.seen).running())
        self._prefect = network.enter_context(
            FaultyProxy(matrix.prefect_url.removesuffix("/api"), self.seen, named).running()
        )
        block = f"matrix-{number}-{os.urandom(4).hex()}"
        VideoDBCredentials(api_key=SecretStr(KEY), base_url=self._videodb.url, timeout_s=self.timeout_s).save(block)
        named_parameters = {
            "source": "matrix-room",
            "credentials": block,
            "name": self.title,
            "queries": ["action items"],
            **parameters,
        }
        self.run = Run(self.scheduled(named_parameters))
        self.process: Process | None = None
        self.rule: Rule | None = None
        self.struck_at: datetime | None = None
        self.window_then: tuple[str, str] | None = None
        self.connected_then = False

    def scheduled(self, parameters: dict[str, Any]) -> UUID:
        """Create the run."""
        created = run_deployment(
            self.matrix.deployment, parameters=parameters, job_variables=self.job_variables, timeout=0
        )
        assert isinstance(created, FlowRun)
        return created.id

    @property
    def job_variables(self) -> dict[str, Any] | None:
        """What a worker of `prefect.yaml`'s pool is told of it; None where none executes it."""
        return None

    @property
    def environment(self) -> dict[str, str]:
        """What lets its process use its own network."""
        return {
            "PREFECT_API_URL": f"{self._prefect.url}/api",
            "PREFECT_LOGGING_TO_API_ENABLED": "false",  # the log is in a file
            "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",  # as docs/workers.md advises
        }

    @property
    def was_reached(self) -> bool:
        """Say whether what was to happen did."""
        return self.rule is None or self.rule.times == 0

    def strike(self, point: Point, blow: Callable[[], None]) -> None:
        """Let `blow` happen at the point."""
        context = copy_context()  # Prefect's settings of the test are in it

        def kill() -> None:
            blow()
            self.struck_at = datetime.now(UTC)
            context.run(self._remember)

        fault: Fault = "kill before" if point.side == "before" else "kill after"
        self.spoil(point, Rule(point.method, point.pattern, fault, skip=point.nth, kill=kill))

    def spoil(self, point: Point, rule: Rule) -> None:
        """Let a rule apply to the request of the point."""
        self.rule = rule
        proxy = self._prefect if point.path.startswith("/api/") else self._videodb
        proxy.rules.append(rule)

    def kill(self) -> None:
        """Kill its process."""
        assert self.process
        self.process.kill()

    def terminate(self) -> None:
        """Ask its process to end."""
        assert self.process
        self.process.terminate()

    def cancel(self) -> None:
        """Cancel the run as the UI does."""
        url = f"{self.matrix.prefect_url}/flow_runs/{self.run.id}/set_state"
        httpx.post(url, json={"state": {"type": "CANCELLING"}, "force": True}, timeout=60.0).raise_for_status()

    def execute(self) -> None:
        """Execute the run as a worker does, and wait until the process is gone, whatever happened to it."""
        with stopped(execute(self.run.id, self.log, self.environment)) as self.process:
            self.process.wait(_EXECUTION_S)

    def go_on_to_the_end(self) -> State[Any]:
        """Execute until the run has ended, scheduling it again where its process did not come to that."""
        for _ in range(_MOST_EXECUTIONS):
            self.execute()
            state = self.run.state()
            if state.is_final() and not state.is_crashed():
                return state
            self.continue_later()
        raise AssertionError(f"not ended after {_MOST_EXECUTIONS} executions: {self.run.state()}")

    def continue_later(self) -> None:
        """Schedule the run again, unless it is."""
        if not self.run.state().is_scheduled():
            self.run.schedule_again()

    def _remember(self) -> None:
        """Keep what there was when the process was struck."""
        labels = self.run.read().labels
        if "videodb.window_start" in labels:
            self.window_then = (str(labels["videodb.window_start"]), str(labels["videodb.window_end"]))
        self.connected_then = bool(self.matrix.account.streams(str(self.run.id)))


class SubjectOfAWorker(Subject):
    """One run inside the process of a worker that has nothing else to do; each execution is another worker."""

    def scheduled(self, parameters: dict[str, Any]) -> UUID:
        """Create the run in a work pool of its own."""
        self.log.with_suffix("").mkdir()
        self.log = self.log.with_suffix("") / "worker.log"
        self._pool = pool_in_process()
        deployment = deploy_to(self._pool, "prefect_videodb.flows.record_meeting.record_meeting", "record-meeting")
        with get_client(sync_client=True) as client:
            return client.create_flow_run_from_deployment(deployment, parameters=parameters).id

    def execute(self) -> None:
        """Run a worker until it is dead, or the run has ended."""
        with running_worker(self.log.parent, self._pool, environment=self.environment) as self.process:
            ended = self.process
            wait_for(
                "the worker is dead or the run has ended",
                lambda: ended.poll() is not None or self.run.state().is_final(),
                timeout_s=_EXECUTION_S,
            )

    def continue_later(self) -> None:
        """Leave it to the next worker."""


def is_act(point: Point) -> bool:
    """Whether a worker that executes runs in its process does so at its second: the connect, and the first stop."""
    connects = point.method == "POST" and point.path == "/rtstream"
    return point.nth == 0 and (connects or (point.method == "PATCH" and point.path == "/rtstream/{id}/status"))


# Makes something happen to a subject at a point.
Disturb = Callable[[Subject, Point], None]


def undisturbed(matrix: Matrix, parameters: dict[str, Any], kind: type[Subject] = Subject) -> list[str]:
    """Give the requests of a run to which nothing happens, in their order."""
    known = matrix.service.undisturbed
    key = (kind.__name__, parameters["duration_minutes"])
    if key not in known:
        with ExitStack() as network:
            subject = kind(matrix, parameters, network)
            subject.go_on_to_the_end()
            seen = list(subject.seen)
            assert list(problems(matrix, subject, None)) == []
        known[key] = seen
    return known[key]


def disturbed(
    matrix: Matrix, parameters: dict[str, Any], point: Point, disturb: Disturb, kind: type[Subject] = Subject
) -> list[str]:
    """Give what is wrong after a run that was disturbed at the point, and continued."""
    with ExitStack() as network:
        subject = kind(matrix, parameters, network)
        disturb(subject, point)
        try:
            subject.go_on_to_the_end()
            found = list(problems(matrix, subject, point))
        except Exception as error:  # noqa: BLE001 - told together with what is found at the other points
            found = [f"{type(error).__name__}: {error}"]
        if found:
            logger.error("%s: %s", point, found)  # the others take minutes
            found.append("its processes said: …" + subject.log.read_text()[-2500:])
        return found


def problems(matrix: Matrix, subject: Subject, point: Point | None) -> Iterator[str]:
    """Tell what does not hold of a run that ended."""
    state = subject.run.state()
    if not state.is_completed():
        yield f"the run is {state.name}: {state.message}"
        return
    if point and point.has_effect and not subject.was_reached:
        yield "the point was not reached"
    recording = state.result(_sync=True)  # type: ignore[call-arg]
    assert isinstance(recording, MeetingRecording)
    streams = matrix.account.streams(str(subject.run.id))
    if [stream["status"] for stream in streams] != ["stopped"]:
        yield f"the streams are {[(stream['id'], stream['status']) for stream in streams]}"
    videos = matrix.account.videos(subject.title)
    if [video["id"] for video in videos] != [recording.video_id]:
        yield f"the videos are {[(video['id'], video['name']) for video in videos]}, the result's {recording.video_id}"
    if (indexes := matrix.service.jobs("index", recording.video_id)) != 1:
        yield f"the words were indexed {indexes} times"
    yield from _problems_of_the_clip(matrix, subject, point, recording)
    yield from _problems_of_the_window(subject, recording)


def _problems_of_the_clip(
    matrix: Matrix, subject: Subject, point: Point | None, recording: MeetingRecording
) -> Iterator[str]:
    if recording.clip is None or not recording.clip.stream_url:
        yield f"there is no clip; {recording.spoken_words}, {recording.hits}"
        return
    if not httpx.get(recording.clip.stream_url, timeout=60).is_success:
        yield "the clip does not play"
    compiled = sum(1 for request in subject.seen if re.search(r"^POST /compile$", request))
    allowed = 1 if point is None or not _may_compile_again(point) else 2
    if compiled > allowed:
        yield f"the clip was compiled {compiled} times"
    if (clips := matrix.service.jobs("compile", recording.video_id)) > allowed:
        yield f"there were {clips} jobs that compile"


def _may_compile_again(point: Point) -> bool:
    """Between the request and the label that tells of its answer nobody can know of the clip."""
    return "/compile" in point.path or "/async-response" in point.path or "/labels videodb.clip" in point.path


def _problems_of_the_window(subject: Subject, recording: MeetingRecording) -> Iterator[str]:
    window = recording.window
    planned_s = (window.end - window.start).total_seconds()
    if round(planned_s, 3) not in _PLANNED_S or recording.ended_early:
        yield f"the window is {planned_s:g} s long, ended early: {recording.ended_early}"
    if subject.window_then and subject.window_then != (window.start.isoformat(), window.end.isoformat()):
        yield f"the window was {subject.window_then}, and is {window}"
    if subject.struck_at and subject.connected_then and window.start > subject.struck_at + timedelta(seconds=2):
        yield f"the stream was there at {subject.struck_at}, and the window begins at {window.start}"
    if recording.missing or recording.earlier_video_ids:
        yield f"it was interrupted: {recording.missing}, {recording.earlier_video_ids}"


# How to record, where something happens, and what it is.
Case = tuple[dict[str, Any], Point, Disturb]


def try_all(matrix: Matrix, cases: Sequence[Case], kind: type[Subject] = Subject) -> None:
    """Try many points at the same time, and tell of all that fail at once."""
    assert cases
    with ThreadPoolExecutor(AT_ONCE) as pool:
        # Prefect's settings of the test are in its context.
        tries = [pool.submit(copy_context().run, disturbed, matrix, *case, kind) for case in cases]
        found = [one.result() for one in tries]
    bad = [
        f"{disturb.__name__} {point}:\n  " + "\n  ".join(wrong)
        for (_, point, disturb), wrong in zip(cases, found, strict=True)
        if wrong
    ]
    assert not bad, f"{len(bad)} of {len(cases)} points:\n" + "\n".join(bad)
