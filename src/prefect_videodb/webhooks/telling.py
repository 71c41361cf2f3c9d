"""What Prefect is told of a letter: the event, the names. What it was told before is read back here, too."""

import re
from typing import Any
from uuid import UUID, uuid5

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterIdempotencyKey
from prefect.events import Event, RelatedResource, Resource

from prefect_videodb.webhooks.mail import Waiting

_ORDINARY = re.compile(r"[^A-Za-z0-9_.-]+")
_NAMESPACE = UUID("6f1d7c5e-0d0e-4c57-9b1b-5c1f3c3f6a4e")
_RUN = "prefect.flow-run."
_FOLLOW_UP = "follow-up"


def idempotency_key_of(letter: Waiting) -> str:
    """Give what Prefect's database keeps unique: no second run is made of a letter."""
    return f"videodb-{letter.identity}"


def run_name_of(letter: Waiting) -> str:
    """Give the name of the run that is made of a letter."""
    return f"{_plain(_name(letter))}-{letter.identity[:8]}"


def event_of(letter: Waiting, flow_run_id: str) -> Event:
    """Make the event of a letter; its id is the letter's own, so that Prefect keeps it once."""
    stream = str(letter.told.get("rtstream_id") or "unknown")
    related = [_related(flow_run_id, _FOLLOW_UP)]
    if watched_by := letter.told.get("flow_run_id"):
        related.append(_related(str(watched_by), "watch"))
    return Event(
        event=f"videodb.{letter.kind}.{_plain(_name(letter))}",
        resource=Resource(
            {
                "prefect.resource.id": f"videodb.rtstream.{_plain(stream)}",
                "prefect.resource.name": stream[:200],
                "videodb.route": letter.route,
            }
        ),
        related=related,
        payload=letter.told,
        id=_event_id(letter),
    )


async def run_told_of(prefect: PrefectClient, letter: Waiting) -> str | None:
    """Give the run that the event of a letter names; None where Prefect has no such event (any more)."""
    wanted = {"filter": {"id": {"id": [str(_event_id(letter))]}}, "limit": 1}
    events: list[dict[str, Any]] = (await prefect.request("POST", "/events/filter", json=wanted)).json()["events"]
    for one in [related for event in events for related in event["related"]]:
        run: str = one.get("prefect.resource.id", "")
        if one.get("prefect.resource.role") == _FOLLOW_UP and run.startswith(_RUN):
            return run.removeprefix(_RUN)
    return None


async def run_made_of(prefect: PrefectClient, letter: Waiting) -> str | None:
    """Give the run that was made of a letter; None where there is none."""
    runs = await prefect.read_flow_runs(
        flow_run_filter=FlowRunFilter(idempotency_key=FlowRunFilterIdempotencyKey(any_=[idempotency_key_of(letter)])),
        limit=1,
    )
    return str(runs[0].id) if runs else None


def _event_id(letter: Waiting) -> UUID:
    return uuid5(_NAMESPACE, letter.identity)


def _related(flow_run_id: str, role: str) -> RelatedResource:
    return RelatedResource({"prefect.resource.id": f"{_RUN}{flow_run_id}", "prefect.resource.role": role})


def _name(letter: Waiting) -> str:
    return str(letter.told.get("label") or letter.told.get("event") or letter.kind)


def _plain(text: str) -> str:
    """Make of any text a part of an event's or run's name."""
    return _ORDINARY.sub("-", text).strip("-")[:100] or "alert"
