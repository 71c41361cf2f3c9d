"""What a flow run must know again when it is executed a second time, kept with the run in Prefect.

A worker's disk and memory are gone with the worker. The labels of a flow run are in Prefect's database: every worker
reads them, and they survive whatever happens to the process.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Self
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import PrefectException
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from prefect_videodb._logging import get_logger
from prefect_videodb.recording.models import Window

_PREFIX = "videodb."
# Prefect on SQLite refuses most labels of a busy server (503: it reads before it writes, and somebody wrote between).
# Trying again at once helps; its client would wait for a minute in all, in front of a meeting that begins now.
_WRITE_WITHIN_S = 10.0
_PAUSE_S = 0.2
# A Prefect that hangs must not delay the end that is asked for.
_ANSWER_WITHIN_S = 5.0


class Memory:
    """The memory of one flow run. Reading it fails when Prefect is away; writing logs that, and goes on.

    Without its memory a second execution would still find the stream by its name. The recording must not be lost for
    a label that could not be written; it is written with the next one.
    """

    def __init__(self, flow_run_id: str, prefect: SyncPrefectClient, hasty: SyncPrefectClient) -> None:
        self._id = UUID(flow_run_id)
        self.prefect = prefect
        self._hasty = hasty
        run = prefect.read_flow_run(self._id)
        self._known = _ours(run.labels)
        self._unsaved: dict[str, str] = {}
        self.is_of_deployment = run.deployment_id is not None
        """Whether a worker executes the run: only such a one is executed again."""

    @classmethod
    @contextmanager
    def of(cls, flow_run_id: str) -> Iterator[Self]:
        """Open the memory of a run, over one connection to Prefect for all that is written."""
        settings: dict[str, Any] = {"timeout": _ANSWER_WITHIN_S, "event_hooks": {"response": [_do_not_wait]}}
        with get_client(sync_client=True) as prefect, get_client(settings, sync_client=True) as hasty:
            yield cls(flow_run_id, prefect, hasty)

    def refresh(self) -> None:
        """Write what could not be written before, and read again what somebody else may have written.

        When Prefect is away or hangs, what is known counts.
        """
        try:
            if self._unsaved:
                self._write()
            labels = self.read_run().labels
        except (httpx.HTTPError, PrefectException) as error:
            get_logger().warning("Prefect could not be asked for the run's end: %s", error)
            return
        self._known |= _ours(labels) | self._unsaved

    def read_run(self) -> FlowRun:
        """Read the run as it is now; a Prefect that hangs or refuses is not waited for.

        Raises:
            httpx.HTTPError, PrefectException: Prefect cannot be asked.
        """
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
            return self._hasty.read_flow_run(self._id)

    def recall(self, key: str) -> str | None:
        """Give what was remembered under this key; None when nothing was."""
        return self._known.get(key)

    def recall_window(self) -> Window | None:
        """Give the planned window of the recording; None before it was planned."""
        return planned_window(self._known)

    def remember(self, **values: str) -> None:
        """Write down, for a second execution of this run."""
        self._known |= values
        self._unsaved |= values
        self.save()

    def save(self) -> bool:
        """Write down what could not be written before. Gives whether Prefect knows everything now."""
        if not self._unsaved:
            return True
        deadline = time.monotonic() + _WRITE_WITHIN_S
        while True:
            try:
                self._write()
            except (httpx.HTTPError, PrefectException) as error:
                if time.monotonic() >= deadline:
                    get_logger().warning("Prefect could not be told %s: %s", ", ".join(self._unsaved), error)
                    return False
                time.sleep(_PAUSE_S)
            else:
                return True

    def _write(self) -> None:
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
            self._hasty.update_flow_run_labels(self._id, label(**self._unsaved))
        self._unsaved = {}

    def remember_window(self, window: Window) -> None:
        """Write the planned window down."""
        self.remember(window_start=window.start.isoformat(), window_end=window.end.isoformat())


def _do_not_wait(response: httpx.Response) -> None:
    """Have Prefect's client give a refusal back at once that it would wait after."""
    if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        raise httpx.HTTPStatusError("Prefect is busy (503)", request=response.request, response=response)


def remembered(run: FlowRun) -> dict[str, str]:
    """Give what a run has written down, to somebody who is not that run."""
    return _ours(run.labels)


def label(**values: str) -> dict[str, Any]:
    """Give the labels that hold these, for somebody who is not that run."""
    return {_PREFIX + key: value for key, value in values.items()}


def planned_window(known: Mapping[str, str]) -> Window | None:
    """Read the planned window out of what a run has written down; None before it was planned."""
    start, end = known.get("window_start"), known.get("window_end")
    return Window(start=datetime.fromisoformat(start), end=datetime.fromisoformat(end)) if start and end else None


def _ours(labels: Mapping[str, Any]) -> dict[str, str]:
    return {key.removeprefix(_PREFIX): str(value) for key, value in labels.items() if key.startswith(_PREFIX)}
