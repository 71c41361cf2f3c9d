"""In which time zone the times of a run are shown.

That of its deployment's schedule; else that of its `end_time`; else that of the worker's environment (`TZ`, as
`Europe/Berlin`); else UTC. What is stored and compared is UTC: of two moments in one zone that has summer time, Python
compares what the clocks on the wall show.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

import httpx
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import PrefectException

from prefect_videodb._asking import asking_once
from prefect_videodb._logging import get_logger
from prefect_videodb.recording.memory import Memory

# What a run remembers of it.
ZONE = "time_zone"
_UTC_NAMES = frozenset({"UTC", "Etc/UTC", "Z", "+00:00"})
_ANSWER_WITHIN_S = 5.0

_current: ContextVar[tzinfo | None] = ContextVar("time_zone", default=None)


def zone_named(name: str | None) -> tzinfo | None:
    """Return the zone of an IANA name or of an offset as `+05:30`; None where there is none of that name."""
    if not name:
        return None
    if name in _UTC_NAMES:
        return UTC
    try:
        if name[0] in "+-":
            return datetime.strptime(name, "%z").tzinfo
        return ZoneInfo(name)
    except (ValueError, KeyError, OSError):  # no such zone, or a name that leads elsewhere than to a zone
        return None


def name_of(zone: tzinfo | None) -> str:
    """Return what `zone_named` makes the same zone of: its IANA name, or its offset."""
    if isinstance(zone, ZoneInfo) and zone.key:
        return zone.key
    now = datetime.now(zone or UTC)
    return now.isoformat()[-len("+00:00") :] if now.utcoffset() else "UTC"


def zone_of(known: Mapping[str, str]) -> tzinfo:
    """Return the zone in which the times of a run are shown, from what the run has written down."""
    return zone_named(known.get(ZONE)) or _of_environment()


def current_zone() -> tzinfo:
    """Return the zone in which the times of the run of this context are shown."""
    return _current.get() or _of_environment()


@contextmanager
def showing_times_in(zone: tzinfo) -> Iterator[None]:
    """Show times in this zone within the block."""
    token = _current.set(zone)
    try:
        yield
    finally:
        _current.reset(token)


def zone_of_run(memory: Memory, end_time: datetime | None) -> tzinfo:
    """Return the zone in which the times of the run of this context are shown: found out once in its life.

    Prefect is asked once, for a few seconds. What was found is written down with what is written next.

    Args:
        memory: of the run.
        end_time: when the run is to end, in the zone in which that was given.
    """
    if known := zone_named(memory.recall(ZONE)):
        return known
    zone = zone_of_schedules(_schedules(memory)) or (end_time.tzinfo if end_time else None) or _of_environment()
    memory.note(**{ZONE: name_of(zone)})
    return zone


def _schedules(memory: Memory) -> list[DeploymentSchedule]:
    if not memory.run.deployment_id:
        return []
    where = {"id": memory.run.deployment_id}
    try:
        with asking_once():
            answer = memory.prefect.request(
                "GET", "/deployments/{id}/schedules", path_params=where, timeout=_ANSWER_WITHIN_S
            )
        return [DeploymentSchedule.model_validate(one) for one in answer.raise_for_status().json()]
    except (httpx.HTTPError, PrefectException, ValueError) as error:
        get_logger().warning("Prefect could not be asked for the schedule's time zone: %s", error)
        return []


def zone_of_schedules(schedules: Sequence[DeploymentSchedule]) -> tzinfo | None:
    """Return the zone of the first schedule that names one, an active one first; None when none does."""
    for one in sorted(schedules, key=lambda one: not one.active):
        name = getattr(one.schedule, "timezone", None)  # a deployment may have a schedule that is none
        # Prefect fills `UTC` in where an interval or a rule was made without a zone.
        if (isinstance(one.schedule, CronSchedule) or name != "UTC") and (zone := zone_named(name)):
            return zone
    return None


def _of_environment() -> tzinfo:
    return zone_named(os.environ.get("TZ", "").removeprefix(":")) or UTC
