"""What all tasks have in common: when they are retried, and that nothing is cached."""

import re
import time
from typing import Any

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.runtime import task_run as this_run

from prefect_videodb.errors import JobUnfinished, VideoDBError

# Prefect's UI shows a name in a narrow column, where an id of forty characters says nothing.
_LONGEST_PART = 40
_ID = re.compile(r"([a-z]{1,8}(?:-[a-z])?-)[0-9a-f-]{18,}([0-9a-f]{6})")
_DELAYS_S = [1.0, 3.0, 10.0, 30.0]
_JITTER = 0.3
# A service that asks to wait for longer than this is down for this task: it fails, and says so.
_LONGEST_WAIT_S = 300.0


class RunName:
    """The name of a task's run: what is done, and to what, in one short line.

    Args:
        template: names the task's parameters in braces, as Prefect's own templates do.
    """

    def __init__(self, template: str) -> None:
        self.template = template

    def __call__(self) -> str:
        """Return the name of the run that is about to begin."""
        return self.template.format_map({name: _shortened(value) for name, value in this_run.parameters.items()})


def _shortened(value: object) -> str:
    text = " ".join(_ID.sub(r"\1…\2", str(value)).split())
    return text if len(text) <= _LONGEST_PART else f"{text[: _LONGEST_PART - 1]}…"


def retry_is_safe(_task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Tell Prefect whether a failed task may run again: when the error says that this can do no harm.

    Where the service asks to wait (`Retry-After`) for longer than the task's own delay, the rest is waited out here.
    """
    error = state.result(raise_on_failure=False)
    if not isinstance(error, VideoDBError) or not error.retry_is_safe:
        return False
    if isinstance(error, JobUnfinished):
        return False  # the caller set how long to wait, and did not mean several times that
    asked_s = getattr(error, "retry_after_s", None) or 0.0
    if asked_s > _LONGEST_WAIT_S:
        return False
    least_delay_s = (1 - _JITTER) * _DELAYS_S[min(run.run_count, len(_DELAYS_S)) - 1]
    time.sleep(max(0.0, asked_s - least_delay_s))
    return True


# Nothing is cached: an operation of a live stream is asked because its answer changes. Nothing is persisted either: a
# flow that keeps its own result would otherwise keep the answer of every operation on the worker's disk.
OPERATION: dict[str, Any] = {
    "retries": len(_DELAYS_S),
    "retry_delay_seconds": _DELAYS_S,
    "retry_jitter_factor": _JITTER,
    "retry_condition_fn": retry_is_safe,
    "cache_policy": NO_CACHE,
    "persist_result": False,
}
