"""Load each flow once."""

import threading
from typing import Any

from prefect import Flow
from prefect.client.schemas.responses import DeploymentResponse
from prefect.flows import load_flow_from_entrypoint


class CannotBeLoaded(Exception):
    """The flow of a deployment cannot be loaded into the worker; the message says why."""


class Flows:
    """The flows that this process has loaded. Loading is serialized: importing twice at once is not safe everywhere."""

    def __init__(self) -> None:
        self._loaded: dict[str, Flow[..., Any]] = {}
        self._lock = threading.Lock()

    def load(self, deployment: DeploymentResponse) -> Flow[..., Any]:
        """Give a deployment's flow. Blocks while it is imported.

        Raises:
            CannotBeLoaded: the deployment is not made for this worker, or importing its flow failed.
        """
        entrypoint = deployment.entrypoint
        if not entrypoint:
            raise CannotBeLoaded("the deployment has no entrypoint")
        if ":" in entrypoint or deployment.pull_steps or deployment.storage_document_id:
            raise CannotBeLoaded(
                f"{entrypoint!r} is loaded from a file or has pull steps, which change the working directory and the "
                "module path of the whole worker. Install the flow's package, give its module path as the entrypoint "
                "and `pull: []`, or run the deployment on a work pool of type `process`"
            )
        with self._lock:
            if entrypoint not in self._loaded:
                self._loaded[entrypoint] = _loaded(entrypoint)
            return self._loaded[entrypoint]


def _loaded(entrypoint: str) -> Flow[..., Any]:
    try:
        return load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a module that exits when it is imported must not end the worker
        raise CannotBeLoaded(f"importing {entrypoint!r} failed: {type(error).__name__}: {error}") from error
