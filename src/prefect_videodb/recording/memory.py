"""What a flow run must know again when it is executed a second time, kept with the run in Prefect.

A worker's disk and memory are gone with the worker. The labels of a flow run are in Prefect's database: every worker
reads them, and they survive whatever happens to the process.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal, Self
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectException

from prefect_videodb._asking import asking_once
from prefect_videodb._logging import get_logger
from prefect_videodb.recording.models import Window
from prefect_videodb.recording.sharing import have_written, labels_of

_PREFIX = "videodb."
# A watch that fails while it connects stops what it made itself.
_TELLS_OF_STREAM = frozenset({"asked_at", "rtstream_id"})
# Prefect on SQLite refuses a label while something else is written (503: it reads before it writes). Trying again
# helps; its client would wait for a minute in all, in front of a meeting that begins now.
_WRITE_WITHIN_S = 10.0
_PAUSE_S = 0.2
# A Prefect that hangs must not delay the end that is asked for.
_ANSWER_WITHIN_S = 5.0


class Memory:
    """The memory of one flow run. Reading it fails when Prefect is away; writing logs that, and goes on.

    Without its memory a second execution would still find the stream by its name. The recording must not be lost for
    a label that could not be written; it is written with the next one.
    """

    def __init__(self, flow_run_id: str, prefect: SyncPrefectClient) -> None:
        self._id = UUID(flow_run_id)
        self.prefect = prefect
        run = _read_by_engine(self._id) or prefect.read_flow_run(self._id)
        self._known = _ours(run.labels)
        self._unsaved: dict[str, str] = {}
        self.run = run
        """The run, as it was when this execution began."""
        self.is_of_deployment = run.deployment_id is not None
        """Whether a worker executes the run: only such a one is executed again."""

    @property
    def known(self) -> Mapping[str, str]:
        """All that was remembered."""
        return self._known

    @classmethod
    @contextmanager
    def of(cls, flow_run_id: str) -> Iterator[Self]:
        """Open the memory of a run, over one connection to Prefect for all that is written."""
        # Made without settings it is the one that the engine has open: what shares a process shares a connection, and
        # two writes at once are what Prefect on SQLite refuses.
        with get_client(sync_client=True) as prefect:
            yield cls(flow_run_id, prefect)

    def refresh(self) -> None:
        """Write what could not be written before, and read again what somebody else may have written.

        When Prefect is away or hangs, what is known counts.
        """
        try:
            if self._unsaved:
                self._write()
            labels = labels_of(self._id, self._read_labels)
        except (httpx.HTTPError, PrefectException) as error:
            get_logger().warning("Prefect could not be asked for the run's end: %s", error)
            return
        self._known |= _ours(labels) | self._unsaved

    def read_run(self) -> FlowRun:
        """Read the run as it is now; a Prefect that hangs or refuses is not waited for.

        Raises:
            httpx.HTTPError, PrefectException: Prefect cannot be asked.
        """
        return FlowRun.model_validate(self._ask("GET", "/flow_runs/{id}").json())

    def read_states(self) -> list[State[Any]]:
        """Read all states that the run was in.

        Raises:
            httpx.HTTPError, PrefectException: Prefect cannot be asked.
        """
        found = self._ask("GET", "/flow_run_states/", params={"flow_run_id": str(self._id)}).json()
        return [State[Any].model_validate(one) for one in found]

    def _read_labels(self, flow_run_ids: Sequence[UUID]) -> dict[UUID, Mapping[str, Any]]:
        asked = {"flow_runs": {"id": {"any_": [str(known) for known in flow_run_ids]}}, "limit": len(flow_run_ids)}
        answer = self._ask("POST", "/flow_runs/filter", json=asked)
        return {UUID(run["id"]): run["labels"] for run in answer.json()}

    def recall(self, key: str) -> str | None:
        """Give what was remembered under this key; None when nothing was."""
        return self._known.get(key)

    def recall_window(self) -> Window | None:
        """Give the planned window of the recording; None before it was planned."""
        return planned_window(self._known)

    def remember(self, **values: str) -> None:
        """Write down, for a second execution of this run."""
        self.note(**values)
        self.save()

    def note(self, **values: str) -> None:
        """Remember, and write it down with what is written down next."""
        self._known |= values
        self._unsaved |= values

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
        self._ask("PATCH", "/flow_runs/{id}/labels", json=label(**self._unsaved))
        have_written(self._id)
        self._unsaved = {}

    def _ask(self, method: Literal["GET", "PATCH", "POST"], path: Any, **body: Any) -> httpx.Response:
        """Ask once, for a few seconds: Prefect's client by itself would go on for minutes."""
        where = {"id": self._id} if "{id}" in path else None
        with asking_once():
            answer = self.prefect.request(method, path, path_params=where, timeout=_ANSWER_WITHIN_S, **body)
        return answer.raise_for_status()

    def remember_window(self, window: Window) -> None:
        """Write the planned window down."""
        self.remember(**_texts_of(window))


def _read_by_engine(flow_run_id: UUID) -> FlowRun | None:
    """Give the run as the engine read it when this execution began; None outside of it."""
    context = FlowRunContext.get()
    return context.flow_run if context and context.flow_run and context.flow_run.id == flow_run_id else None


def remembered(run: FlowRun) -> dict[str, str]:
    """Give what a run has written down, to somebody who is not that run."""
    return _ours(run.labels)


def may_have_stream(run: FlowRun) -> bool:
    """Whether a run asked for a stream, by what it has written down. Where Prefect cannot be asked, it may have.

    Args:
        run: as a hook is given it, which is older than what the run has written down since.
    """
    try:
        with get_client(sync_client=True) as prefect:
            run = prefect.read_flow_run(run.id)
    except (httpx.HTTPError, PrefectException) as error:
        get_logger().warning("Prefect could not be asked whether the run has a stream: %s", error)
        return True
    known = remembered(run)
    return any(known.get(key) for key in _TELLS_OF_STREAM)


def label(**values: str) -> dict[str, Any]:
    """Give the labels that hold these, for somebody who is not that run."""
    return {_PREFIX + key: value for key, value in values.items()}


def label_window(window: Window) -> dict[str, Any]:
    """Give the labels that hold a planned window, for somebody who is not that run."""
    return label(**_texts_of(window))


def _texts_of(window: Window) -> dict[str, str]:
    # Always UTC: who compares two moments of a zone with summer time compares clocks on the wall.
    start, end = (moment.astimezone(UTC).isoformat() for moment in (window.start, window.end))
    return {"window_start": start, "window_end": end}


def planned_window(known: Mapping[str, str]) -> Window | None:
    """Read the planned window out of what a run has written down; None before it was planned."""
    start, end = known.get("window_start"), known.get("window_end")
    return Window(start=datetime.fromisoformat(start), end=datetime.fromisoformat(end)) if start and end else None


def _ours(labels: Mapping[str, Any]) -> dict[str, str]:
    return {key.removeprefix(_PREFIX): str(value) for key, value in labels.items() if key.startswith(_PREFIX)}
