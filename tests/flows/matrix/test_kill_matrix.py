"""A recording whose process is killed between any two of its outside effects goes on to the same end, once.

At a few points in the suite, at random; `VIDEODB_SOAK=yes` for all of them (`make soak`).
"""

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from contextvars import copy_context
from functools import partial
from typing import Any

import pytest

from tests.flows.matrix.subjects import (
    ALL,
    AT_ONCE,
    HOLDING,
    PARKING,
    Case,
    Matrix,
    Subject,
    SubjectOfAWorker,
    is_act,
    try_all,
    undisturbed,
)
from tests.support.kill_points import Point, points
from tests.support.processes import wait_for
from tests.support.programs import running_workers


def sigkill(subject: Subject, point: Point) -> None:
    subject.strike(point, subject.kill)


def sigterm(subject: Subject, point: Point) -> None:
    subject.strike(point, subject.terminate)


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
    ways = (PARKING, HOLDING) if ALL else (HOLDING,)
    with ThreadPoolExecutor(len(ways)) as pool:
        seen = [pool.submit(copy_context().run, undisturbed, matrix, how) for how in ways]
        found = [points(one.result()) for one in seen]
    all_points = [(HOLDING, point) for point in found[-1]]
    if ALL:
        all_points = [(PARKING, point) for point in around_parking(found[0])] + all_points
    return [(*one, sigkill) for one in all_points] + [(*one, sigterm) for one in all_points[::4]]


@pytest.mark.timeout(7200)
def test_killed_or_terminated_at_any_point_a_recording_goes_on_to_the_same_end(matrix: Matrix) -> None:
    found = cases(matrix)
    try_all(matrix, found if ALL else random.sample(found, 5))


@pytest.mark.timeout(7200)
def test_a_recording_goes_on_to_the_same_end_when_the_worker_that_holds_it_is_killed_or_terminated(
    matrix: Matrix,
) -> None:
    """At every point where the run has an effect: what the worker asks for itself is none of the run.

    The connect and the stop are sent by the worker before the flow starts.
    """
    seen = points(undisturbed(matrix, HOLDING, SubjectOfAWorker))
    effects = [point for point in seen if point.has_effect and not point.path.startswith("/api/work_pools/")]
    acts = [point for point in effects if is_act(point)]
    assert len(acts) == 4, acts
    found: list[Case] = [(HOLDING, point, sigkill) for point in effects]
    found += [(HOLDING, point, sigterm) for point in effects[::4]]
    few = random.sample([case for case in found if case[1] in acts], 1) + random.sample(found, 2)
    try_all(matrix, found if ALL else few, SubjectOfAWorker)


@pytest.mark.timeout(7200)
def test_cancelled_at_any_point_a_recording_is_stopped_and_kept(matrix: Matrix) -> None:
    """By a worker, at every seventh point between the connect and the report."""
    found = points(undisturbed(matrix, HOLDING))
    connects = next(index for index, point in enumerate(found) if point.path == "/rtstream" and point.has_effect)
    ends = next(index for index, point in enumerate(found) if point.path.endswith("/set_state COMPLETED"))
    stops = next(index for index, point in enumerate(found) if point.path == "/rtstream/{id}/status")
    tried = range(connects, ends, 7) if ALL else random.sample(range(connects, ends), 1)
    with running_workers(matrix.folder), ThreadPoolExecutor(AT_ONCE) as pool:
        tries = [
            pool.submit(copy_context().run, partial(_cancelled, matrix, found[index], has_recorded=index >= stops))
            for index in tried
        ]
        wrong = [f"{found[index]}: {one.result()}" for index, one in zip(tried, tries, strict=True) if one.result()]
    assert not wrong, "\n".join(wrong)


class _UnderTheWorker(Subject):
    """A run that the worker of `prefect.yaml`'s pool executes."""

    @property
    def job_variables(self) -> dict[str, Any]:
        return {"env": self.environment}


def _cancelled(matrix: Matrix, point: Point, *, has_recorded: bool) -> list[str]:
    """Give what is wrong after a run was cancelled at the point."""
    with ExitStack() as network:
        subject = _UnderTheWorker(matrix, HOLDING, network)
        subject.strike(point, subject.cancel)
        try:
            wait_for("the run has ended", lambda: subject.run.state().is_final(), timeout_s=240)
            wait_for("every stream is stopped", lambda: set(matrix.account.statuses(subject.run)) <= {"stopped"})
            if has_recorded:
                wait_for("there is a video", lambda: _videos(matrix, subject))
        except AssertionError as error:
            return [str(error), f"{subject.run.state()}", f"{matrix.account.statuses(subject.run)}"]
        found = []
        if subject.struck_at is None or not subject.run.state().is_cancelled():
            found.append(f"the run is {subject.run.state()}, cancelled at {subject.struck_at}")
        if len(matrix.account.statuses(subject.run)) > 1 or len(_videos(matrix, subject)) > 1:
            found.append(f"streams {matrix.account.statuses(subject.run)}, videos {_videos(matrix, subject)}")
        return found


def _videos(matrix: Matrix, subject: Subject) -> list[str]:
    return [video["id"] for video in matrix.account.videos(subject.title)]
