"""A recording whose process is killed between any two of its outside effects goes on to the same end, once.

At a few points in the suite, at random; `VIDEODB_SOAK=yes` for all of them (`make soak`).
"""

import logging
import os
import random
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments import run_deployment
from pydantic import SecretStr

from prefect_videodb.blocks import RTStreamSource, VideoDBCredentials
from prefect_videodb.local_server import LocalServer
from prefect_videodb.recording.models import MeetingRecording
from prefect_videodb.recording.servers import this_server
from tests.flows.conftest import KEY, Account, Run, look_after_only
from tests.support.faulty_proxy import FaultyProxy, Rule
from tests.support.kill_points import Point, named, points
from tests.support.processes import Process, stopped, wait_for
from tests.support.programs import execute, running_worker
from tests.support.speech import OneSentence

logger = logging.getLogger(__name__)
_ALL = bool(os.environ.get("VIDEODB_SOAK"))
# So many runs at a time: they wait for much of their time.
_AT_ONCE = 6
_EXECUTION_S = 240.0
_MOST_EXECUTIONS = 5
_HOLDING: dict[str, Any] = {"duration_minutes": 8 / 60, "options": {"hold_process": True}}
# Parked only while there are 30 s left, on any machine.
_PARKING: dict[str, Any] = {"duration_minutes": 75 / 60}
_PLANNED_S = {8.0, 75.0}


@dataclass
class Service:
    """The local VideoDB of the matrix, and what is counted of it in its database."""

    server: LocalServer
    folder: Path
    undisturbed: dict[float, list[str]] = field(default_factory=dict)
    """The requests of undisturbed runs, by the minutes that they record: asked for once."""

    def jobs(self, kind: str, about: str) -> int:
        """Count the jobs of a kind whose arguments hold something."""
        with closing(sqlite3.connect(f"file:{self.folder / 'videodb.sqlite3'}?mode=ro", uri=True)) as database:
            query = "SELECT count(*) FROM jobs WHERE kind = ? AND (subject = ? OR instr(arguments, ?))"
            return int(database.execute(query, (kind, about, about)).fetchone()[0])


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("videodb-matrix")
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


@pytest.fixture
def matrix(service: Service, prefect_api: str, deployed: str, tmp_path: Path) -> Iterator[Matrix]:
    RTStreamSource(url=SecretStr(service.server.sample_url), name="Sample meeting").save("matrix-room", overwrite=True)
    block = VideoDBCredentials(api_key=SecretStr(KEY), base_url=service.server.base_url)
    block.save("default", overwrite=True)
    # Its requests through a run's own network would be taken for the run's.
    look_after_only("default")
    with get_client(sync_client=True) as client:
        assert this_server(client)  # only the first run of all makes the identity, and dies nowhere
    account = Account(block, service.server.base_url)
    yield Matrix(service, account, prefect_api, deployed, tmp_path)
    look_after_only(None)
    account.stop_all()


class Subject:
    """One run, with a network of its own, in which its process may meet its end."""

    def __init__(
        self, matrix: Matrix, parameters: dict[str, Any], network: ExitStack, *, under_a_worker: bool = False
    ) -> None:
        self._matrix = matrix
        number = matrix.number()
        self.title = f"subject {number} of {matrix.folder.name}"
        self.log = matrix.folder / f"{number}.log"
        self.seen: list[str] = []
        self._videodb = network.enter_context(FaultyProxy(matrix.service.server.base_url, self.seen).running())
        self._prefect = network.enter_context(
            FaultyProxy(matrix.prefect_url.removesuffix("/api"), self.seen, named).running()
        )
        block = f"matrix-{number}-{os.urandom(4).hex()}"
        VideoDBCredentials(api_key=SecretStr(KEY), base_url=self._videodb.url, timeout_s=60.0).save(block)
        named_parameters = {
            "source": "matrix-room",
            "credentials": block,
            "name": self.title,
            "queries": ["action items"],
            **parameters,
        }
        variables = {"env": self._environment} if under_a_worker else None
        created = run_deployment(matrix.deployment, parameters=named_parameters, job_variables=variables, timeout=0)
        assert isinstance(created, FlowRun)
        self.run = Run(created.id)
        self.process: Process | None = None
        self.struck_at: datetime | None = None
        self.window_then: tuple[str, str] | None = None
        self.connected_then = False

    @property
    def _environment(self) -> dict[str, str]:
        return {
            "PREFECT_API_URL": f"{self._prefect.url}/api",
            "PREFECT_LOGGING_TO_API_ENABLED": "false",  # the log is in a file
        }

    def cancel(self) -> None:
        """Cancel the run as the UI does."""
        url = f"{self._matrix.prefect_url}/flow_runs/{self.run.id}/set_state"
        httpx.post(url, json={"state": {"type": "CANCELLING"}, "force": True}, timeout=60.0).raise_for_status()

    def strike(self, point: Point, blow: Callable[["Subject"], None]) -> None:
        """Have the process meet `blow` at the point."""
        proxy = self._prefect if point.path.startswith("/api/") else self._videodb

        def kill() -> None:
            blow(self)
            self.struck_at = datetime.now(UTC)

        fault = "kill before" if point.side == "before" else "kill after"
        proxy.rules.append(Rule(point.method, point.pattern, fault, skip=point.nth, kill=kill))  # type: ignore[arg-type]

    def execute(self) -> None:
        """Execute the run as a worker does, and wait until the process is gone, whatever happened to it."""
        was_struck = self.struck_at
        with stopped(execute(self.run.id, self.log, self._environment)) as self.process:
            self.process.wait(_EXECUTION_S)
        if self.struck_at and not was_struck:
            labels = self.run.read().labels
            if "videodb.window_start" in labels:
                self.window_then = (str(labels["videodb.window_start"]), str(labels["videodb.window_end"]))
            self.connected_then = bool(self._matrix.account.streams(str(self.run.id)))

    def go_on_to_the_end(self) -> State[Any]:
        """Execute until the run has ended, scheduling it again where its process did not come to that."""
        for _ in range(_MOST_EXECUTIONS):
            self.execute()
            state = self.state()
            if state.is_final() and not state.is_crashed():
                return state
            if not state.is_scheduled():
                self.run.schedule_again()
        raise AssertionError(f"not ended after {_MOST_EXECUTIONS} executions: {self.state()}")

    def state(self) -> State[Any]:
        state = self.run.read().state
        assert state is not None
        return state


def sigkill(subject: Subject) -> None:
    assert subject.process
    subject.process.kill()


def sigterm(subject: Subject) -> None:
    assert subject.process
    subject.process.terminate()


def undisturbed(matrix: Matrix, parameters: dict[str, Any]) -> list[str]:
    """Give the requests of a run to which nothing happens, in their order."""
    known = matrix.service.undisturbed
    if parameters["duration_minutes"] not in known:
        with ExitStack() as network:
            subject = Subject(matrix, parameters, network)
            subject.go_on_to_the_end()
            seen = list(subject.seen)
            assert list(problems(matrix, subject, None)) == []
        known[parameters["duration_minutes"]] = seen
    return known[parameters["duration_minutes"]]


def disturbed(matrix: Matrix, parameters: dict[str, Any], point: Point, blow: Callable[[Subject], None]) -> list[str]:
    """Give what is wrong after a run to which the blow happened at the point, and that was continued."""
    with ExitStack() as network:
        subject = Subject(matrix, parameters, network)
        subject.strike(point, blow)
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
    state = subject.state()
    if not state.is_completed():
        yield f"the run is {state.name}: {state.message}"
        return
    if point and point.has_effect and not subject.struck_at:
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


# How to record, where the blow falls, and which it is.
Case = tuple[dict[str, Any], Point, Callable[[Subject], None]]


def try_all(matrix: Matrix, cases: Sequence[Case]) -> None:
    """Try many points at the same time, and tell of all that fail at once."""
    assert cases
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        # Prefect's settings of the test are in its context.
        tries = [pool.submit(copy_context().run, disturbed, matrix, *case) for case in cases]
        found = [one.result() for one in tries]
    bad = [
        f"{blow.__name__} {point}:\n  " + "\n  ".join(wrong)
        for (_, point, blow), wrong in zip(cases, found, strict=True)
        if wrong
    ]
    assert not bad, f"{len(bad)} of {len(cases)} points:\n" + "\n".join(bad)


def around_parking(found: Sequence[Point]) -> list[Point]:
    """Give, of a run that parks, the points from what it shows before it parks to its stop."""
    shows = next(index for index, point in enumerate(found) if point.path == "/api/artifacts/")
    stops = next(index for index, point in enumerate(found) if str(point) == "after PATCH /rtstream/{id}/status #1")
    return list(found[shows : stops + 1])


def cases(matrix: Matrix) -> list[Case]:
    """Give every point, to kill, and every fourth to terminate.

    That is: of a run that holds its process, and of one that parks those around parking; the suite leaves out the
    latter, which takes a minute more.
    """
    ways = (_PARKING, _HOLDING) if _ALL else (_HOLDING,)
    with ThreadPoolExecutor(len(ways)) as pool:
        seen = [pool.submit(copy_context().run, undisturbed, matrix, how) for how in ways]
        found = [points(one.result()) for one in seen]
    all_points = [(_HOLDING, point) for point in found[-1]]
    if _ALL:
        all_points = [(_PARKING, point) for point in around_parking(found[0])] + all_points
    return [(*one, sigkill) for one in all_points] + [(*one, sigterm) for one in all_points[::4]]


@pytest.mark.timeout(7200)
def test_killed_or_terminated_at_any_point_a_recording_goes_on_to_the_same_end(matrix: Matrix) -> None:
    found = cases(matrix)
    try_all(matrix, found if _ALL else random.sample(found, 5))


@pytest.mark.timeout(7200)
def test_cancelled_at_any_point_a_recording_is_stopped_and_kept(matrix: Matrix) -> None:
    """By a worker, at every seventh point between the connect and the report."""
    found = points(undisturbed(matrix, _HOLDING))
    connects = next(index for index, point in enumerate(found) if point.path == "/rtstream" and point.has_effect)
    ends = next(index for index, point in enumerate(found) if point.path.endswith("/set_state COMPLETED"))
    stops = next(index for index, point in enumerate(found) if point.path == "/rtstream/{id}/status")
    tried = range(connects, ends, 7) if _ALL else random.sample(range(connects, ends), 1)
    with running_worker(matrix.folder), ThreadPoolExecutor(_AT_ONCE) as pool:
        tries = [
            pool.submit(copy_context().run, partial(_cancelled, matrix, found[index], has_recorded=index >= stops))
            for index in tried
        ]
        wrong = [f"{found[index]}: {one.result()}" for index, one in zip(tried, tries, strict=True) if one.result()]
    assert not wrong, "\n".join(wrong)


def _cancelled(matrix: Matrix, point: Point, *, has_recorded: bool) -> list[str]:
    """Give what is wrong after a run was cancelled at the point."""
    with ExitStack() as network:
        subject = Subject(matrix, _HOLDING, network, under_a_worker=True)
        subject.strike(point, Subject.cancel)
        try:
            wait_for("the run has ended", lambda: subject.state().is_final(), timeout_s=240)
            wait_for("every stream is stopped", lambda: set(_statuses(matrix, subject)) <= {"stopped"})
            if has_recorded:
                wait_for("there is a video", lambda: _videos(matrix, subject))
        except AssertionError as error:
            return [str(error), f"{subject.state()}", f"{_statuses(matrix, subject)}"]
        found = []
        if subject.struck_at is None or not subject.state().is_cancelled():
            found.append(f"the run is {subject.state()}, cancelled at {subject.struck_at}")
        if len(_statuses(matrix, subject)) > 1 or len(_videos(matrix, subject)) > 1:
            found.append(f"streams {_statuses(matrix, subject)}, videos {_videos(matrix, subject)}")
        return found


def _statuses(matrix: Matrix, subject: Subject) -> list[str]:
    return [stream["status"] for stream in matrix.account.streams(str(subject.run.id))]


def _videos(matrix: Matrix, subject: Subject) -> list[str]:
    return [video["id"] for video in matrix.account.videos(subject.title)]
