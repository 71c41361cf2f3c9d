"""One firing told in several precisions is one; two firings never are, however they are told."""

import json
import math
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from prefect_videodb.webhooks.alert import Alert, identity
from prefect_videodb.webhooks.firing import RecentFirings, firing_of
from prefect_videodb.webhooks.inbox import NEAR_FIRINGS, Inbox
from prefect_videodb.webhooks.receiver import letter_of
from tests.webhooks.conftest import RECORDED

STREAM = "rts-019711a0-0fde-7911-b282-25bc0b4ecf65"
MICROSECONDS = 1_748_475_396_000_000


def iso(offset_h: float, decimals: int) -> Callable[[int], str]:
    """Return what writes a time in ISO, cut to so many decimals."""

    def write(us: int) -> str:
        moment = datetime.fromtimestamp(us // 1_000_000, timezone(timedelta(hours=offset_h)))
        fraction = f".{us % 1_000_000:06d}"[: decimals + 1] if decimals else ""
        return moment.strftime("%Y-%m-%dT%H:%M:%S") + fraction + moment.strftime("%z")

    return write


def rounded(decimals: int) -> Callable[[int], float]:
    return lambda us: round(us / 1e6, decimals)


# Ways to tell a time. Those that round may tell a moment of the next second.
TIMES: dict[str, Callable[[int], Any]] = {
    "microseconds": iso(0, 6),
    "milliseconds": iso(5.5, 3),
    "hundredths": iso(0, 2),
    "tenths": iso(-8, 1),
    "whole seconds": iso(5.5, 0),
    "a float": lambda us: us / 1e6,
    "whole unix seconds": lambda us: us // 1_000_000,
    "unix milliseconds": lambda us: us // 1000,
    "text of seconds": lambda us: f"{us / 1e6:.6f}s",
}
ROUNDED: dict[str, Callable[[int], Any]] = {
    "rounded to milliseconds": rounded(3),
    "rounded to tenths": rounded(1),
    "rounded to seconds": rounded(0),
}


def alert_of(way: str, start: int, end: int) -> Alert:
    """Return an alert that tells its batch (in microseconds) in one way."""
    if way == "URL":
        low, high = start // 1_000_000 * 1_000_000, math.ceil(end / 1e6) * 1_000_000
        times = {"stream_url": f"https://x/manifests/{STREAM}/{low}-{high}.m3u8"}
    else:
        times = {"start_time": (TIMES | ROUNDED)[way](start), "end_time": (TIMES | ROUNDED)[way](end)}
    told = {"event_id": "e", "label": "door", "rtstream_id": STREAM, "explanation": way, "confidence": 0.5}
    return Alert.model_validate(told | times)


def is_one(one: Alert, other: Alert) -> bool:
    first, second = firing_of(one, "r"), firing_of(other, "r")
    assert first is not None
    assert second is not None
    assert first.is_same(second) == second.is_same(first)
    return first.is_same(second)


WAYS = st.sampled_from([*TIMES, "URL"])
STARTS = st.integers(0, 86_400_000_000).map(lambda us: MICROSECONDS + us)


@settings(max_examples=300)
@given(WAYS, WAYS, STARTS, st.integers(1_000_000, 60_000_000))
@example("milliseconds", "microseconds", MICROSECONDS + 399_600, 10_000_000)
@example("URL", "whole seconds", MICROSECONDS + 999_999, 1_000_000)
def test_idempotency_across_precisions(one: str, other: str, start: int, length: int) -> None:
    assert is_one(alert_of(one, start, start + length), alert_of(other, start, start + length))


@settings(max_examples=200)
@given(st.sampled_from([*ROUNDED]), STARTS, st.integers(3_500_000, 60_000_000))
def test_idempotency_across_rounding(way: str, start: int, length: int) -> None:
    """Of batches of some seconds; shorter ones told like this could be the next one."""
    for exact in ("microseconds", "milliseconds"):
        assert is_one(alert_of(exact, start, start + length), alert_of(way, start, start + length))


@settings(max_examples=300)
@given(WAYS, WAYS, STARTS, st.integers(1_000_000, 60_000_000), st.sampled_from([-1, 1]))
@example("whole seconds", "microseconds", MICROSECONDS + 900_000, 1_000_000, 1)
def test_no_merge_of_adjacent_windows(one: str, other: str, start: int, length: int, after: int) -> None:
    """The next batch is another firing, in whatever form each is told; batches last a second or more."""
    begins = start + after * length
    assert not is_one(alert_of(one, start, start + length), alert_of(other, begins, begins + length))


@settings(max_examples=300)
@given(WAYS, STARTS, st.integers(1_000_000, 5_000_000), st.integers(1_000_000, 60_000_000))
def test_no_merge_of_overlapping_windows(way: str, start: int, step: int, length: int) -> None:
    """Told in one form, windows that begin a second or more apart are two firings, however long they are."""
    assert not is_one(alert_of(way, start, start + length), alert_of(way, start + step, start + step + length))


@given(STARTS, st.integers(250_000, 900_000))
def test_no_merge_of_short_segments(start: int, length: int) -> None:
    """A segment of one word is shorter than a second, and told in milliseconds."""
    start, length = start // 1000 * 1000, length // 1000 * 1000
    one, other = (alert_of("milliseconds", begin, begin + length) for begin in (start, start + length))
    if start % 1_000_000 and (start + length) % 1_000_000:  # cut to whole seconds it would look so, too
        assert not is_one(one, other)


@pytest.mark.parametrize("other", [{"event_id": "other"}, {"rtstream_id": "rts-2"}])
def test_no_merge_of_other_events_and_streams(other: dict[str, str]) -> None:
    one = RECORDED | {"rtstream_id": STREAM}
    assert not is_one(Alert.model_validate(one), Alert.model_validate(one | other))
    assert firing_of(Alert.model_validate(one), "r") != firing_of(Alert.model_validate(one), "s")


def test_same_start_other_end() -> None:
    """Two indexes of a stream cut it into batches of another length, and begin at the same moment."""
    short, long = (alert_of("microseconds", MICROSECONDS + 1, MICROSECONDS + 1 + us) for us in (10**7, 15 * 10**6))
    assert not is_one(short, long)


@pytest.mark.parametrize(
    "times",
    [
        {"start_time": 12.5, "end_time": 22.5},
        {"start_time": "12.500s", "end_time": "22.500s"},
        {"start_time": "12.5", "end_time": "22.50"},
        {"start_time": 12, "end_time": 22},
        {"start": 12.5, "end": 22.5},
        {"start_time": 12.5},
    ],
)
def test_seconds_of_a_stream_across_precisions(times: dict[str, Any]) -> None:
    told = {"event_id": "e", "label": "x", "rtstream_id": "rts-1"}
    first = Alert.model_validate(told | {"start_time": 12.5001, "end_time": 22.5001})
    assert is_one(first, Alert.model_validate(told | times))


# --- in the inbox -----------------------------------------------------------------------------------------------------


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    with closing(Inbox(tmp_path / "inbox.sqlite")) as opened:
        yield opened


def put(inbox: Inbox, alert: Alert, route: str = "door") -> bool | None:
    return inbox.put(letter_of(alert, route, alert.model_dump_json().encode())).result()


def test_first_identity_is_the_idempotency_key(inbox: Inbox) -> None:
    """It is what Prefect is told, however the alert comes again."""
    start = MICROSECONDS + 399_600
    alerts = [alert_of(way, start, start + 10_000_000) for way in (*TIMES, "URL")]
    assert [put(inbox, alert) for alert in alerts] == [True] + [False] * (len(alerts) - 1)
    [waiting] = inbox.waiting("door", 99)
    assert waiting.identity == identity(alerts[0], "door")
    inbox.done([(waiting.seq, "run")]).result()
    assert not any(put(inbox, alert) for alert in alerts)  # what is done comes again
    assert put(inbox, alerts[0], "other") is True


def test_idempotency_of_text_only_differences(inbox: Inbox) -> None:
    again = {"confidence": 0.1, "explanation": "Told anew.", "timestamp": "2025-05-28T23:40:00Z", "player_url": "x"}
    assert put(inbox, Alert.model_validate(RECORDED)) is True
    assert put(inbox, Alert.model_validate(RECORDED | again)) is False
    assert (
        put(inbox, Alert.model_validate({key: RECORDED[key] for key in ("event_id", "label", "stream_url")})) is False
    )


def test_duplicate_lookup_uses_an_index(inbox: Inbox, tmp_path: Path) -> None:
    put(inbox, alert_of("a float", MICROSECONDS, MICROSECONDS + 10**7))
    with closing(sqlite3.connect(tmp_path / "inbox.sqlite")) as database:
        [plan] = database.execute(f"EXPLAIN QUERY PLAN {NEAR_FIRINGS}", ("", 0, 0, 0)).fetchall()
    assert "USING INDEX firings (firing=? AND start_low>? AND start_low<?)" in plan[3]


def test_hostile_firings_are_compared_with_few(inbox: Inbox) -> None:
    """Thousands that begin in the same second, each with another end, cost no more than others."""
    began = time.process_time()
    far = [alert_of("a float", MICROSECONDS + n * 10**7, MICROSECONDS + n * 10**7 + 10**6) for n in range(2000)]
    for one in [inbox.put(letter_of(alert, "door", b"")) for alert in far]:
        one.result()
    spent = time.process_time() - began
    began = time.process_time()
    near = [alert_of("a float", MICROSECONDS, MICROSECONDS + (n + 2) * 10**9) for n in range(2000)]
    for one in [inbox.put(letter_of(alert, "window", b"")) for alert in near]:
        one.result()
    assert time.process_time() - began < 10 * spent + 1


def test_recent_firings_keep_the_first_identity() -> None:
    recent = RecentFirings()
    start = MICROSECONDS + 399_600
    for way in (*TIMES, "URL"):
        firing = firing_of(alert_of(way, start, start + 10_000_000), "door")
        assert firing is not None
        assert recent.first_identity(firing, way) == "microseconds"
    following = firing_of(alert_of("tenths", start + 10_000_000, start + 20_000_000), "door")
    assert following is not None
    assert recent.first_identity(following, "next") == "next"


def test_recorded_alert_against_its_own_url() -> None:
    alert = Alert.model_validate(RECORDED)
    assert alert.batch is not None
    assert alert.batch[0].astimezone(UTC).isoformat() == "2025-05-28T23:36:36.612197+00:00"
    bare = Alert.model_validate(json.loads(json.dumps({k: v for k, v in RECORDED.items() if not k.endswith("_time")})))
    assert is_one(alert, bare)
