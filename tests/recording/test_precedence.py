"""Who must connect or stop now goes first, and nobody waits for ever."""

import threading
import time
from datetime import UTC, datetime

from pydantic import SecretStr

from prefect_videodb.blocks import RTStreamSource
from prefect_videodb.punctual import due_at
from prefect_videodb.recording.precedence import Precedence, taking_precedence
from prefect_videodb.recording.sharing import read_once


def test_who_has_time_waits_until_the_others_have_connected() -> None:
    order: list[str] = []
    with taking_precedence() as early, taking_precedence() as late:
        waiting = threading.Thread(target=lambda: (early.give_way(), order.append("early goes on")))
        waiting.start()
        time.sleep(0.2)
        order.append("late connects")
        late.end()
        waiting.join(30)
    assert order == ["late connects", "early goes on"]


def test_alone_nobody_waits_long() -> None:
    began = time.monotonic()
    with taking_precedence() as mine:
        mine.give_way()
    Precedence().give_way()
    assert time.monotonic() - began < 10


def test_a_block_is_read_once_for_all_that_ask_in_the_same_moment() -> None:
    reads: list[int] = []

    def read() -> RTStreamSource:
        reads.append(1)
        time.sleep(0.2)
        return RTStreamSource(url=SecretStr("rtsp://camera/room"), name="Room")

    got: list[RTStreamSource] = []

    def run() -> None:
        due_at.set(datetime.now(UTC))  # as the worker does that executes it
        got.append(read_once(RTStreamSource, "room", read))

    threads = [threading.Thread(target=run) for _ in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(got) == 9
    assert len(reads) == 1
    assert got[0] is not got[1]  # a copy each: what one changes the others do not see
