"""What Prefect is told about a run whose engine did not tell it: cancelled, crashed, or to be continued."""

import inspect
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import anyio
from prefect import Flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State
from prefect.logging.loggers import flow_run_logger
from prefect.states import Cancelled, Crashed, Scheduled

from prefect_videodb.durable.recovery import AWAITING_RETRY, NOT_YET_DUE

if TYPE_CHECKING:
    from prefect.client.schemas.responses import OrchestrationResult


async def put_back(client: PrefectClient, run: FlowRun, message: str, due: datetime | None = None) -> None:
    """Schedule a run again, for whichever worker is next.

    Until somebody takes it, it still names who executed it: without this a run that could not be scheduled would be
    found by nobody.

    Args:
        client: Prefect.
        run: the run.
        message: what the UI says of it.
        due: when it is due, where it may have been claimed before.
    """
    now = datetime.now(UTC)
    at, name = (due, NOT_YET_DUE) if due and due > now else (now, AWAITING_RETRY)
    state: State[Any] = Scheduled(scheduled_time=at, name=name, message=message)
    await client.set_flow_run_state(run.id, state)


async def cancel(client: PrefectClient, run: FlowRun, flow: Flow[..., Any] | None, owner: str, message: str) -> None:
    """Run the hooks `on_cancellation` of a run that is being cancelled, and report it as cancelled."""
    await attend(client, run, flow, owner)
    await client.set_flow_run_state(run.id, Cancelled(message=message), force=True)


async def attend(client: PrefectClient, run: FlowRun, flow: Flow[..., Any] | None, owner: str) -> None:
    """Run the hooks `on_cancellation` of a run. One that names nobody names who did that: once is enough.

    Afterwards: killed in between, the next worker runs them again.
    """
    if run.state is not None:
        await run_hooks(flow.on_cancellation_hooks if flow else [], flow, run, run.state)
    if not run.infrastructure_pid:
        await client.update_flow_run(run.id, infrastructure_pid=owner)


async def crash(client: PrefectClient, run: FlowRun, flow: Flow[..., Any] | None, message: str) -> None:
    """Report a run as crashed, and run its hooks `on_crashed`."""
    answer: OrchestrationResult[Any] = await client.set_flow_run_state(run.id, Crashed(message=message))
    if answer.state is None or not answer.state.is_crashed():
        return
    flow_run_logger(run).error("Reported as crashed: %s", message)
    await run_hooks(flow.on_crashed_hooks if flow else [], flow, run, answer.state)


async def run_hooks(hooks: Sequence[Any], flow: Flow[..., Any] | None, run: FlowRun, state: State[Any]) -> None:
    """Run hooks one after the other; one that fails is logged, and the next one runs."""
    logger = flow_run_logger(run, flow)
    for hook in hooks:
        name = getattr(hook, "__name__", type(hook).__name__)
        logger.info("Running hook %r in response to entering state %r", name, state.name)
        try:
            await _call(hook, flow, run, state)
        except Exception:
            logger.exception("An error was encountered while running hook %r", name)
        else:
            logger.info("Hook %r finished running successfully", name)


async def _call(hook: Any, flow: Flow[..., Any] | None, run: FlowRun, state: State[Any]) -> None:
    def call() -> Any:
        try:
            return hook(flow, run, state)
        except SystemExit as leaving:  # of the hook, not of the worker
            raise RuntimeError("the hook called exit") from leaving

    answer = await anyio.to_thread.run_sync(call, abandon_on_cancel=False)
    if inspect.isawaitable(answer):
        await answer
