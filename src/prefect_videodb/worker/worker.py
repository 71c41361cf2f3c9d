"""The worker: claims runs ahead, does what must be done at their second, starts each in a thread, looks after all."""

import logging
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import anyio
import anyio.abc
import anyio.to_thread
import httpx
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterNextScheduledStartTime,
    FlowRunFilterState,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import Abort, ObjectNotFound, Pause, PrefectException
from prefect.settings import PREFECT_WORKER_QUERY_SECONDS, temporary_settings
from prefect.states import Cancelled, Pending
from prefect.utilities.engine import propose_state
from prefect.workers.base import BaseJobConfiguration, BaseVariables, BaseWorker, BaseWorkerResult

from prefect_videodb._clock import steady_now
from prefect_videodb.durable.on_time import (
    CLAIM_AHEAD,
    Act,
    Documents,
    Key,
    Moment,
    Timer,
    declared_by,
    shares_process,
)
from prefect_videodb.durable.on_time import Pending as PendingAct
from prefect_videodb.durable.prefect_api import PAGE, server_time
from prefect_videodb.durable.recovery import (
    MAX_CRASHES,
    NOT_YET_DUE,
    Death,
    Holder,
    Recovery,
    StaleRun,
    death_of,
    ended_with_worker,
    online_filter,
    recover,
)
from prefect_videodb.worker.apart import execution_of
from prefect_videodb.worker.checks import Withheld, saved_blocks, withheld
from prefect_videodb.worker.connection import Connection
from prefect_videodb.worker.endings import attend, cancel, crash, put_back, run_hooks
from prefect_videodb.worker.execution import Execution, Outcome
from prefect_videodb.worker.flows import CannotBeLoaded, Flows
from prefect_videodb.worker.interrupts import Interrupt, RunCancelled, RunLetGo
from prefect_videodb.worker.runs import in_state, read_all
from prefect_videodb.worker.unattended import Unattended
from prefect_videodb.worker.wake import poll_on_schedule

if TYPE_CHECKING:
    from prefect.client.schemas.objects import Flow as APIFlow
    from prefect.client.schemas.responses import DeploymentResponse

# Runs at a time, where no `--limit` is given: each has a thread. On the hour as many recordings end as begin.
DEFAULT_LIMIT = 1000
# A run that is due now waits for the next look. One request; Prefect's 10 s are meant for dearer infrastructure.
_QUERY_S = 1.0
_WATCH_S = 2.0
# A cancelled run has as long as under a process worker.
_CANCEL_GRACE_S = 30.0
# A worker that is told to end lets runs end by themselves for so long, then lets go of them.
_FINISH_S = 10.0
_LET_GO_S = 15.0
_DEPLOYMENT_IS_KNOWN_S = 10.0
_RETRY_S = 5.0
# How often the worker looks for what is due within a minute: Prefect gives it all of that each time.
_LOOK_AHEAD_S = 5.0
_LOOK_FOR_ENDS_S = 10.0
_SOON = CLAIM_AHEAD + timedelta(seconds=_LOOK_FOR_ENDS_S)
# What is due is read once more so long before: of a thousand runs that takes Prefect a third of a second.
_CHECK_AHEAD = timedelta(seconds=2.5)
# No flow is started while something is to be done within this time: a start costs a quarter of a second of CPU.
_QUIET = timedelta(seconds=1)
# A flow that is to end within this time is started after its end: what starts a stream must not meet what stops it.
_NEAR_END = timedelta(seconds=30)
_TICK_S = 0.5
# What cannot be prepared by then, because Prefect is slow or away, the flow does.
_LATEST_PREPARED_S = 30.0
# What was held up is due when that time is over: it waits for a concurrency slot, or to be tried again.
_HELD_UP = {"AwaitingConcurrencySlot", "AwaitingRetry"}
# More that start in the same moment only hold each other up: requests of theirs to Prefect then time out. What has
# ended waits for its export only, and does not keep what begins from starting.
_MOST_STARTING, _MOST_ENDING = 30, 10
# Prefect serves no more of these requests if more are sent at a time.
_MOST_CLAIMING = _MOST_PREPARING = 4
# A thousand that are cancelled together leave threads, and Prefect, to those that are due.
_MOST_ATTENDED = 10
_UNREACHABLE = (httpx.HTTPError, PrefectException)


class InProcessConfiguration(BaseJobConfiguration):
    """Nothing is configured: all runs share the worker's environment."""

    def name_in_events(self, run: FlowRun, flow: "APIFlow", deployment: "DeploymentResponse | None") -> None:
        """Set what the worker's events are related to.

        `prepare_for_flow_run` does, too, and makes an environment for a process of its own: 28 ms of CPU for each run.
        """
        self._related_objects = {"deployment": deployment, "flow": flow, "flow-run": run}


class InProcessWorkerResult(BaseWorkerResult):
    """How an execution ended: 0 unless the run is to be reported as crashed."""


class InProcessWorker(BaseWorker[InProcessConfiguration, BaseVariables, InProcessWorkerResult]):
    """Executes flow runs in threads of its own process: for flows that mostly wait for others.

    Deployments name their flow by module path, have no pull steps, and no job variables: what would change the
    environment or the working directory would change it for all runs.
    """

    type = "videodb-in-process"
    job_configuration = InProcessConfiguration

    _display_name = "VideoDB, in process"
    _description = (
        "Execute flow runs that mostly wait, such as recordings of live streams, inside the worker's process."
    )

    def __init__(self, work_pool_name: str, *, limit: int | None = None, **options: Any) -> None:
        super().__init__(work_pool_name, limit=limit or DEFAULT_LIMIT, **options)
        self._flows = Flows()
        self._executions: dict[UUID, Execution] = {}
        self._deployments: dict[UUID, tuple[float, DeploymentResponse]] = {}
        self._api_flows: dict[UUID, APIFlow] = {}
        self._reading = anyio.Lock()
        self._listening = anyio.CancelScope()
        self._next_look_ahead = 0.0
        self._acts = Timer()
        self._stopped: dict[UUID, datetime] = {}
        self._claiming, self._preparing = anyio.CapacityLimiter(_MOST_CLAIMING), anyio.CapacityLimiter(_MOST_PREPARING)
        self._starting, self._ending = anyio.CapacityLimiter(_MOST_STARTING), anyio.CapacityLimiter(_MOST_ENDING)
        self._waiting_for_quiet = anyio.Lock()
        self._holder = Holder(self.name, uuid4().hex)
        self._owner = str(self._holder)
        self._began_at: datetime | None = None
        self._reached_at = 0.0
        """Since when Prefect can be asked; a failure that is shorter than a heartbeat's interval does not count."""
        self._connection = Connection()
        self._unattended = Unattended(work_pool_name)
        self._attending = anyio.CapacityLimiter(_MOST_ATTENDED)

    @classmethod
    def get_default_base_job_template(cls) -> dict[str, Any]:
        """Give the work pool's form: there is nothing to fill in."""
        return {"job_configuration": {"command": None}, "variables": {"type": "object", "properties": {}}}

    async def start(
        self,
        run_once: bool = False,  # noqa: FBT001, FBT002 - the signature of the base class
        with_healthcheck: bool = False,  # noqa: FBT001, FBT002 - the same
        printer: Callable[..., None] = print,
    ) -> None:
        """Work until told to end; see `BaseWorker.start`."""
        query_s = min(_QUERY_S, PREFECT_WORKER_QUERY_SECONDS.value())
        with temporary_settings({PREFECT_WORKER_QUERY_SECONDS: query_s}):
            await super().start(run_once, with_healthcheck, printer)

    async def setup(self) -> None:
        """Connect, and begin to look after runs."""
        await super().setup()
        self._group.start_soon(self._look_after)
        self._group.start_soon(self._poll_on_schedule)
        self._group.start_soon(self._act)
        self._group.start_soon(self._keep_acts)

    async def teardown(self, *exc_info: Any) -> None:
        """Let runs end, or give them back, and disconnect."""
        self._listening.cancel()
        await super().teardown(*exc_info)
        self._connection.close()

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Claim the runs that are due soon."""
        self._last_polled_time = datetime.now(UTC)
        looks_ahead = time.monotonic() >= self._next_look_ahead
        if not self._has_pool or (self.limiter.available_tokens < 1 and not looks_ahead):
            return []
        prefetch = timedelta(seconds=self._prefetch_seconds)
        ahead = prefetch + (CLAIM_AHEAD if looks_ahead else timedelta())
        try:
            due = await self.client.get_scheduled_flow_runs_for_work_pool(
                self._work_pool_name,
                work_queue_names=list(self._work_queues),
                scheduled_before=datetime.now(UTC) + ahead,
            )
        except ObjectNotFound:
            return []  # it is made with the next heartbeat
        if looks_ahead and len(due) < PAGE:  # else there are more, once these are claimed
            self._next_look_ahead = time.monotonic() + _LOOK_AHEAD_S
        taken: list[FlowRun] = []
        # Two workers of a pool are given the same runs: in another order, they rarely propose the same one.
        runs = [entry.flow_run for entry in due]
        random.shuffle(runs)
        for run in sorted(runs, key=lambda run: run.next_scheduled_start_time or run.created or self._last_polled_time):
            lead = await self._lead(run, prefetch)
            if run.id in self._executions:  # asked after each wait: an event may have begun another look
                continue
            if _is_ahead(run, lead):
                continue
            if lead <= prefetch:  # what must be done at its second is done whatever the limit, only its flow waits
                try:
                    self.limiter.acquire_on_behalf_of_nowait(run.id)
                except anyio.WouldBlock:
                    continue
            self._executions[run.id] = execution = execution_of(run)
            self._group.start_soon(self._take, execution)
            taken.append(run)
        return taken

    async def run(
        self,
        flow_run: FlowRun,
        configuration: BaseJobConfiguration,
        task_status: anyio.abc.TaskStatus[int] | None = None,
    ) -> InProcessWorkerResult:
        """Execute a run that is pending, and see to it that Prefect knows how it ended."""
        del configuration  # there is none
        if task_status is not None:
            task_status.started(os.getpid())
        execution = self._executions.setdefault(flow_run.id, execution_of(flow_run))
        try:
            flow = execution.flow = await self._flow_of(flow_run)
        except CannotBeLoaded as error:
            self.get_flow_run_logger(flow_run).exception("The flow cannot be loaded")
            message = f"The flow cannot be loaded: {error}"
            await self._told(lambda: crash(self.client, flow_run, None, message))
            return InProcessWorkerResult(identifier=self._owner, status_code=1)
        if flow_run.job_variables:
            self.get_flow_run_logger(flow_run).warning(
                "Job variables are not used: %s. All runs share the worker's environment",
                ", ".join(sorted(flow_run.job_variables)),
            )
        with anyio.CancelScope() as execution.waiting:
            if not execution.interrupted:
                await self._be_on_time(execution, flow)
        if pending := self._acts.get((execution.id, Moment.START)):  # it was interrupted while this is sent
            await pending.over.wait()
        await self._execute(execution, flow)
        await self._settle(execution)
        return InProcessWorkerResult(identifier=self._owner, status_code=int(execution.outcome is Outcome.BROKE))

    @property
    def _group(self) -> anyio.abc.TaskGroup:
        if self._runs_task_group is None:
            raise RuntimeError("the worker is not set up")
        return self._runs_task_group

    @property
    def _has_pool(self) -> bool:
        return self._work_pool is not None

    async def _lead(self, run: FlowRun, prefetch: timedelta) -> timedelta:
        """Return how long before its scheduled time a run is claimed; what it does at its end needs no claim."""
        if run.state_name in _HELD_UP:
            return prefetch
        try:
            declared = declared_by(await self._flow_of(run))
        except CannotBeLoaded:
            return prefetch  # which is told when it is due
        end, scheduled = declared.ends_at(run), run.next_scheduled_start_time
        if end is not None and scheduled is not None and end - scheduled <= _NEAR_END:
            return min(prefetch, -(end - scheduled))
        return prefetch + CLAIM_AHEAD if declared.at_start and run.run_count == 0 else prefetch

    async def _take(self, execution: Execution) -> None:
        """Execute one run from its claim to its end. Nothing that goes wrong with it reaches the others."""
        run = execution.run
        try:
            if await self._claim(execution):
                await self._submit(run)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await self._hand_back(execution)
            raise
        except Exception:
            self._logger.exception("The run %s was lost from sight", run.id)
        finally:
            self._executions.pop(run.id, None)
            with suppress(RuntimeError):  # it never got one
                self._release_limit_slot(run.id)

    async def _poll_on_schedule(self) -> None:
        with self._listening:
            await poll_on_schedule(self._work_pool_name, self.get_and_submit_flow_runs, self._logger)

    async def _submit(self, run: FlowRun) -> None:
        """Execute a claimed run, with the labels and the events of Prefect's own workers."""
        configuration = InProcessConfiguration()

        async def label() -> None:
            await self._give_worker_labels_to_flow_run(run.id)
            if run.flow_id not in self._api_flows:
                self._api_flows[run.flow_id] = await self.client.read_flow(run.flow_id)
            _, deployment = self._deployments.get(run.deployment_id or run.id, (0.0, None))
            configuration.name_in_events(run, self._api_flows[run.flow_id], deployment)

        await self._told(label)
        submitted = self._emit_flow_run_submitted_event(configuration)
        result = await self.run(run, configuration)
        self._emit_flow_run_executed_event(result, configuration, submitted)

    async def _claim(self, execution: Execution) -> bool:
        """Ask Prefect for the run; another worker may have been faster, or a limit is reached.

        Not to be cancelled in between: that would leave the run to nobody.
        """
        async with self._claiming:
            with anyio.CancelScope(shield=True):
                if await self._propose_pending(execution):
                    await self._told(lambda: self._mark(execution.id))
                    execution.is_claimed = True
        return execution.is_claimed

    async def _mark(self, flow_run_id: UUID) -> None:
        """Write down which worker executes a run, and which process of its name."""
        await self.client.update_flow_run(flow_run_id, infrastructure_pid=self._owner)

    async def _propose_pending(self, execution: Execution) -> bool:
        run = execution.run
        try:
            state = await propose_state(self.client, Pending(), flow_run_id=run.id)
        except (Abort, Pause, ObjectNotFound) as told:
            self._logger.debug("Not ours: %s: %s", run.id, told)
            return False
        if not state.is_pending():
            self._logger.info("Prefect keeps run %s back: it is %s", run.id, state.name)
            return False
        return True

    async def _flow_of(self, run: FlowRun) -> Flow[..., Any]:
        if run.deployment_id is None:
            raise CannotBeLoaded("the run belongs to no deployment")
        async with self._reading:  # once for all runs that are due together
            known = self._deployments.get(run.deployment_id)
            if known is None or time.monotonic() - known[0] > _DEPLOYMENT_IS_KNOWN_S:
                try:
                    known = time.monotonic(), await self.client.read_deployment(run.deployment_id)
                except ObjectNotFound:
                    if known is None:
                        raise CannotBeLoaded("its deployment was deleted") from None
                    known = time.monotonic(), known[1]  # what has begun is finished
                self._deployments[run.deployment_id] = known
        return await anyio.to_thread.run_sync(self._flows.load, known[1])

    async def _execute(self, execution: Execution, flow: Flow[..., Any]) -> None:
        connection = self._connection
        shared = await anyio.to_thread.run_sync(connection.take)
        try:
            execution.start(flow, shared.context())
            self._group.start_soon(self._leave_gate, execution)
            while not await execution.wait(_WATCH_S):
                if execution.was_cancelled_s > _CANCEL_GRACE_S:
                    execution.abandon()
                    break
        finally:
            if execution.interrupted and execution.has_started:
                connection.retire(shared)
            if not execution.is_alive():
                connection.give_back(shared)

    async def _leave_gate(self, execution: Execution) -> None:
        """Let another run start, once the flow of this one is entered."""
        if execution.has_started:
            await execution.entered.wait()
        for gate in (self._starting, self._ending):
            with suppress(RuntimeError):  # it waited at the other one, or was interrupted before
                gate.release_on_behalf_of(execution)

    async def _settle(self, execution: Execution) -> None:
        """Tell Prefect what the engine did not."""
        lets_go = execution.outcome in {Outcome.RETURNED, Outcome.LET_GO} and not execution.is_alive()
        if lets_go and execution.interrupted is not RunCancelled and not execution.found_cancelling:
            return
        message = "Flow run was cancelled."
        if execution.is_alive():
            message = f"Flow run was cancelled, but its thread did not end within {_CANCEL_GRACE_S:g} s, and goes on"
            self.get_flow_run_logger(execution.run).error(message)

        async def settle() -> None:
            run = await self.client.read_flow_run(execution.id)
            if not self._is_ours(run) or run.state is None or run.state.is_final() or run.state.is_scheduled():
                return
            if run.state.is_cancelling():
                await cancel(self.client, run, execution.flow, self._owner, message)
            elif run.state.is_pending() and not execution.has_started:
                await put_back(self.client, run, "It does not begin yet", execution.due)
            elif execution.outcome is Outcome.DIED:
                self.get_flow_run_logger(run).error("The process of the run died: %s", execution.error)
                await self._recover([(run, Death("its own process died"))])
            elif execution.outcome is Outcome.BROKE:
                error = execution.error
                await crash(self.client, run, execution.flow, f"Execution broke: {type(error).__name__}: {error}")

        await self._told(settle)

    async def _hand_back(self, execution: Execution) -> None:
        """Let a run end by itself for a moment, then let go of it, and schedule it for the next worker."""
        if (pending := self._acts.get((execution.id, Moment.START))) and pending.is_sent:
            await pending.over.wait()
        if not execution.is_waiting() and await execution.wait(_FINISH_S):
            await self._settle(execution)
        execution.interrupt(RunLetGo)
        if not await execution.wait(_LET_GO_S):
            execution.abandon()
            self._logger.error("Run %s does not let go; it ends with this process", execution.id)

        async def hand_back() -> None:
            run = await self.client.read_flow_run(execution.id)
            if not self._is_ours(run) or run.state is None:
                return
            if run.state.is_cancelling():
                message = "Flow run was cancelled while its worker ended."
                await cancel(self.client, run, execution.flow, self._owner, message)
            elif run.state.is_running() or run.state.is_pending():
                message = f"Its worker {self.name!r} ended: goes on with the next"
                is_first = execution.run.state_name == NOT_YET_DUE
                await put_back(self.client, run, message, execution.due if is_first else None)
                self._logger.info("Handed run %s back", run.id)

        with anyio.move_on_after(_LET_GO_S) as in_time:
            await self._told(hand_back)
        if in_time.cancelled_caught:
            self._logger.error("Prefect is away: run %s is left to another worker", execution.id)

    def _is_ours(self, run: FlowRun) -> bool:
        """Say whether nobody else has taken a run that was executed here.

        One that was about to be parked names nobody; whoever takes a run writes his name down before it runs.
        """
        if run.infrastructure_pid or run.state is None:
            return run.infrastructure_pid == self._owner
        return run.state.is_running() or run.state.is_cancelling()

    async def _told(self, tell: Callable[[], Awaitable[object]]) -> None:
        """Tell Prefect something, again and again while it is away: else the run would wait for ever."""
        while True:
            try:
                await tell()
            except (ObjectNotFound, Abort):
                return  # the run was deleted, or Prefect knows better
            except _UNREACHABLE as error:
                self._logger.warning("Prefect could not be told, trying again: %s", error)
                await anyio.sleep(_RETRY_S)
            else:
                return

    def _interrupt(self, execution: Execution, interrupt: Interrupt) -> None:
        execution.interrupt(interrupt)
        if not execution.has_started:
            self._acts.drop((execution.id, Moment.START))
            if execution.waiting:
                execution.waiting.cancel()

    # --- what must be done at its second ------------------------------------------------------------------------------

    async def _be_on_time(self, execution: Execution, flow: Flow[..., Any]) -> None:
        """Do what the run must do at its second; come back when its flow may start."""
        due, start, end = execution.due or datetime.now(UTC), (execution.id, Moment.START), (execution.id, Moment.END)
        with anyio.move_on_after(max(0.0, _seconds_until(due)) + _LATEST_PREPARED_S):
            await self._prepare(execution, flow, due)
        if pending := self._acts.get(start):
            await pending.over.wait()
            await self._note(execution.run, flow, pending)
            execution.run.labels |= pending.labels or {}
            if pending.error:
                await anyio.sleep(pending.act.settle_s)
        await anyio.sleep(max(0.0, _seconds_until(due)))
        if self._acts.get(end) is None:
            await self._plan_end(execution.run)
        while (pending := self._acts.get(end)) and _seconds_until(pending.act.at) < _NEAR_END.total_seconds():
            with anyio.move_on_after(_TICK_S):  # somebody may move the end
                await pending.over.wait()
        if execution.id not in self.limiter.statistics().borrowers:
            await self.limiter.acquire_on_behalf_of(execution.id)
        ends_at = declared_by(flow).ends_at(execution.run)
        gate = self._ending if ends_at and ends_at <= datetime.now(UTC) else self._starting
        await gate.acquire_on_behalf_of(execution)
        await self._quiet()

    async def _prepare(self, execution: Execution, flow: Flow[..., Any], due: datetime) -> None:
        """Prepare what the run must do when it is due, and write down that it may have been done."""
        key = (execution.id, Moment.START)
        prepare = declared_by(flow).at_start
        act = await self._prepared(execution.run, lambda: prepare(flow, execution.run, due)) if prepare else None
        if act is None or execution.interrupted:
            self._acts.drop(key)
            return
        await self._label(execution.run, act.labels)
        self._acts.set(key, act)

    async def _prepared(self, run: FlowRun, prepare: Callable[[], Act | None]) -> Act | None:
        """Prepare an act in a thread; None where the flow is to do it."""
        shared = await anyio.to_thread.run_sync(self._connection.take)
        context = shared.context()
        context.run(shares_process.set, True)  # noqa: FBT003 - the signature of ContextVar
        try:
            async with self._preparing:
                return await anyio.to_thread.run_sync(context.run, prepare, abandon_on_cancel=True)
        except Exception as error:  # noqa: BLE001 - whatever it is, the flow meets it again and reports it
            self._logger.info("Nothing is prepared for run %s: %s: %s", run.id, type(error).__name__, error)
            return None
        finally:
            self._connection.give_back(shared)

    async def _label(self, run: FlowRun, labels: Mapping[str, str]) -> bool:
        """Write labels of a run down, where Prefect does not know them. Tells whether the run is still there."""
        missing = {key: value for key, value in labels.items() if run.labels.get(key) != value}
        is_there = True

        async def write() -> None:
            nonlocal is_there
            try:
                async with self._claiming:
                    await self.client.update_flow_run_labels(run.id, {**missing})
            except ObjectNotFound:
                is_there = False

        if missing:
            await self._told(write)
            run.labels |= missing
        return is_there

    async def _note(self, run: FlowRun, flow: Flow[..., Any], pending: PendingAct) -> None:
        """Write down what was done at its second, once nothing else is to be done."""
        late_s = -_seconds_until(pending.act.at)
        await self._quiet()
        if pending.error:
            self._logger.warning("Run %s is left to its flow: %s", run.id, pending.error)
        elif pending.labels and await self._label(run, pending.labels):
            self.get_flow_run_logger(run).info("The worker asked for what was due at its time, %.2f s late", late_s)
        elif pending.labels:
            self._logger.warning("The run %s was deleted in its last second", run.id)
            await run_hooks(flow.on_cancellation_hooks, flow, run, Cancelled(message="The run was deleted"))
            if execution := self._executions.get(run.id):
                self._interrupt(execution, RunCancelled)

    async def _plan_end(self, run: FlowRun, planned: datetime | None = None) -> None:
        """Let what must be done when a run ends wait for that, where it is soon; it needs no claim.

        Args:
            run: as it was read just now.
            planned: the end for which it was prepared already; it is prepared again only where that has moved.
        """
        key = (run.id, Moment.END)
        try:
            flow = await self._flow_of(run)
        except CannotBeLoaded:
            return
        declared = declared_by(flow)
        end, at_end = declared.ends_at(run), declared.at_end
        if end is None or at_end is None:
            return
        is_over = run.state is not None and (run.state.is_final() or run.state.is_cancelling())
        if is_over or self._stopped.get(run.id) == end or _seconds_until(end) > _SOON.total_seconds():
            self._acts.drop(key)
        elif end != planned and (act := await self._prepared(run, lambda: at_end(flow, run))):
            is_new = self._acts.get(key) is None
            pending = self._acts.set(key, act)
            if is_new:
                self._group.start_soon(self._safely, self._end, run, flow, pending)

    async def _safely(self, look_after: Callable[..., Awaitable[None]], *what: Any) -> None:
        """Nothing that goes wrong with one run reaches the others."""
        try:
            await look_after(*what)
        except Exception:
            self._logger.exception("What was to be done on time was lost from sight")

    async def _end(self, run: FlowRun, flow: Flow[..., Any], pending: PendingAct) -> None:
        await pending.over.wait()
        if pending.labels is not None:
            self._stopped[run.id] = pending.act.at
        await self._note(run, flow, pending)

    async def _quiet(self) -> None:
        """Wait until nothing is to be done within a second."""
        async with self._waiting_for_quiet:
            while self._acts.is_busy(_QUIET):  # noqa: ASYNC110 - what makes it busy is the time
                await anyio.sleep(0.1)

    async def _act(self) -> None:
        """Send what is due, each at its moment."""
        while self.is_setup or self._executions:
            self._acts.send_due(self._group)
            await self._acts.wait(_TICK_S)

    async def _keep_acts(self) -> None:
        """Look which runs end soon, and read what is due once more right before: it may have been changed."""
        next_look = time.monotonic()
        checked: dict[Key, datetime] = {}
        while self.is_setup or self._executions:
            try:
                if self._has_pool and time.monotonic() >= next_look:
                    next_look = time.monotonic() + _LOOK_FOR_ENDS_S
                    await self._find_ends()
                    await self._check([one.id for one in self._executions.values() if not one.has_started])
                due = self._acts.due_by(datetime.now(UTC) + _CHECK_AHEAD)
                unchecked = {run_id for (run_id, moment), at in due.items() if checked.get((run_id, moment)) != at}
                checked = due
                await self._check(list(unchecked))
            except _UNREACHABLE as error:
                self._logger.warning("Prefect could not be asked for what is due: %s", error)
            except Exception:
                self._logger.exception("Looking for what is due failed")
            await anyio.sleep(_TICK_S)

    async def _find_ends(self) -> None:
        """Plan the ends of the pool's runs that are near: whoever executes them, and in a paused pool too."""
        soon = {"before_": datetime.now(UTC) + _SOON}
        parked = FlowRunFilter(
            state=in_state(StateType.SCHEDULED),
            next_scheduled_start_time=FlowRunFilterNextScheduledStartTime.model_validate(soon),
        )
        held = FlowRunFilter(state=in_state(StateType.PENDING, StateType.RUNNING))
        runs = [run for wanted in (parked, held) for run in await read_all(self.client, self._work_pool_name, wanted)]
        self._stopped = {run.id: self._stopped[run.id] for run in runs if run.id in self._stopped}
        for run in runs:
            await self._plan_end(run)

    async def _check(self, ids: Sequence[UUID]) -> None:
        """Read runs again whose moment comes: what was cancelled, deleted, moved or changed is not done as it was."""
        waiting = [self._executions[run_id] for run_id in ids if run_id in self._executions]
        waiting = [one for one in waiting if one.is_claimed and not one.has_started and not one.interrupted]
        runs = {run.id: run async for run in self._read(ids)}
        not_due = [runs[one.id] for one in waiting if one.id in runs and one.is_waiting()]
        kept_back = await withheld(self.client, self._work_pool_name, not_due)
        acts = [self._acts.get((one.id, Moment.START)) for one in waiting]
        block_ids = {block_id for pending in acts if pending for block_id in pending.act.blocks}
        documents = Documents(await saved_blocks(self.client, block_ids))
        for execution in waiting:
            run = runs.get(execution.id)
            if run is None or run.state is None or run.state.is_final() or run.state.is_cancelling():
                self._logger.info("The run %s was withdrawn before its time", execution.id)
                self._interrupt(execution, RunCancelled)
            elif run.state.is_scheduled() or not self._is_ours(run):
                self._interrupt(execution, RunLetGo)
            elif run.id in kept_back and run.state.is_pending():
                await self._withhold(execution, run, kept_back[run.id])
            else:
                self._prepare_again(execution, run, documents)
        for run_id in ids:
            if run_id not in runs:
                self._acts.drop((run_id, Moment.END))
            elif pending := self._acts.get((run_id, Moment.END)):
                await self._plan_end(runs[run_id], planned=pending.act.at)

    async def _withhold(self, execution: Execution, run: FlowRun, why: Withheld) -> None:
        self._logger.info("The run %s does not begin: %s", run.id, why.value)
        if why is Withheld.UNSCHEDULED:
            await self._told(lambda: self.client.delete_flow_run(run.id))
        self._interrupt(execution, RunLetGo)

    def _prepare_again(self, execution: Execution, run: FlowRun, documents: Documents) -> None:
        """Prepare the start of a run again whose parameters were changed, or blocks that they name."""
        key = (execution.id, Moment.START)
        pending = self._acts.get(key)
        has_changed = run.parameters != execution.run.parameters
        labels = execution.run.labels | run.labels
        execution.run = execution.run.model_copy(update={"parameters": run.parameters, "labels": labels})
        if pending is None or pending.is_sent or execution.flow is None:
            return
        if has_changed or documents.have_changed(pending.act.blocks):
            self._acts.hold(key)
            self._group.start_soon(self._safely, self._prepare, execution, execution.flow, pending.act.at)

    async def _look_after(self) -> None:
        """Look at all runs of this worker at once, and now and then for those of workers that died."""
        next_search = next_roll_call = time.monotonic()
        self._reached_at = reached_last = steady_now()
        while self.is_setup or self._executions:
            try:
                await self._watch()
                await self._attend_the_unattended()
                if steady_now() - reached_last > max(self.heartbeat_interval_seconds, 3 * _WATCH_S):
                    self._reached_at, next_roll_call = steady_now(), 0.0
                    await self.sync_with_backend()  # others may have called this worker dead
                reached_last = steady_now()
                if time.monotonic() >= next_roll_call:
                    await self._find_taken()
                    next_roll_call = time.monotonic() + _LOOK_FOR_ENDS_S
                if self._has_pool and time.monotonic() >= next_search:
                    await self._find_lost()
                    next_search = time.monotonic() + self.heartbeat_interval_seconds / 6
            except _UNREACHABLE as error:
                self._logger.warning("Prefect could not be asked for the state of runs: %s", error)
            except Exception:
                self._logger.exception("Looking after runs failed")
            await anyio.sleep(_WATCH_S)

    async def _watch(self) -> None:
        """Interrupt the runs that somebody cancelled or suspended."""
        stopped = in_state(StateType.CANCELLING, StateType.CANCELLED, StateType.PAUSED)
        async for run in self._read(list(self._executions), stopped):
            execution = self._executions.get(run.id)
            if execution is None or run.state is None:
                continue
            if run.state.is_paused():
                if run.state.name == "Suspended":
                    self._interrupt(execution, RunLetGo)
            else:
                self._interrupt(execution, RunCancelled)

    async def _find_taken(self) -> None:
        """Interrupt what runs here and belongs to another worker by now."""
        begun = [execution.id for execution in self._executions.values() if execution.is_alive()]
        async for run in self._read(begun, in_state(StateType.PENDING, StateType.RUNNING)):
            execution = self._executions.get(run.id)
            if execution and run.infrastructure_pid not in {None, "", self._owner}:
                self._logger.warning("Run %s belongs to another worker by now", run.id)
                self._interrupt(execution, RunLetGo)

    async def _attend_the_unattended(self) -> None:
        """Run the hooks of what was cancelled while it was parked: there is no process that would."""
        for run in await self._unattended.find(self.client):
            self._group.start_soon(self._attend, run)

    async def _attend(self, run: FlowRun) -> None:
        async with self._attending:
            try:
                flow = await self._flow_for_hooks(run)
                if flow and flow.on_cancellation_hooks:
                    self._logger.info("Run %s was cancelled while no process executed it", run.id)
                    await self._told(lambda: attend(self.client, run, flow, self._owner))
            except Exception:  # it has a net; the others of this worker have none
                self._logger.exception("The hooks of run %s could not be run", run.id)

    async def _flow_for_hooks(self, run: FlowRun) -> Flow[..., Any] | None:
        try:
            return await self._flow_of(run)
        except CannotBeLoaded as error:
            self._logger.warning("Without its hooks: the flow of run %s cannot be loaded: %s", run.id, error)
            return None

    async def _read(self, ids: Sequence[UUID], state: FlowRunFilterState | None = None) -> AsyncIterator[FlowRun]:
        for start in range(0, len(ids), PAGE):
            some = FlowRunFilter(id=FlowRunFilterId(any_=list(ids[start : start + PAGE])), state=state)
            for run in await self.client.read_flow_runs(flow_run_filter=some, limit=PAGE):
                yield run

    async def _find_lost(self) -> None:
        """Recover the runs of this pool whose worker died."""
        now = server_time(await self.client.hello())
        self._began_at = self._began_at or now + timedelta(seconds=1)  # the server's clock tells whole seconds
        # Workers that were cut off together with this one need time to send a heartbeat.
        is_informed = steady_now() - self._reached_at > 2 * self.heartbeat_interval_seconds
        online = await self._online_workers() if is_informed else None
        held = FlowRunFilter(
            id=FlowRunFilterId(not_any_=list(self._executions)),
            state=in_state(StateType.RUNNING, StateType.PENDING, StateType.CANCELLING),
        )
        runs = await read_all(self.client, self._work_pool_name, held)
        deaths = [(run, death) for run in runs if (death := self._death_of(run, online, now))]
        await self._recover([(run, death) for run, death in deaths if run.id not in self._executions])

    async def _online_workers(self) -> set[str]:
        names: set[str] = set()
        for offset in count(0, PAGE):
            page = await self.client.read_workers_for_work_pool(
                self._work_pool_name, online_filter(), offset=offset, limit=PAGE
            )
            names |= {worker.name for worker in page}
            if len(page) < PAGE:
                break
        return names

    def _death_of(self, run: FlowRun, online: set[str] | None, now: datetime) -> Death | None:
        """Return why a run that this worker does not execute is dead.

        What names an earlier process of this worker's own name was claimed before this one began, or the name is not
        its own.
        """
        holder = Holder.of(run)
        if run.state is None or holder is None or holder.worker != self.name:
            return death_of(run, online, now)
        is_of_earlier = self._began_at and run.state.timestamp < self._began_at
        if (holder == self._holder or is_of_earlier) and ended_with_worker(run, holder, now):
            return Death.with_worker(run, holder, f"its worker {self.name!r} began anew")
        return None

    async def _recover(self, deaths: Sequence[tuple[FlowRun, Death]]) -> None:
        """Reschedule runs whose process died, or report how they ended."""
        for run, death in deaths:
            self._logger.warning("Run %s is executed by nobody: %s", run.id, death.why)
        going_on = [(run, death) for run, death in deaths if run.state and not run.state.is_cancelling()]
        given_up = await anyio.to_thread.run_sync(_reschedule, going_on) if going_on else []
        for run, death in deaths:
            try:
                if run.state and run.state.is_cancelling():
                    message = f"Flow run was cancelled; {death.why}"
                    await cancel(self.client, run, await self._flow_for_hooks(run), self._owner, message)
                elif run.id in given_up:
                    message = f"Crashed {MAX_CRASHES} times before; {death.why}"
                    await crash(self.client, run, await self._flow_for_hooks(run), message)
            except ObjectNotFound:
                continue


def _reschedule(deaths: Sequence[tuple[FlowRun, Death]]) -> list[UUID]:
    """Reschedule runs, and return those that are given up."""
    given_up = []
    with get_client(sync_client=True) as client:
        for run, death in deaths:
            try:
                if recover(client, run, death) is Recovery.GIVEN_UP:
                    given_up.append(run.id)
            except StaleRun as stale:
                logging.getLogger(__name__).info("Needs nobody: %s", stale)
    return given_up


def _is_ahead(run: FlowRun, by: timedelta) -> bool:
    return run.next_scheduled_start_time is not None and run.next_scheduled_start_time > datetime.now(UTC) + by


def _seconds_until(moment: datetime) -> float:
    return (moment - datetime.now(UTC)).total_seconds()
