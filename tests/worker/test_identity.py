"""A process is told from one that is gone, also where it cannot be seen."""

import os
from dataclasses import replace

from prefect_videodb.worker import identity
from prefect_videodb.worker.identity import Identity


def test_this_process_is_there_and_reads_itself_back() -> None:
    own = Identity.own()
    assert Identity.read(str(own)) == own
    assert not own.is_gone()


def test_a_process_that_had_the_same_number_is_gone() -> None:
    assert replace(Identity.own(), started="1").is_gone()


def test_a_process_of_an_earlier_boot_is_gone() -> None:
    assert replace(Identity.own(), boot="another").is_gone()


def test_nobody_knows_of_another_host() -> None:
    assert not replace(Identity.own(), host="elsewhere", started="1").is_gone()


def test_a_process_of_another_container_that_shares_the_hosts_name_is_there_as_long_as_it_lives() -> None:
    beside = replace(Identity.own(), pid=os.getpid() + 1_000_000, started="7")
    assert beside.is_gone()
    shown = identity.show(str(beside))
    assert shown
    assert not beside.is_gone()
    shown.close()
    assert beside.is_gone()
