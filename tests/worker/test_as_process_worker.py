"""What Prefect knows of a run under this worker is what it knows under its process worker."""

import re
from pathlib import Path
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate

from tests.support.processes import ROOT
from tests.support.programs import running_worker
from tests.worker.conftest import Pool, Run

_HEARTBEATS = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30", "PYTHONPATH": str(ROOT)}
# Ours starts no infrastructure.
_ONLY_PROCESS = {"prefect.flow-run.Submitting"}
_LABELS = {"prefect.worker.name", "prefect.worker.type", "prefect.work-pool.name", "prefect.work-pool.id"}


def test_same_events_and_labels_as_process_worker(pool: Pool, tmp_path: Path) -> None:
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=f"{pool.name}-process", type="process"))
    seen: list[tuple[dict[str, Any], set[str]]] = []
    for name, observers in ((f"{pool.name}-process", 1), (pool.name, 0)):
        here = Pool(name, tmp_path, pool.exits)
        deployment = here.deploy("tests.worker.sample_flows.emit", "emit")
        run = here.run_of(deployment)
        with running_worker(tmp_path, name, environment=_HEARTBEATS):
            run.wait_for_state("Completed")
            run.wait_until(lambda run=run: "prefect.worker.executed-flow-run" in _events(run), "its last event")
        assert run.notes() == [
            f"hook names {deployment}",
            f"runtime names {deployment}",
            f"observers: {observers}",
        ]
        labels = run.read().labels
        assert labels["prefect.work-pool.name"] == name
        seen.append((_events(run), {label for label in labels if label in _LABELS}))
    (process, process_labels), (ours, our_labels) = seen
    assert ours == {name: related for name, related in process.items() if name not in _ONLY_PROCESS}
    assert our_labels == process_labels == _LABELS


def _events(run: Run) -> dict[str, set[tuple[str, str, str]]]:
    """Return what each event of a run is related to: the roles, the kinds, and the names that are alike."""
    body = {"filter": {"any_resource": {"id": [f"prefect.flow-run.{run.id}"]}}, "limit": 50}
    with get_client(sync_client=True) as client:
        events = client.request("POST", "/events/filter", json=body).json()["events"]
    return {event["event"]: {_described(one) for one in [event["resource"], *event["related"]]} for event in events}


def _described(resource: dict[str, str]) -> tuple[str, str, str]:
    kind = re.sub(r"\.[0-9a-f-]{36}$|\.(process|videodb-in-process)\..*", "", resource["prefect.resource.id"])
    name = resource.get("prefect.resource.name", "") if kind in {"prefect.flow", "prefect.work-queue"} else ""
    return resource.get("prefect.resource.role", ""), kind, name
