"""Whether a recording's source delivers anything, told once when it does not, and once when it does again.

The service may call a stream `connected` whose source is dead. What shows that something arrives is that its last
seconds can be played. Where that cannot be asked, nothing is known, and that is said.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import NAMESPACE_URL, UUID, uuid5

from prefect.client.schemas.objects import FlowRun
from prefect.events import emit_event
from prefect.logging.loggers import flow_run_logger

from prefect_videodb._logging import get_logger
from prefect_videodb.client import Client, streams
from prefect_videodb.client.models import RTStream
from prefect_videodb.client.playlist import read_playlist
from prefect_videodb.errors import InvalidRequest, NotFound, VideoDBError
from prefect_videodb.recording.text import as_moment, clock, one_line
from prefect_videodb.redact import foreign, redact_urls
from prefect_videodb.tasks.streams import ERROR, STOPPED

SOURCE_LOST: Final = "videodb.source.lost"
SOURCE_RECOVERED: Final = "videodb.source.recovered"
# What a run remembers: since when its source delivers nothing (empty when it does), when it came back, how often it
# was lost, and why as the service has it.
LOST, BACK, OUTAGES, REASON = "source_lost", "source_back", "source_outages", "source_reason"
# A segment is as long as its source's key frames are apart, 10 s for many cameras. With a pass every five minutes a
# death is told within six.
PROBED: Final = timedelta(seconds=30)
# So long may a source take until something of it can be played.
FIRST_SIGN: Final = timedelta(seconds=40)
_TIMEOUT_S = 5.0
_LONGEST_REASON = 300


class Liveness(StrEnum):
    """Whether the source of a stream delivers."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Ingest:
    """What a probe of a stream found: when, and why. `status` is the stream's, as the service has it."""

    rtstream_id: str
    at: datetime
    liveness: Liveness
    reason: str = ""
    status: str | None = None


def look_at_source(client: Client, rtstream_id: str) -> Ingest:
    """Read a stream, and find out whether something of its last seconds can be played.

    Args:
        client: to the account.
        rtstream_id: the stream.
    """
    try:
        stream = client.send(streams.get(rtstream_id))
    except VideoDBError as error:
        return Ingest(rtstream_id, datetime.now(UTC), Liveness.UNKNOWN, one_line(str(error)))
    return check_ingest(client, stream)


def check_ingest(client: Client, stream: RTStream) -> Ingest:
    """Find out whether something of the last seconds of a stream can be played. Two requests, each a small one.

    Args:
        client: to the account.
        stream: as the service described it last.
    """
    now = datetime.now(UTC)

    def found(liveness: Liveness, reason: str = "") -> Ingest:
        return Ingest(stream.id, now, liveness, reason, stream.status)

    if stream.status in {STOPPED, ERROR}:
        return found(Liveness.UNKNOWN, f"the stream is {stream.status}")
    since = now - PROBED
    told = f"; VideoDB says: {said}" if (said := why(stream)) else ""
    nothing = found(Liveness.DEAD, f"nothing of its last {PROBED.total_seconds():.0f} s can be played{told}")
    try:
        window = streams.playback(stream.id, math.floor(since.timestamp()), math.ceil(now.timestamp()))
        link = client.send(window).stream_url
        if not link:
            return found(Liveness.UNKNOWN, "the service gives no link to its last seconds")
        playlist = read_playlist(link, base_url=client.base_url, timeout_s=_TIMEOUT_S)
    except (NotFound, InvalidRequest):
        return nothing
    except VideoDBError as error:
        return found(Liveness.UNKNOWN, one_line(str(error)))
    is_recent = playlist.until is None or playlist.until > since
    return found(Liveness.ALIVE) if playlist.segments and is_recent else nothing


def why(stream: RTStream) -> str:
    """Return what the service says about a stream beside its status; empty where it says nothing."""
    return foreign(redact_urls(str((stream.model_extra or {}).get("status_message") or "")), longest=_LONGEST_REASON)


def outage_text(known: Mapping[str, str]) -> str:
    """Return as sentences what is to be shown of a source that was lost; empty where it never was.

    Args:
        known: what the run has written down.
    """
    if lost := as_moment(known.get(LOST)):
        reason = f" ({known[REASON]})" if known.get(REASON) else ""
        return f"Its source delivers nothing since about {clock(lost)}{reason}: check that it is on, and its URL."
    if back := as_moment(known.get(BACK)):
        return f"Its source was away, and delivers again since {clock(back)}."
    return ""


def is_change(known: Mapping[str, str], found: Ingest) -> bool:
    """Whether it is news what a probe found. A source that has just been connected is given time."""
    if found.liveness is Liveness.DEAD:
        began = _began(known)
        return not known.get(LOST) and (began is None or found.at >= began + FIRST_SIGN)
    return found.liveness is Liveness.ALIVE and bool(known.get(LOST))


def _began(known: Mapping[str, str]) -> datetime | None:
    """Return when the source was connected last: with the window, or later."""
    return as_moment(known.get("part_began")) or as_moment(known.get("window_start"))


def tell_change(run: FlowRun | UUID, title: str, known: Mapping[str, str], found: Ingest) -> dict[str, str]:
    """Log, and emit as an event, that the source of a recording was lost or came back, where that is news.

    The event has the same id whoever tells of an outage, and how often: Prefect keeps one.

    Args:
        run: the run that records; its id alone where it is the run of this context.
        title: what the recording is called.
        known: what the run has written down.
        found: what a probe of its stream found.

    Returns:
        What the run is to write down now that it was told; empty where there is no news.
    """
    if not is_change(known, found):
        return {}
    count = int(known[OUTAGES]) if known.get(OUTAGES, "").isdecimal() else 0
    if found.liveness is Liveness.DEAD:
        since = (found.at - PROBED).isoformat()
        began = _began(known)
        lost_at = began.isoformat() if began and began > found.at - PROBED else since
        news = {LOST: lost_at, REASON: found.reason[:_LONGEST_REASON], OUTAGES: str(count + 1)}
        event, level, payload = SOURCE_LOST, logging.WARNING, {"since": lost_at, "reason": found.reason}
        text = f"The source of {title} delivers nothing: {found.reason}. Check that it is on, and its URL."
    else:
        was_lost = known[LOST]
        news = {LOST: "", REASON: "", BACK: found.at.isoformat()}
        event, level, payload = SOURCE_RECOVERED, logging.INFO, {"since": was_lost, "until": found.at.isoformat()}
        text = (
            f"The source of {title} delivers again; it was away since about {clock(datetime.fromisoformat(was_lost))}"
        )
    run_id = run if isinstance(run, UUID) else run.id
    emit_event(
        event=event,
        resource={"prefect.resource.id": f"videodb.rtstream.{found.rtstream_id}", "prefect.resource.name": title},
        related=[{"prefect.resource.id": f"prefect.flow-run.{run_id}", "prefect.resource.role": "recording"}],
        payload=payload,
        id=uuid5(NAMESPACE_URL, f"{event}/{run_id}/{news.get(OUTAGES) or count}"),
    )
    get_logger().log(level, "%s", text)
    if isinstance(run, FlowRun):
        flow_run_logger(run).log(level, "%s", text)  # who looks at the recording reads its log
    return news
