"""The worker: takes runs ahead of their time, starts each in a thread, and looks after all of them."""

import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import anyio
import anyio.abc
import httpx
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, FlowRunFilterState
from prefect.client.schemas.objects import FlowRun, StateDetails, StateType
from prefect.exceptions import Abort, ObjectNotFound, Pause, PrefectException
from prefect.settings import PREFECT_WORKER_QUERY_SECONDS, temporary_settings
from prefect.states import Pending
from prefect.utilities.engine import propose_state
from prefect.workers.base import BaseJobConfiguration, BaseVariables, BaseWorker, BaseWorkerResult

from prefect_videodb._clock import steady_now
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
from prefect_videodb.punctual import LEAD, LONGEST_LEAD, is_punctual, lead
from prefect_videodb.worker.apart import execution_of
from prefect_videodb.worker.connection import Connection
from prefect_videodb.worker.endings import attend, cancel, crash, put_back
from prefect_videodb.worker.execution import Execution, Outcome
from prefect_videodb.worker.flows import CannotBeLoaded, Flows
from prefect_videodb.worker.interrupts import RunCancelled, RunLetGo
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
# How often the worker looks for what is due in minutes: Prefect gives it all of that each time.
_LOOK_AHEAD_S = 10.0
# What was held up is due when that time is over: it waits for a concurrency slot, or to be tried again.
_HELD_UP = {"AwaitingConcurrencySlot", "AwaitingRetry"}
# More that begin in the same moment only hold each other up: requests of theirs to Prefect then time out.
_MOST_STARTING = 40
# What is due is asked for when so many can be taken: Prefect gives up to two hundred runs each time.
_LEAST_TAKEN = 10
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

    async def teardown(self, *exc_info: Any) -> None:
        """Let runs end, or give them back, and disconnect."""
        self._listening.cancel()
        await super().teardown(*exc_info)
        self._connection.close()

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Take the runs that are due soon. The threads wait for the moment inside Prefect's engine, or in the flow."""
        self._last_polled_time = datetime.now(UTC)
        room = _MOST_STARTING - sum(execution.is_starting() for execution in self._executions.values())
        if not self._has_pool or room < _LEAST_TAKEN or self.limiter.available_tokens < 1:
            return []
        try:
            due = await self.client.get_scheduled_flow_runs_for_work_pool(
                self._work_pool_name,
                work_queue_names=list(self._work_queues),
                scheduled_before=datetime.now(UTC) + timedelta(seconds=self._prefetch_seconds) + self._ahead(),
            )
        except ObjectNotFound:
            return []  # it is made with the next heartbeat
        taken: list[FlowRun] = []
        early = waiting = 0
        for run in (entry.flow_run for entry in due):  # in the order in which they are due
            begins_early = timedelta()
            is_to_be_on_time = await self._waits_for_its_time(run)
            if run.id in self._executions:  # asked after each wait: an event may have begun another look
                continue
            if is_to_be_on_time and run.state_name not in _HELD_UP:
                begins_early = lead(early, is_first=run.state_name == NOT_YET_DUE)
                early += 1
            # Who is not due yet leaves a slot to each that is due before.
            is_left_alone = _is_ahead(run, timedelta()) and self.limiter.available_tokens <= waiting
            if is_left_alone or _is_ahead(run, timedelta(seconds=self._prefetch_seconds) + begins_early):
                waiting += 1
                continue
            if len(taken) >= room:
                break
            try:
                self.limiter.acquire_on_behalf_of_nowait(run.id)
            except anyio.WouldBlock:
                break
            self._executions[run.id] = execution = execution_of(run, begins_early)
            if is_to_be_on_time:
                execution.precedence.hurry()
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
            flow = await self._flow_of(flow_run)
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

    def _ahead(self) -> timedelta:
        """Tell how far ahead to look this time for runs that begin early."""
        if time.monotonic() < self._next_look_ahead:
            return LEAD
        self._next_look_ahead = time.monotonic() + _LOOK_AHEAD_S
        return LONGEST_LEAD

    async def _waits_for_its_time(self, run: FlowRun) -> bool:
        """Say whether a run waits for its moment itself; it may begin before it where nothing has held it up."""
        try:
            return is_punctual(await self._flow_of(run))
        except CannotBeLoaded:
            return False  # which is told when it is due

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
            execution.precedence.end()
            self._executions.pop(run.id, None)
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
        is_ours = False
        with anyio.CancelScope(shield=True):
            is_ours = await self._propose_pending(execution)
            if is_ours:
                await self._told(lambda: self._mark(execution.id))
        return is_ours

    async def _mark(self, flow_run_id: UUID) -> None:
        """Write down which worker executes a run, and which process of its name."""
        await self.client.update_flow_run(flow_run_id, infrastructure_pid=self._owner)

    async def _propose_pending(self, execution: Execution) -> bool:
        run = execution.run
        details = StateDetails(scheduled_time=execution.begins_at)
        try:
            state = await propose_state(self.client, Pending(state_details=details), flow_run_id=run.id)
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
            while not await execution.wait(_WATCH_S):
                if execution.was_cancelled_s > _CANCEL_GRACE_S:
                    execution.abandon()
                    break
        finally:
            if execution.interrupted:
                connection.retire(shared)
            if not execution.is_alive():
                connection.give_back(shared)

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
            if not self._is_ours(run) or run.state is None:
                return
            if run.state.is_cancelling():
                await cancel(self.client, run, execution.flow, self._owner, message)
            elif run.state.is_final() or run.state.is_scheduled():
                return
            elif execution.outcome is Outcome.DIED:
                self.get_flow_run_logger(run).error("The process of the run died: %s", execution.error)
                await self._recover([(run, Death("its own process died"))])
            elif execution.outcome is Outcome.BROKE:
                error = execution.error
                await crash(self.client, run, execution.flow, f"Execution broke: {type(error).__name__}: {error}")

        await self._told(settle)

    async def _hand_back(self, execution: Execution) -> None:
        """Let a run end by itself for a moment, then let go of it, and schedule it for the next worker."""
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

    async def _told(self, tell: Callable[[], Awaitable[None]]) -> None:
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
                    await self._find_withdrawn()
                    next_roll_call = time.monotonic() + _LOOK_AHEAD_S
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
                    execution.interrupt(RunLetGo)
            else:
                execution.interrupt(RunCancelled)

    async def _find_withdrawn(self) -> None:
        """Interrupt what belongs to another worker by now, and what was withdrawn before its time."""
        executions = list(self._executions.values())
        begun = {execution.id for execution in executions if execution.is_alive()}  # these are marked as this worker's
        runs = {run.id: run async for run in self._read([execution.id for execution in executions])}
        for execution in executions:
            run = runs.get(execution.id)
            state = run.state if run else None
            if run and state and (state.is_pending() or state.is_running()):
                if execution.id in begun and run.infrastructure_pid not in {None, "", self._owner}:
                    self._logger.warning("Run %s belongs to another worker by now", run.id)
                    execution.interrupt(RunLetGo)
            elif not execution.is_waiting():
                continue
            elif state is None or state.is_final():
                self._logger.info("The run %s was withdrawn before its time", execution.id)
                execution.interrupt(RunCancelled)
            elif state.is_scheduled() and execution.is_alive():
                execution.interrupt(RunLetGo)

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
