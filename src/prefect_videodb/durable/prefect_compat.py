"""What this package uses of Prefect that Prefect does not document, each with the versions it was read in.

`tests/worker/test_as_process_worker.py` fails when Prefect changes it.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

from prefect import flow_engine

# 3.8.8, 3.9.1: for each run of a deployment the engine calls this function, which starts a thread with an event loop
# and a WebSocket of its own to learn that the run was suspended. No setting prevents it.
_OBSERVE = "observe_flow_run_suspension"
_observe: Any = getattr(flow_engine, _OBSERVE, None)
_is_observed: ContextVar[bool] = ContextVar("is_observed", default=False)


@contextmanager
def without_suspension_observer() -> Iterator[None]:
    """Execute runs in this context without the engine's own observer: the caller watches for suspension."""
    if _observe is not None:
        setattr(flow_engine, _OBSERVE, _observe_unless_observed)
    token = _is_observed.set(True)
    try:
        yield
    finally:
        _is_observed.reset(token)


def _observe_unless_observed(*args: Any, **kwargs: Any) -> AbstractContextManager[None]:
    if _is_observed.get():
        return nullcontext()
    observer: AbstractContextManager[None] = _observe(*args, **kwargs)
    return observer
