"""A run that is interrupted leaves no lock behind that others wait for."""

import logging
import threading
import time

from prefect_videodb.worker.interrupts import RunCancelled, raise_in
from tests.support.processes import wait_for


def test_a_run_that_is_interrupted_while_it_waits_for_the_lock_of_the_log_leaves_it_to_the_others() -> None:
    handler = logging.Handler()
    begins, ended = threading.Event(), threading.Event()

    def write_on_and_on() -> None:
        try:
            begins.set()
            while True:
                handler.acquire()
                handler.release()
                time.sleep(0.01)
        except RunCancelled:
            ended.set()

    handler.acquire()
    thread = threading.Thread(target=write_on_and_on, daemon=True)
    thread.start()
    begins.wait()
    time.sleep(0.1)  # it waits for the lock by now
    raise_in(thread, RunCancelled, ended.is_set)
    handler.release()
    wait_for("it is interrupted", ended.is_set)
    thread.join(30)
    assert handler.lock
    assert handler.lock.acquire(blocking=False)
    handler.release()


def test_a_thread_that_has_ended_is_left_alone() -> None:
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    raise_in(thread, RunCancelled, lambda: True)
