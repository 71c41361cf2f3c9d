"""What many recordings need in the same moment is asked for once, and nobody waits for ever."""

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from uuid import UUID, uuid4

import pytest
from prefect.exceptions import PrefectException
from pydantic import SecretStr

from prefect_videodb.blocks import RTStreamSource
from prefect_videodb.durable.on_time import shares_process
from prefect_videodb.recording.sharing import have_written, labels_of, read_once


def test_a_block_is_read_once_for_all_that_ask_in_the_same_moment() -> None:
    reads: list[int] = []

    def read() -> RTStreamSource:
        reads.append(1)
        time.sleep(0.2)
        return RTStreamSource(url=SecretStr("rtsp://camera/room"), name="Room")

    got: list[RTStreamSource] = []

    def run() -> None:
        shares_process.set(True)  # as the worker does that executes it
        got.append(read_once(RTStreamSource, "room", read))

    threads = [threading.Thread(target=run) for _ in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(got) == 9
    assert len(reads) == 1
    assert got[0] is not got[1]  # a copy each: what one changes the others do not see


def test_the_labels_of_all_that_ask_again_and_again_are_read_with_one_request() -> None:
    ids = [uuid4() for _ in range(9)]
    reads: list[Sequence[UUID]] = []

    def read(asked: Sequence[UUID]) -> dict[UUID, dict[str, str]]:
        reads.append(asked)
        return {known: {"of": str(known)} for known in asked}

    for known in ids:  # nobody knows yet who else will ask
        assert labels_of(known, read) == {"of": str(known)}
    assert len(reads) == 9
    time.sleep(2.1)
    for known in ids:
        assert labels_of(known, read) == {"of": str(known)}
    assert len(reads) == 10
    assert set(reads[-1]) >= set(ids)


def test_what_a_run_has_just_written_is_not_hidden_by_what_was_read_before() -> None:
    mine, another, labels = uuid4(), uuid4(), {"standing": ""}
    is_read, has_written = threading.Event(), threading.Event()

    def read(asked: Sequence[UUID]) -> dict[UUID, dict[str, str]]:
        return dict.fromkeys(asked, labels.copy())

    def read_slowly(asked: Sequence[UUID]) -> dict[UUID, dict[str, str]]:
        answer = read(asked)
        is_read.set()
        has_written.wait(30)
        return answer

    assert labels_of(mine, read) == {"standing": ""}
    time.sleep(2.1)
    reading_for_all = threading.Thread(target=labels_of, args=(another, read_slowly))
    reading_for_all.start()
    assert is_read.wait(30)
    labels["standing"] = "source"
    have_written(mine)
    has_written.set()
    reading_for_all.join(30)
    assert labels_of(mine, read) == {"standing": "source"}


def test_the_labels_of_a_run_that_is_gone_are_not_known() -> None:
    with pytest.raises(PrefectException, match="there is no flow run"):
        labels_of(uuid4(), lambda _: {})


def test_who_waits_for_somebody_whose_request_hangs_asks_alone() -> None:
    hangs, mine = threading.Event(), uuid4()

    def hang(_: Sequence[UUID]) -> dict[UUID, dict[str, str]]:
        hangs.wait(30)
        return {}

    def ask() -> None:
        with suppress(PrefectException):
            labels_of(uuid4(), hang)

    hanging = threading.Thread(target=ask)
    hanging.start()
    time.sleep(0.2)
    assert labels_of(mine, lambda asked: {known: {"asked": len(asked)} for known in asked}) == {"asked": 1}
    hangs.set()
    hanging.join(30)
