"""One look at a watched stream: what is not as it should be. It changes nothing, and takes a few requests."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from prefect_videodb.client import Client, alerts, indexes, streams
from prefect_videodb.client.models import Alert, RTStreamSceneIndex
from prefect_videodb.recording.stream import ERROR
from prefect_videodb.redact import redact_urls
from prefect_videodb.tasks.alerts import DISABLED, definition
from prefect_videodb.tasks.streams import STOPPED
from prefect_videodb.watching.models import Part
from prefect_videodb.watching.wanted import Wanted, one_for_each_index

# Statuses of an index that runs no more. Others than these and `running` may come: they are taken as life.
_ENDED = frozenset({"stopped", "failed", "error"})
_VISUALS = "time"


@dataclass(frozen=True, slots=True)
class Found:
    """Something that is not as it should be.

    Attributes:
        part: what it is about.
        text: what is wrong with it.
        subject: which one of several, where the watch may have several: the route.
        advice: what somebody is to do, where the watch itself can do nothing.
    """

    part: Part
    text: str
    subject: str = ""
    advice: str = ""

    @property
    def key(self) -> str:
        """What is the same of it at each look."""
        return f"{self.part.value}:{self.subject}" if self.subject else self.part.value


@dataclass(slots=True)
class Look:
    """What one look saw."""

    stream_status: str | None = None
    found: list[Found] = field(default_factory=list)
    indexes: dict[str, RTStreamSceneIndex] = field(default_factory=dict)
    """The live indexes of the watches, by name."""
    outdated: list[tuple[str, str]] = field(default_factory=list)
    """Alerts that call back where nobody is meant to be called (any more): index and alert."""
    last_seen: datetime | None = None
    """The end of the newest batch of what is seen."""

    @property
    def stream_is_down(self) -> bool:
        """Whether the service says that it ingests nothing."""
        return self.stream_status in {STOPPED, ERROR}


def look(client: Client, rtstream_id: str, wanted: Sequence[Wanted], event_ids: Mapping[str, str]) -> Look:
    """Compare what is there with what is wanted.

    Args:
        client: to the account.
        rtstream_id: the stream.
        wanted: the watches.
        event_ids: the id of each watch's event, by the watch's key.

    Raises:
        VideoDBError: the service cannot be asked.
    """
    stream = client.send(streams.get(rtstream_id))
    seen = Look(stream_status=stream.status)
    if seen.stream_is_down:
        why = (stream.model_extra or {}).get("status_message")
        seen.found.append(Found(Part.STREAM, f"is {stream.status}" + (f": {redact_urls(str(why))}" if why else "")))
        return seen
    # Running ones last, so that of several of one name a running one counts.
    listed = client.send(indexes.list_all(rtstream_id)).indexes
    by_name = {index.name: index for index in sorted(listed, key=lambda index: index.status not in _ENDED)}
    for one in one_for_each_index(wanted):
        index = by_name.get(one.index_name)
        if index is None:
            seen.found.append(Found(Part.INDEX, f"of what is {_said(one)} is not there"))
            continue
        seen.indexes[one.index_name] = index
        if index.status in _ENDED:
            seen.found.append(Found(Part.INDEX, f"{index.id} of what is {_said(one)} is {index.status}"))
        theirs = [other for other in wanted if other.index_name == one.index_name]
        enabled = [
            alert for alert in client.send(alerts.list_all(rtstream_id, index.id)).alerts if alert.status != DISABLED
        ]
        _judge_alerts(index.id, enabled, theirs, event_ids, seen)
    seen.last_seen = max(_last_batches(client, rtstream_id, seen), default=None)
    return seen


def _said(one: Wanted) -> str:
    return "seen" if one.watch.kind == "visual" else "said"


def _judge_alerts(
    index_id: str, enabled: Sequence[Alert], wanted: Sequence[Wanted], event_ids: Mapping[str, str], seen: Look
) -> None:
    found = [(one, sorted(alert.id for alert in enabled if _is(alert, one, event_ids))) for one in wanted]
    rightly = {same[0] for _, same in found if same}
    # The index is the watch's own, and so are the alerts for its events on it. Other events are somebody else's.
    ours = {event_ids[one.event_key] for one in wanted if one.event_key in event_ids}
    outdated = [alert for alert in enabled if definition(alert.event_id) in ours and alert.id not in rightly]
    for alert in outdated:
        seen.found.append(Found(Part.ALERT, f"{alert.id} calls an address that is outdated, or a second time"))
        seen.outdated.append((index_id, alert.id))
    told = {definition(alert.event_id) for alert in outdated}
    for one, same in found:
        if not same and event_ids.get(one.event_key) not in told:
            told_as = f"of {one.watch.label!r} on index {index_id} is not enabled, or not there"
            seen.found.append(Found(Part.ALERT, told_as))


def _is(alert: Alert, one: Wanted, event_ids: Mapping[str, str]) -> bool:
    return (
        alert.callback_url is not None
        and alert.callback_url.get_secret_value() == one.callback.get_secret_value()
        and definition(alert.event_id) == event_ids.get(one.event_key)
    )


def _last_batches(client: Client, rtstream_id: str, seen: Look) -> Iterator[datetime]:
    """Give the end of the newest batch of each index of what is seen: where nothing is said, silence is no sign."""
    for index in seen.indexes.values():
        if index.extraction_type == _VISUALS and index.status not in _ENDED:
            page = client.send(indexes.scene_page(rtstream_id, index.id, page=1, page_size=1))
            for scene in page.scenes[:1]:
                with suppress(ValueError, OverflowError, OSError):  # a number that is no moment
                    yield datetime.fromtimestamp(scene.end or 0.0, UTC)
