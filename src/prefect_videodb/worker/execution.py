"""One execution of a flow run, in a thread of its own."""

import asyncio
import copy
import functools
import inspect
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, cast
from uuid import UUID

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import Abort, Pause
from prefect.flow_engine import run_flow
from prefect.logging.loggers import flow_run_logger

from prefect_videodb.durable.on_time import shares_process
from prefect_videodb.durable.prefect_compat import without_suspension_observer
from prefect_videodb.durable.recovery import NOT_YET_DUE
from prefect_videodb.worker.interrupts import Interrupt, Interruptible, RunCancelled, raise_in

if TYPE_CHECKING:
    import logging

    import anyio

_REFUSED = "Validation of flow parameters failed"  # how Prefect's message begins


class Outcome(Enum):
    """How the engine left an execution."""

    RETURNED = "the engine reported how it ended"
    LET_GO = "it left without ending: it is parked, paused, or goes on elsewhere"
    ABORTED = "Prefect, or a cancellation, told it to stop"
    BROKE = "something was raised through the engine"
    DIED = "the process of its own ended before it"


class Execution:
    """One execution of a run. Nothing that the flow does or raises reaches the worker.

    Args:
        run: the run, as it was scheduled.
    """

    def __init__(self, run: FlowRun) -> None:
        self.run = run
        self.is_claimed = False
        """Whether Prefect has given it to this worker."""
        self.waiting: anyio.CancelScope | None = None
        """Around the wait for its moment."""
        self.entered = asyncio.Event()
        """Whether its flow was entered, or is over: what a start costs is over then."""
        self.flow: Flow[..., Any] | None = None
        self.outcome = Outcome.ABORTED
        self.error: BaseException | None = None
        self.found_cancelling = False
        """Whether the engine left it because somebody had cancelled it before it began."""
        self.interrupted: Interrupt | None = None
        self._thread: threading.Thread | None = None
        self._coroutine: Interruptible | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._is_over = False
        self._done = asyncio.Event()
        self._interrupted_at = 0.0

    @property
    def id(self) -> UUID:
        """The flow run's id."""
        return self.run.id

    def is_alive(self) -> bool:
        """Tell whether the flow still runs."""
        # A thread that was interrupted right at its end may not have said that it is over.
        return self._thread is not None and not self._is_over and self._thread.is_alive()

    def is_waiting(self) -> bool:
        """Tell whether its time has not come yet."""
        return self.due is not None and self.due > datetime.now(UTC)

    @property
    def has_started(self) -> bool:
        """Tell whether its thread was started."""
        return self._thread is not None

    @property
    def due(self) -> datetime | None:
        """When it is to do what it is for. What is held up before its time, or crashes, is not due any sooner."""
        scheduled, expected = self.run.next_scheduled_start_time, self.run.expected_start_time
        if self.run.state_name == NOT_YET_DUE and scheduled:
            return scheduled
        return max((time for time in (scheduled, expected) if time), default=None)

    @property
    def was_cancelled_s(self) -> float:
        """How long ago it was told to end, in seconds; 0 when it was not."""
        return time.monotonic() - self._interrupted_at if self.interrupted is RunCancelled else 0.0

    def interrupt(self, interrupt: Interrupt) -> None:
        """End it, once: raised again, it would cut short what the flow does to end well."""
        with self._lock:
            if self.interrupted is not None:
                return
            self.interrupted = interrupt
            self._interrupted_at = time.monotonic()
            if self._thread is None or self._is_over:
                return
            self._raise(interrupt)

    def abandon(self) -> None:
        """End it by force, where that can be done: a thread goes on until it ends."""

    def _raise(self, interrupt: Interrupt) -> None:
        if self._coroutine is not None:
            self._coroutine.interrupt(interrupt)
        elif self._thread is not None:
            raise_in(self._thread, interrupt, lambda: self._is_over)

    def start(self, flow: Flow[..., Any], context: Context) -> None:
        """Start the thread, unless the run was interrupted already."""
        loop, done = asyncio.get_running_loop(), self._done
        self._loop = loop

        def execute() -> None:
            shares_process.set(True)
            try:
                self._execute(flow)
            finally:
                with self._lock:
                    self._is_over = True
                loop.call_soon_threadsafe(done.set)
                self._enter()

        self.flow = flow
        with self._lock:
            if self.interrupted is None:
                self._thread = threading.Thread(
                    target=context.run, args=(execute,), name=f"run-{self.run.id}", daemon=True
                )
                self._thread.start()

    async def wait(self, timeout_s: float) -> bool:
        """Wait for the end of the thread, at most so long. Tells whether it ended."""
        if self.is_alive():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._done.wait(), timeout_s)
        return not self.is_alive()

    def _execute(self, flow: Flow[..., Any]) -> None:
        run = self.run.model_copy()  # the engine changes its state
        # The engine runs these hooks only when it finds the run cancelled; the worker does in any case, once.
        handed = copy.copy(flow)
        handed.on_cancellation_hooks = []
        handed.fn = self._noticed(flow.fn)
        # A flow that is a generator can only be asked for what it yields.
        wanted: Literal["result", "state"] = "result" if flow.isgenerator else "state"
        logger = cast("logging.Logger", flow_run_logger(run))
        try:
            with without_suspension_observer():  # the worker watches all its runs with one request
                left = self._drive(run_flow(handed, flow_run=run, return_type=wanted, error_logger=logger))
            self.found_cancelling = isinstance(left, State) and left.is_cancelling()
            self.outcome = Outcome.RETURNED
            if isinstance(left, State) and (left.message or "").startswith(_REFUSED):
                logger.error("%s", left.message)  # the engine does not log this into the run's own log
        except Pause:
            self.outcome = Outcome.LET_GO
        except Abort:
            self.outcome = Outcome.ABORTED
        except BaseException as error:  # noqa: BLE001 - SystemExit of one flow must not end the others
            self.outcome, self.error = Outcome.BROKE, error

    def _noticed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def begin(*args: Any, **kwargs: Any) -> Any:
            self._enter()
            return function(*args, **kwargs)

        return begin

    def _enter(self) -> None:
        if self._loop:
            self._loop.call_soon_threadsafe(self.entered.set)

    def _drive(self, result: Any) -> Any:
        """Run what the engine gives back for flows that are not plain functions; give how it left others."""
        if inspect.isasyncgen(result):
            result = _consumed(result)
        if inspect.iscoroutine(result):
            with self._lock:
                self._coroutine = Interruptible(result)
                if self.interrupted:
                    self._coroutine.interrupt(self.interrupted)
            return self._coroutine.run()
        if inspect.isgenerator(result):
            for _ in result:
                pass
            return None
        return result


async def _consumed(generator: Any) -> None:
    async for _ in generator:
        pass
