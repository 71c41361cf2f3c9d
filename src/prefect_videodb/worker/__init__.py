"""A Prefect worker that executes flow runs inside its own process: `prefect worker start --type videodb-in-process`.

For flows that mostly wait for others, as recordings do. `docs/workers.md` says when to use which worker.
"""

from prefect_videodb.worker.worker import DEFAULT_LIMIT, InProcessWorker

__all__ = ["DEFAULT_LIMIT", "InProcessWorker"]
