"""A recording goes on to the same end, once, though any of its requests meets a fault of the network or the service.

At a few points in the suite, at random; `VIDEODB_SOAK=yes` for all of them (`make soak`).
"""

import random

import pytest

from tests.flows.matrix.subjects import (
    ALL,
    HOLDING,
    Matrix,
    Subject,
    SubjectOfAWorker,
    is_act,
    try_all,
    undisturbed,
)
from tests.support.faulty_proxy import Rule
from tests.support.kill_points import Point, points


class _ImpatientOfAWorker(SubjectOfAWorker):
    """A run in the process of a worker that does not wait long for a silent service."""

    timeout_s = 15.0


class _Impatient(Subject):
    """A run that does not wait long for a silent service."""

    timeout_s = 15.0


def silence(subject: Subject, point: Point) -> None:
    """What was asked for is done, and nobody hears of it; for longer than it is waited for, on any machine."""
    subject.spoil(point, Rule(point.method, point.pattern, "hang after", skip=point.nth, hang_s=40.0))


def cut(subject: Subject, point: Point) -> None:
    """What was asked for is done, and the connection is gone."""
    subject.spoil(point, Rule(point.method, point.pattern, "cut after", skip=point.nth))


def status_500(subject: Subject, point: Point) -> None:
    subject.spoil(point, Rule(point.method, point.pattern, 500, skip=point.nth))


def status_429(subject: Subject, point: Point) -> None:
    subject.spoil(point, Rule(point.method, point.pattern, 429, skip=point.nth, headers={"retry-after": "1"}))


@pytest.mark.timeout(7200)
def test_a_recording_goes_on_to_the_same_end_whichever_of_its_requests_meets_a_fault(matrix: Matrix) -> None:
    """At every request of the run that has an effect, and at the first of each kind that asks.

    A silent Prefect is waited for a minute by Prefect's own client: a cut says the same sooner.
    """
    requests = [point for point in points(undisturbed(matrix, HOLDING, _Impatient)) if point.side == "before"]
    to_prefect = [point for point in requests if point.path.startswith("/api/")]
    to_videodb = [point for point in requests if point not in to_prefect]
    found = [
        *((HOLDING, point, fault) for point in to_videodb for fault in (silence, cut, status_500, status_429)),
        *((HOLDING, point, fault) for point in to_prefect if point.has_effect for fault in (cut, status_500)),
    ]
    try_all(matrix, found if ALL else random.sample(found, 5), _Impatient)


@pytest.mark.timeout(7200)
def test_a_recording_goes_on_to_the_same_end_whatever_the_worker_meets_at_its_second(matrix: Matrix) -> None:
    """Of the connect and the stop, which the worker sends before the flow starts."""
    seen = points(undisturbed(matrix, HOLDING, _ImpatientOfAWorker))
    acts = [point for point in seen if point.side == "before" and is_act(point)]
    assert len(acts) == 2
    found = [(HOLDING, point, fault) for point in acts for fault in (silence, cut, status_500, status_429)]
    try_all(matrix, found if ALL else random.sample(found, 2), _ImpatientOfAWorker)
