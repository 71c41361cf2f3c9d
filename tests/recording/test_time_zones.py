"""In which time zone the times of a run are shown."""

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule

from prefect_videodb.recording.text import clock
from prefect_videodb.recording.time_zones import (
    ZONE,
    current_zone,
    name_of,
    showing_times_in,
    zone_named,
    zone_of,
    zone_of_schedules,
)

BERLIN = ZoneInfo("Europe/Berlin")
LONDON = ZoneInfo("Europe/London")
NEWFOUNDLAND = timezone(-timedelta(hours=3, minutes=30))
NO_ZONES = ["Europe/Nowhere", "../../etc/passwd", "Europe", "", "+99:99", "\0", "CET-1CEST", None]


@pytest.fixture(autouse=True)
def no_zone_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TZ", raising=False)


def cron(zone: str | None, *, active: bool = True) -> DeploymentSchedule:
    return DeploymentSchedule(schedule=CronSchedule(cron="0 9 * * *", timezone=zone), active=active)


def every_hour(**more: Any) -> DeploymentSchedule:
    return DeploymentSchedule(schedule=IntervalSchedule(interval=timedelta(hours=1), **more))


@pytest.mark.parametrize(
    ("moment", "zone", "shown"),
    [
        (datetime(2026, 11, 23, 9, 0, tzinfo=UTC), BERLIN, "2026-11-23 10:00:00 Europe/Berlin (UTC+01:00)"),
        # The hour that is there twice.
        (datetime(2026, 10, 25, 0, 30, tzinfo=UTC), BERLIN, "2026-10-25 02:30:00 Europe/Berlin (UTC+02:00)"),
        (datetime(2026, 10, 25, 1, 30, tzinfo=UTC), BERLIN, "2026-10-25 02:30:00 Europe/Berlin (UTC+01:00)"),
        # The hour that is not there.
        (datetime(2026, 3, 29, 1, 0, tzinfo=UTC), BERLIN, "2026-03-29 03:00:00 Europe/Berlin (UTC+02:00)"),
        (datetime(2026, 1, 5, 9, 0, tzinfo=UTC), LONDON, "2026-01-05 09:00:00 Europe/London (UTC+00:00)"),
        (datetime(2026, 1, 5, 9, 0, tzinfo=UTC), NEWFOUNDLAND, "2026-01-05 05:30:00 UTC-03:30"),
        (datetime(2026, 1, 5, 9, 0, tzinfo=UTC), UTC, "2026-01-05 09:00:00 UTC"),
        (datetime(2026, 1, 5, 9, 0, tzinfo=BERLIN), None, "2026-01-05 08:00:00 UTC"),
        (datetime(2026, 1, 5, 9, 0), None, "2026-01-05 09:00:00"),  # noqa: DTZ001 - as a sender without a zone tells it
        (datetime.max.replace(tzinfo=UTC), BERLIN, "9999-12-31 23:59:59 UTC"),
    ],
)  # fmt: skip
def test_time_zone_name_and_offset(moment: datetime, zone: tzinfo | None, shown: str) -> None:
    assert clock(moment, zone) == shown


def test_time_zone_of_the_context() -> None:
    moment = datetime(2026, 7, 1, 9, 0, tzinfo=UTC)
    with showing_times_in(BERLIN):
        assert clock(moment) == "2026-07-01 11:00:00 Europe/Berlin (UTC+02:00)"
    assert clock(moment) == "2026-07-01 09:00:00 UTC"


@pytest.mark.parametrize(
    "name", ["Europe/Nowhere", "../../etc/passwd", "Europe", "", "+99:99", "\0", "CET-1CEST", None]
)
def test_invalid_time_zone(name: str | None) -> None:
    assert zone_named(name) is None


@pytest.mark.parametrize("zone", [BERLIN, UTC, timezone(timedelta(hours=5, minutes=30)), timezone(-timedelta(hours=3))])
def test_time_zone_round_trip(zone: tzinfo) -> None:
    now = datetime.now(UTC)
    again = zone_named(name_of(zone))
    assert again is not None
    assert now.astimezone(again).utcoffset() == now.astimezone(zone).utcoffset()


def test_time_zone_of_a_schedule() -> None:
    assert zone_of_schedules([]) is None
    assert zone_of_schedules([cron("Europe/Berlin", active=False)]) == BERLIN
    assert zone_of_schedules([cron("Asia/Tokyo", active=False), cron("Europe/Berlin")]) == BERLIN
    assert zone_of_schedules([every_hour(), cron(None), cron("Europe/Berlin")]) == BERLIN
    assert zone_of_schedules([cron("UTC"), cron("Europe/Berlin")]) == UTC


def test_time_zone_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert current_zone() == UTC
    monkeypatch.setenv("TZ", ":Europe/Berlin")
    assert current_zone() == zone_of({}) == BERLIN
    assert zone_of({ZONE: "Asia/Tokyo"}) == ZoneInfo("Asia/Tokyo")
    monkeypatch.setenv("TZ", "not a zone")
    assert zone_of({ZONE: "not one either"}) == UTC
