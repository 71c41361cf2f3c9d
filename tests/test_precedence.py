"""Who must act now goes first, and nobody waits for ever."""

import threading
import time
from collections.abc import Callable, Iterator
from contextvars import copy_context

import pytest
from prefect.client.orchestration import get_client

from prefect_videodb import precedence
from prefect_videodb.precedence import Precedence, current, going_first, hurry, stand_aside, wait_for_turn
from prefect_videodb.worker.connection import Connection


@pytest.fixture
def other() -> Iterator[Precedence]:
    """A run of this process that is in a hurry."""
    other = Precedence()
    other.hurry()
    yield other
    other.end()


def beside(act: Callable[[], object], order: list[str]) -> threading.Thread:
    """Act in the context of a run that has time, in a thread of its own."""

    def run() -> None:
        current.set(mine := Precedence())
        mine.rest(60.0)
        act()
        mine.end()
        order.append("the one that has time")

    thread = threading.Thread(target=copy_context().run, args=(run,))
    thread.start()
    return thread


def test_who_has_time_waits_until_the_others_have_acted(other: Precedence) -> None:
    order: list[str] = []
    waiting = beside(wait_for_turn, order)
    time.sleep(0.5)
    order.append("the one in a hurry")
    other.give_way()
    waiting.join(30)
    assert order == ["the one in a hurry", "the one that has time"]


def test_at_the_shared_connection_too(prefect_api: str, other: Precedence) -> None:
    assert prefect_api
    connection, order = Connection(), []
    shared = connection.take()

    def ask(mine: Precedence | None) -> None:
        current.set(mine)
        with get_client(sync_client=True) as prefect:
            prefect.hello().raise_for_status()

    waiting = beside(lambda: shared.context().run(ask, current.get()), order)
    time.sleep(0.5)
    shared.context().run(ask, other)
    order.append("the one in a hurry")
    other.give_way()
    waiting.join(30)
    connection.give_back(shared)
    connection.close()
    assert order == ["the one in a hurry", "the one that has time"]


def test_who_was_in_no_hurry_may_be_in_one(other: Precedence) -> None:
    order: list[str] = []

    def act() -> None:
        hurry()
        wait_for_turn()

    beside(act, order).join(30)
    assert order
    assert other


def test_what_all_wait_for_stands_aside_for_none(other: Precedence) -> None:
    order: list[str] = []

    def act() -> None:
        with going_first():
            wait_for_turn()

    beside(act, order).join(30)
    assert order
    assert other


def test_nobody_stands_aside_for_ever(other: Precedence) -> None:
    mine = Precedence()
    mine.rest(0.5)
    began = time.monotonic()
    mine.wait_for_turn()
    assert time.monotonic() - began > 0.4
    mine.wait_for_turn()  # it has waited
    other.hurry()
    mine.wait_for_turn()


def test_who_hangs_holds_up_no_others(other: Precedence, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precedence, "LONGEST_HURRY_S", 0.5)
    beside(wait_for_turn, order := []).join(30)
    assert order
    assert other


def test_those_that_have_stopped_go_on_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precedence, "MOST_GOING_ON", 1)
    first, order = Precedence(), []
    first.stand_aside(60.0)
    second = beside(lambda: stand_aside(60.0), order)
    time.sleep(1.5)
    order.append("the first has ended")
    first.end()
    second.join(30)
    assert order == ["the first has ended", "the one that has time"]


def test_who_stands_aside_is_woken_when_it_is_told_to_end(other: Precedence, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precedence, "_LOOKS_A_SECOND", 0.01)  # as where hundreds stand aside
    mine, woken = Precedence(), threading.Event()
    threading.Thread(target=lambda: (mine.stand_aside(600.0), woken.set()), daemon=True).start()
    assert not woken.wait(0.5)
    mine.end()
    assert woken.wait(30)
    assert other


def test_who_waits_for_the_service_keeps_no_others_from_going_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precedence, "MOST_GOING_ON", 1)
    monkeypatch.setattr(precedence, "_GOES_ON_S", 0.5)
    first, order = Precedence(), []
    first.stand_aside(60.0)
    beside(lambda: stand_aside(60.0), order).join(30)
    first.end()
    assert order


def test_alone_nobody_waits_long() -> None:
    mine = Precedence()
    mine.hurry()
    mine.rest(60.0)
    began = time.monotonic()
    mine.wait_for_turn()
    assert time.monotonic() - began < 10
