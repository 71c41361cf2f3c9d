"""Keep a watch alive: look, put right what is amiss, tell it once, remember how it was."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx
from prefect.exceptions import PrefectException

from prefect_videodb._asking import asking_once
from prefect_videodb._clock import counting_down
from prefect_videodb._logging import get_logger
from prefect_videodb.errors import VideoDBError
from prefect_videodb.recording.stream import make_sure_it_ingests
from prefect_videodb.recording.text import clock, plain
from prefect_videodb.tasks import stop_rtstream
from prefect_videodb.tasks.streams import STOPPED
from prefect_videodb.urls import SERVICE, read
from prefect_videodb.watching.looking import Found, Look, look
from prefect_videodb.watching.models import Part, StreamWatch, Trouble
from prefect_videodb.watching.run import ARTIFACT, WatchRun, kept
from prefect_videodb.watching.setting_up import disable_outdated, ensure_events, ensure_indexes_and_alerts
from prefect_videodb.watching.telling import digest, markdown, publish, tell
from prefect_videodb.watching.way_back import check_receiver, check_routes

# A source that is away is connected anew less and less often, 16 times as rarely in the end.
_MOST_DOUBLINGS = 4
# A batch that is not described yet is no silence.
_BATCHES_OF_SILENCE = 3
_LONGEST_TEXT = 500
_WAY_BACK = frozenset({Part.ROUTE, Part.RECEIVER})
_LATER = "asked again at the next look"
# The service on the internet; another address is that of a server of one's own.
_VIDEODB = "api.videodb.io"


def look_after(run: WatchRun, watch: StreamWatch) -> bool:
    """Look once, and put right what is amiss; at first, set everything up.

    Returns:
        False when an adopted stream was stopped by whoever it belongs to: then there is nothing left to watch.

    Raises:
        VideoDBError: everything could not be set up. Later, what the service refuses is told, and tried again.
    """
    event_ids = run.event_ids
    if event_ids is None:
        event_ids = _set_up(run, watch)
    now = datetime.now(UTC)
    try:
        seen = look(run.account.get_client(), watch.rtstream_id, run.wanted, event_ids)
    except VideoDBError as error:
        unasked = Found(Part.SERVICE, "cannot be asked")
        outcome = _Outcome(unasked, f"asked again later: {error}", is_right=False)
        _note(run, watch, [outcome, *_look_at_way_back(run)], now)
        return True
    if watch.adopted and seen.stream_status == STOPPED:
        get_logger().info("Stream %s was stopped: the watch is over", watch.rtstream_id)
        return False
    _note_life(run, seen, now)
    if silence := _silence(run, seen, now):
        seen.found.append(silence)
    _note(run, watch, [*_put_right(run, watch, seen, event_ids, now), *_look_at_way_back(run)], now)
    return True


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What was amiss, what was done about it, and whether it is right now."""

    found: Found
    done: str
    is_right: bool

    @property
    def told(self) -> str:
        """What is wrong and what somebody is to do, in a line that is the same at each look."""
        advice = f": {self.found.advice}" if self.found.advice else ""
        return f"The {self.found.part.value} {self.found.text}{advice}"[:_LONGEST_TEXT]


def _set_up(run: WatchRun, watch: StreamWatch) -> dict[str, str]:
    if not watch.adopted:
        make_sure_it_ingests(run.account, watch.rtstream_id, counting_down(run.options.start_timeout_s))
    event_ids = ensure_events(run.account, run.wanted)
    ensure_indexes_and_alerts(run.account, watch.rtstream_id, run.wanted, event_ids)
    run.memory.remember(events=json.dumps(event_ids), quiet_since=datetime.now(UTC).isoformat())
    get_logger().info("Watching stream %s; events: %d", watch.rtstream_id, len(event_ids))
    return event_ids


# --- the way back -----------------------------------------------------------------------------------------------------


def _look_at_way_back(run: WatchRun) -> list[_Outcome]:
    """Look whether an alert would find its way back. Only people can put that right."""
    routes = list(dict.fromkeys(one.watch.route for one in run.wanted))
    found: list[Found] = []
    try:
        with asking_once():
            found = check_routes(run.memory.prefect, run.webhook.rules(), routes)
    except (httpx.HTTPError, PrefectException) as error:
        found = [Found(Part.ROUTE, f"is not known: Prefect cannot be asked ({type(error).__name__})", advice=_LATER)]
    broken = {one.subject for one in found}
    is_public = read(run.account.base_url, SERVICE).host == _VIDEODB
    for one in check_receiver(run.webhook, routes, is_public=is_public):
        if one.part is not Part.ROUTE or one.subject not in broken:  # what Prefect says of a route is newer
            found.append(one)
    return [_Outcome(one, one.advice, is_right=False) for one in found]


# --- silence ----------------------------------------------------------------------------------------------------------


def _note_life(run: WatchRun, seen: Look, now: datetime) -> None:
    """Note the last sign of life of what is seen."""
    before = run.moment("quiet_since")
    last = min(seen.last_seen, now) if seen.last_seen else None  # clocks differ
    if last and (before is None or last > before):
        run.memory.remember(quiet_since=last.isoformat(), reconnects="0")


def _silence(run: WatchRun, seen: Look, now: datetime) -> Found | None:
    """Tell whether nothing was seen for too long. Of what is said there is no telling: people are silent, too."""
    since = run.moment("quiet_since")
    is_other = any(found.part in {Part.STREAM, Part.INDEX} for found in seen.found)
    if since is None or is_other or now - since < _patience(run):
        return None
    return Found(Part.SOURCE, f"shows nothing since {clock(since)}, though the stream is {seen.stream_status}")


def _patience(run: WatchRun) -> timedelta:
    """How long nothing may be seen."""
    visual = [one.watch.batch_s for one in run.wanted if one.watch.kind == "visual"]
    if not visual:
        return timedelta.max
    batches = timedelta(seconds=_BATCHES_OF_SILENCE * max(visual))
    return max(timedelta(minutes=run.options.reconnect_after_minutes), batches)


# --- putting right ----------------------------------------------------------------------------------------------------


def _put_right(
    run: WatchRun, watch: StreamWatch, seen: Look, event_ids: dict[str, str], now: datetime
) -> list[_Outcome]:
    """Do what can be done about everything that was found. What the service refuses is tried at the next look again."""
    if not seen.found:
        return []
    is_down = any(found.part in {Part.STREAM, Part.SOURCE} for found in seen.found)
    if is_down and watch.adopted:
        return [_Outcome(found, "left to whoever the stream belongs to", is_right=False) for found in seen.found]
    try:
        if is_down:
            _connect_anew(run, watch, seen, now)
        ensure_indexes_and_alerts(run.account, watch.rtstream_id, run.wanted, event_ids)
        disable_outdated(run.account, watch.rtstream_id, seen)
    except VideoDBError as error:
        return [
            _Outcome(found, f"could not be put right, tried again later: {error}", is_right=False)
            for found in seen.found
        ]
    if Part.SOURCE.value not in run.standing | {found.key for found in seen.found}:
        run.memory.remember(quiet_since=now.isoformat())  # what was put right needs a while to show something
    return [_Outcome(found, _DONE[found.part], is_right=found.part is not Part.SOURCE) for found in seen.found]


_DONE = {
    Part.STREAM: "connected again",
    Part.SOURCE: "connected anew, now and less and less often until it shows something",
    Part.INDEX: "made to run again",
    Part.ALERT: "put right",
}


def _connect_anew(run: WatchRun, watch: StreamWatch, seen: Look, now: datetime) -> None:
    """Start a stream that is down. One that is up, or was given up, is stopped first: nothing else connects it anew."""
    if not seen.stream_is_down:
        before = run.moment("reconnected_at")
        if before and now - before < _patience(run) * 2 ** min(run.number("reconnects"), _MOST_DOUBLINGS):
            return
        run.memory.remember(reconnected_at=now.isoformat(), reconnects=str(run.number("reconnects") + 1))
    if seen.stream_status != STOPPED:
        stop_rtstream(run.account, watch.rtstream_id)
    make_sure_it_ingests(run.account, watch.rtstream_id, counting_down(run.options.start_timeout_s))


# --- telling ----------------------------------------------------------------------------------------------------------


def _note(run: WatchRun, watch: StreamWatch, outcomes: list[_Outcome], now: datetime) -> None:
    """Tell what is new, once; and remember how it was."""
    before = run.standing
    found = {outcome.found.key for outcome in outcomes}
    still = {outcome.found.key for outcome in outcomes if not outcome.is_right}
    news = [_trouble(run, now, o.found, o.done) for o in outcomes if o.is_right or o.found.key not in before]
    if Part.SERVICE.value in still:  # how the rest is cannot be known, but for the way back
        still |= {key for key in before if _part(key) not in _WAY_BACK}
    if Part.ROUTE.value in still:  # Prefect could not be asked
        still |= {key for key in before if _part(key) is Part.ROUTE}
    if found & {Part.STREAM.value, Part.INDEX.value}:
        still |= before & {Part.SOURCE.value}  # it cannot be seen: whether it is back is not known
    over = before - still - found
    news += [_trouble(run, now, _in_order(key), "") for key in sorted(over)]
    for trouble in news:
        tell(trouble, rtstream_id=watch.rtstream_id, name=watch.name, flow_run_id=run.id)
    watch.troubles = [*watch.troubles, *news]
    watch.amiss = [o.told for o in outcomes if not o.is_right]
    known = {"troubles": kept(watch.troubles), "standing": " ".join(sorted(still))}
    if not outcomes:
        known |= {"in_order_at": now.isoformat()}
    if not {_part(key) for key in found} - _WAY_BACK:
        known |= {"crashes": "0"}  # what killed it is over
    _show(run, watch, known)
    run.memory.remember(**known)


def _part(key: str) -> Part:
    return Part(key.partition(":")[0])


def _in_order(key: str) -> Found:
    subject = key.partition(":")[2]
    return Found(_part(key), f"{subject} is in order again".strip(), subject)


def _trouble(run: WatchRun, now: datetime, found: Found, done: str) -> Trouble:
    return Trouble(
        part=found.part,
        at=now,
        since=run.moment("in_order_at"),
        found=plain(found.text, _LONGEST_TEXT),
        done=plain(done, _LONGEST_TEXT),
    )


def _show(run: WatchRun, watch: StreamWatch, known: dict[str, str]) -> None:
    """Show the artifact where it says something new: a watch for ever must not make one at each look."""
    end = run.planned_end()
    text = markdown(watch, is_over=False, until=clock(end) if end else "it is cancelled")
    known["shown"] = digest(text)
    if known["shown"] != run.memory.recall("shown") and (artifact_id := publish(text, watch.name)):
        known[ARTIFACT] = artifact_id
