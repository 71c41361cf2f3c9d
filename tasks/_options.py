"""What all tasks have in common: when they are retried, and that nothing is cached."""

import time
from typing import Any

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun

from prefect_videodb.errors import JobUnfinished, VideoDBError

_DELAYS_S = [1.0, 3.0, 10.0, 30.0]
_JITTER = 0.3
# A service that asks to wait for longer than this is down for this task: it fails, and says so.
_LONGEST_WAIT_S = 300.0


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
