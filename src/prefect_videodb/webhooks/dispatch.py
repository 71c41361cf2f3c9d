"""From the inbox to Prefect: each letter becomes one flow run of the deployment of its route.

The run is created with the letter's identity as its idempotency key, which Prefect's database keeps unique: repeated
after a kill or a lost answer, it is the same run. Prefect is told of each letter as an event, too, for people to hang
automations on: once, before the letter is taken off the inbox, and with an id of its own, so that Prefect keeps it once
when a kill here repeats it.

What is stuck holds up nothing else:

| what | what it costs the others |
| --- | --- |
| a route that nobody serves | no request: one list of all routes is read for all of them |
| a route over which Prefect fails or hangs | one of a few slots that such routes share |
| a message that Prefect refuses | nothing: new messages go first, refused ones are tried one at a time |
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.exceptions import ObjectNotFound, PrefectException

from prefect_videodb._asking import asking_once
from prefect_videodb.webhooks.cooldown import newest_run, tags_of
from prefect_videodb.webhooks.mail import Away, Mailbox, Waiting
from prefect_videodb.webhooks.routes import ServedRoutes, read_served_routes
from prefect_videodb.webhooks.rules import AlertRoute, Rules
from prefect_videodb.webhooks.telling import event_of, idempotency_key_of, run_made_of, run_name_of, run_told_of

if TYPE_CHECKING:
    from concurrent.futures import Future

_AWAY = httpx.HTTPError | PrefectException | OSError
_BATCH = 200
# One failure among many that succeed must cost next to nothing, and a Prefect that is away must not be hammered.
FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 30.0
# What Prefect answers with 500 so often in a row is what the message holds; with the pauses, within 13 s.
MAX_INTERNAL_ERRORS = 8
# How often another process's inbox is looked at, and how often the dispatcher looks round when nothing wakes it.
_LOOK_EVERY_S = 0.25
_LOOK_ROUND_EVERY_S = 5.0
_TIDY_EVERY_S = 3600.0
_HEARTBEAT_EVERY_S = 10.0
# How often the list of routes is read; sooner while something waits for a route that is not on it. To read it takes at
# most a twentieth of the time, however many deployments there are.
_LIST_EVERY_S = 30.0
_LIST_SOON_S = 2.0
_LIST_SHARE = 20
# How many routes that nobody serves are looked at in one go, and how often.
_MAX_UNSERVED_ROUTES = 200
_UNSERVED_EVERY_S = 1.0
# How long a message waits for somebody to deploy what serves its route, before it is a dead letter.
UNSERVED_GRACE_S = 3600.0
# How long a message that Prefect refuses is tried again, before it is a dead letter.
REJECTED_GRACE_S = 3 * 86_400.0
# Runs that are made at a time: of routes that work, and of those that failed last. Prefect's own client has 16
# connections, and lets requests wait for one until they fail.
_SLOTS = 16
_STUCK_SLOTS = 4
_LIMITS = httpx.Limits(
    max_connections=2 * (_SLOTS + _STUCK_SLOTS), max_keepalive_connections=_SLOTS, keepalive_expiry=25
)
# A route that worked gives its slot back when Prefect takes longer: it is tried again in a slot of those that failed.
_SLOT_TIMEOUT_S = 10.0
_EVENT_TIMEOUT_S = 5.0
_MOST_NAMED = 10
_MOST_WARNED = 10_000
logger = logging.getLogger(__name__)


class NothingToStart(Exception):
    """No deployment, or several, for a route. The message says what to do."""


class _Refused(Exception):
    """No run can be made of what a letter holds: it is to hold up no other."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(slots=True)
class _Failures:
    """How often a route failed in a row, since a message became a run or was refused for what it holds.

    Attributes:
        count: of all failures; the pause doubles with each.
        internal: of answers of 500 to its first message.
    """

    count: int = 0
    internal: int = 0

    def reset(self) -> None:
        """Begin anew: there is progress."""
        self.count = self.internal = 0

    @property
    def pause_s(self) -> float:
        """How long to wait until the next try."""
        return float(min(FIRST_PAUSE_S * 2 ** min(self.count - 1, 20), _LONGEST_PAUSE_S))


class Dispatcher:
    """Take what waits, route by route, in the order of arrival, until it is told to end.

    Args:
        inbox: where messages wait.
        rules: returns the rules as they are now.
        unserved_grace_s: how long a message waits for a deployment to serve its route, in seconds.
    """

    def __init__(
        self, inbox: Mailbox, rules: Callable[[], Rules], *, unserved_grace_s: float = UNSERVED_GRACE_S
    ) -> None:
        self._inbox = inbox
        self._rules = rules
        self._unserved_grace_s = unserved_grace_s
        self._wake = asyncio.Event()
        self._routes: dict[str, asyncio.Task[None]] = {}
        self._failures: dict[str, _Failures] = {}
        self._slots = asyncio.Semaphore(_SLOTS)
        self._stuck_slots = asyncio.Semaphore(_STUCK_SLOTS)
        self._named: dict[str, tuple[UUID, float]] = {}
        # What Prefect answered last; since when it answered without a gap, in unix seconds.
        self._served: ServedRoutes | None = None
        self._listed_since: float | None = None
        # What was made of these rules and that list.
        self._known: tuple[ServedRoutes, Rules, set[str]] | None = None
        self._list_now = asyncio.Event()
        self._warned: set[str] = set()
        self._connect_pause_s = FIRST_PAUSE_S

    def wake(self) -> None:
        """Say that something new waits."""
        self._wake.set()

    async def run(self, ended: asyncio.Event) -> None:
        """Dispatch until `ended`. What was begun is finished; what was not waits in the inbox."""
        while not ended.is_set():
            try:
                # Tried again here, where what waits says why it does.
                with asking_once():
                    async with get_client(httpx_settings={"limits": _LIMITS}) as prefect:
                        await self._run(prefect, ended)
            except (httpx.HTTPError, PrefectException, OSError, RuntimeError) as error:
                logger.warning("%s; what waits is tried again in %.1f s", _told(error), self._connect_pause_s)
                await _wait(ended, self._connect_pause_s)
                self._connect_pause_s = min(2 * self._connect_pause_s, _LONGEST_PAUSE_S)

    async def _run(self, prefect: PrefectClient, ended: asyncio.Event) -> None:
        others = [
            asyncio.create_task(act)
            for act in (
                self._keep_list(prefect, ended),
                self._look_at_unserved(ended),
                self._retry_rejected(prefect, ended),
                self._keep_house(ended),
            )
        ]
        try:
            while not ended.is_set():
                # Read before the routes are: what is written in between must not go unseen.
                seen = await asyncio.to_thread(self._inbox.version)
                for route in await asyncio.to_thread(self._inbox.routes, self._startable() - self._routes.keys()):
                    task = asyncio.create_task(self._dispatch(prefect, route, ended))
                    task.add_done_callback(lambda _: self._wake.set())
                    self._routes[route] = task
                await self._pause(ended, seen)
                self._collect()
                for other in others:
                    if other.done():
                        other.result()
                self._connect_pause_s = FIRST_PAUSE_S
        except BaseException:
            for task in self._routes.values():
                task.cancel()
            raise
        finally:
            for other in others:
                other.cancel()
            await asyncio.gather(*self._routes.values(), *others, return_exceptions=True)
            self._routes.clear()

    def _startable(self) -> set[str]:
        served, rules = self._served, self._rules()
        if served is None:
            return set()
        if self._known is None or self._known[0] is not served or self._known[1] is not rules:
            self._known = served, rules, served.startable(rules)
        return self._known[2]

    def _collect(self) -> None:
        """Take note of the routes for which nothing waits any more; what nobody foresaw ends the dispatcher, loudly."""
        for route, task in list(self._routes.items()):
            if task.done():
                del self._routes[route]
                task.result()

    async def _pause(self, ended: asyncio.Event, before: int) -> None:
        """Wait until something may be there: told at once in this process, seen soon when another process wrote it."""
        until = time.monotonic() + _LOOK_ROUND_EVERY_S
        while not (self._wake.is_set() or ended.is_set() or time.monotonic() >= until):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), _LOOK_EVERY_S)
            if await asyncio.to_thread(self._inbox.version) != before:
                break
        self._wake.clear()

    async def _keep_house(self, ended: asyncio.Event) -> None:
        tidy_at = 0.0
        while not ended.is_set():
            with suppress(Away):  # the dispatcher meets the same, and says so
                await asyncio.wrap_future(self._inbox.heartbeat())
                if time.monotonic() >= tidy_at:
                    self._inbox.tidy()
                    tidy_at = time.monotonic() + _TIDY_EVERY_S
            await _wait(ended, _HEARTBEAT_EVERY_S)

    # --- the list of routes -------------------------------------------------------------------------------------------

    async def _keep_list(self, prefect: PrefectClient, ended: asyncio.Event) -> None:
        """Read which routes are served, again and again; while Prefect is away, what it said last counts."""
        pause_s = FIRST_PAUSE_S
        while not ended.is_set():
            self._list_now.clear()
            began = time.monotonic()
            try:
                served = await read_served_routes(prefect)
            except (httpx.HTTPError, PrefectException, OSError) as error:
                self._listed_since = None
                trouble = f"the deployments cannot be read: {_told(error)}"
                logger.warning("%s; tried again in %.1f s", trouble, pause_s)
                if self._served is None:
                    await self._note_first(trouble)
                await _wait(ended, pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                continue
            pause_s = FIRST_PAUSE_S
            if served != self._served:
                self._wake.set()
            self._served = served
            self._listed_since = self._listed_since or time.time()
            startable = self._startable()
            self._failures = {route: known for route, known in self._failures.items() if route in startable}
            self._warned -= startable
            rest_s = max(_LIST_SOON_S, _LIST_SHARE * (time.monotonic() - began))
            await _wait(ended, rest_s)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._list_now.wait(), max(0.0, _LIST_EVERY_S - rest_s))

    async def _note_first(self, trouble: str) -> None:
        """Note beside some of what waits that it is not known yet what it is to start."""
        with suppress(Away):
            for letter in await asyncio.to_thread(self._inbox.unserved, (), _MOST_NAMED):
                await asyncio.wrap_future(self._inbox.in_trouble(letter.seq, trouble))

    async def _look_at_unserved(self, ended: asyncio.Event) -> None:
        """Note what waits for a route that nobody serves; give up what waited too long."""
        after = ""
        while not ended.is_set():
            rest_s = _UNSERVED_EVERY_S
            if self._served is not None:
                try:
                    after = await self._look_at_some(self._served, after)
                except Away as error:
                    rest_s = _LONGEST_PAUSE_S
                    logger.warning("What waits for routes without a deployment stays as it is: %s", _told(error))
            await _wait(ended, rest_s)

    async def _look_at_some(self, served: ServedRoutes, after: str) -> str:
        letters = await asyncio.to_thread(self._inbox.unserved, self._startable(), _MAX_UNSERVED_ROUTES, after)
        if letters:
            self._list_now.set()
        new = [letter.route for letter in letters if letter.route not in self._warned]
        if new:
            more = f", and {len(new) - _MOST_NAMED} more" if len(new) > _MOST_NAMED else ""
            logger.warning(
                "No deployment can be started for the routes %s%s: %s. What waits for them is kept",
                *(", ".join(new[:_MOST_NAMED]), more, served.why_not_startable(new[0])),
            )
            if len(self._warned) > _MOST_WARNED:
                self._warned.clear()
            self._warned.update(new)
        written: list[Future[None]] = []  # together: each by itself would be a commit
        for letter in letters:
            reason = served.why_not_startable(letter.route)
            if not self._has_waited_long(letter, served):
                written.append(self._inbox.in_trouble(letter.seq, f"route {letter.route}: {reason}"))
                continue
            late = await asyncio.to_thread(self._inbox.waiting, letter.route, _BATCH)
            written += [
                self._inbox.give_up(one.seq, f"{reason}; then retry this one")
                for one in late
                if self._has_waited_long(one, served)
            ]
        for one in written:
            await asyncio.wrap_future(one)
        return letters[-1].route if len(letters) == _MAX_UNSERVED_ROUTES else ""

    def _has_waited_long(self, letter: Waiting, served: ServedRoutes) -> bool:
        """Whether a message waited long enough for a route that nobody set up, while Prefect could be asked."""
        if self._listed_since is None or served.is_known(letter.route, self._rules()):
            return False
        return time.time() - max(letter.received_at, self._listed_since) > self._unserved_grace_s

    # --- routes -------------------------------------------------------------------------------------------------------

    async def _dispatch(self, prefect: PrefectClient, route: str, ended: asyncio.Event) -> None:
        """Make flow runs of all that waits for one route. A route that is stuck does not hold up the others."""
        failures = self._failures.setdefault(route, _Failures())
        while not ended.is_set() and route in self._startable():
            try:
                letters = await asyncio.to_thread(self._inbox.waiting, route, _BATCH)
                if not letters:
                    return
                pause_s = await self._make_runs(prefect, letters, failures, ended)
            except Away as error:  # a disk that is full, a queue that does not answer: no letter is to blame
                failures.count += 1
                pause_s = failures.pause_s
                logger.warning("route %s: %s; tried again in %.1f s", route, _told(error), pause_s)
            if pause_s:
                await _wait(ended, pause_s)

    async def _make_runs(
        self, prefect: PrefectClient, letters: list[Waiting], failures: _Failures, ended: asyncio.Event
    ) -> float:
        """Make flow runs in order, until one fails, and return how long to wait then, in seconds."""
        for letter in letters:
            if ended.is_set():
                break
            is_stuck = failures.count > 0
            try:
                async with self._stuck_slots if is_stuck else self._slots:
                    await self._make_run(prefect, letter, failures, None if is_stuck else _SLOT_TIMEOUT_S)
            except Away:
                raise
            except _Refused as refusal:
                trouble = _trouble(letter, refusal.error)
                logger.warning("%s; it is tried less and less often, and the others go on", trouble)
                await asyncio.wrap_future(self._inbox.refused(letter.seq, trouble))
                failures.reset()
                if any(other.leader for other in letters):
                    break  # others may be attached to another one now
            except Exception as error:  # noqa: BLE001 - whatever is wrong, it waits
                failures.count += 1
                pause_s = max(failures.pause_s, _retry_after(error))
                trouble = _trouble(letter, error)
                logger.warning("%s; it waits, and is tried again in %.1f s", trouble, pause_s)
                await asyncio.wrap_future(self._inbox.in_trouble(letter.seq, trouble))
                return pause_s  # in order: nothing overtakes it
            else:
                failures.reset()
        return 0.0

    async def _retry_rejected(self, prefect: PrefectClient, ended: asyncio.Event) -> None:
        """Try what was rejected again: one message at a time, and not more than half of the time."""
        while not ended.is_set():
            began = time.monotonic()
            letters: list[Waiting] = []
            try:
                letters = await asyncio.to_thread(self._inbox.rejected, 1) if self._served else []
                for letter in letters:
                    await self._retry(prefect, letter)
            except Away as error:
                logger.warning("Rejected alerts cannot be tried again now: %s", _told(error))
                letters = []
            await _wait(ended, time.monotonic() - began if letters else _UNSERVED_EVERY_S)

    async def _retry(self, prefect: PrefectClient, letter: Waiting) -> None:
        # Here one answer of 500 is enough: it was refused before.
        failures = _Failures(internal=MAX_INTERNAL_ERRORS - 1)
        try:
            await self._make_run(prefect, letter, failures, _SLOT_TIMEOUT_S)
        except Away:
            raise
        except Exception as error:  # noqa: BLE001 - whatever is wrong, it waits
            cause = error.error if isinstance(error, _Refused) else error
            trouble = _trouble(letter, cause)
            is_away = isinstance(error, _AWAY)
            if is_away or time.time() - letter.received_at <= REJECTED_GRACE_S:
                await asyncio.wrap_future(self._inbox.refused(letter.seq, trouble))
                return
            logger.warning("%s; after %g days it is given up: a dead letter", trouble, REJECTED_GRACE_S / 86_400)
            try:
                await asyncio.wrap_future(self._inbox.give_up(letter.seq, trouble))
            except Away:  # there may be too many of them: the others are to come to their turn
                await asyncio.wrap_future(self._inbox.refused(letter.seq, trouble))
                raise

    # --- runs ---------------------------------------------------------------------------------------------------------

    async def _make_run(
        self, prefect: PrefectClient, letter: Waiting, failures: _Failures, timeout_s: float | None
    ) -> None:
        """Make the run of a letter, tell Prefect of it, and take the letter off the inbox.

        Raises:
            _Refused: no run can be made of what this letter holds, and none was.
        """
        async with asyncio.timeout(timeout_s):
            try:
                flow_run_id = await self._run_of(prefect, letter)
            except Exception as error:
                if not await self._concerns_it_alone(prefect, letter, error, failures):
                    raise
                # An answer may have been lost, and the deployment have changed since: what has its run gives up no
                # place.
                made = await run_made_of(prefect, letter)
                if made is None:
                    raise _Refused(error) from error
                flow_run_id = made
            await self._emit(prefect, letter, flow_run_id)
        await asyncio.wrap_future(self._inbox.done([(letter.seq, flow_run_id)]))

    async def _concerns_it_alone(
        self, prefect: PrefectClient, letter: Waiting, error: Exception, failures: _Failures
    ) -> bool:
        """Say whether Prefect refuses this letter's run, and not all of them."""
        if not _is_internal(error):
            failures.internal = 0
            if isinstance(error, ObjectNotFound):  # the deployment was deleted: the list is not what it was
                self._named.pop(self._rules().of(letter.route).deployment, None)
                self._list_now.set()
            return _does_not_fit(error) or not isinstance(error, _AWAY | NothingToStart)
        # What it holds may break something in Prefect; or its database is away, and then this fails, too.
        try:
            deployment = await self._deployment(prefect, letter.route, self._rules().of(letter.route))
            await prefect.read_deployment(deployment)
        except (httpx.HTTPError, PrefectException, OSError, NothingToStart):
            failures.internal = 0
            return False
        failures.internal += 1
        return failures.internal >= MAX_INTERNAL_ERRORS

    async def _run_of(self, prefect: PrefectClient, letter: Waiting) -> str:
        rule = self._rules().of(letter.route)
        if leader := await self._leader(prefect, letter, rule):
            return leader
        deployment = await self._deployment(prefect, letter.route, rule)
        run = await prefect.create_flow_run_from_deployment(
            deployment,
            parameters={**rule.parameters, "alert" if letter.kind == "alert" else "event": letter.told},
            name=run_name_of(letter),
            idempotency_key=idempotency_key_of(letter),
            tags=tags_of(letter, rule),
            labels={
                "videodb.route": letter.route,
                "videodb.letter": letter.identity,
                "videodb.received_at": letter.received_at,
            },
        )
        return str(run.id)

    async def _emit(self, prefect: PrefectClient, letter: Waiting, flow_run_id: str) -> None:
        """Emit the event of a letter whose run is there: once, as well as it goes.

        Raises:
            httpx.ConnectError: Prefect is away, and nothing was sent.
        """
        try:
            event = event_of(letter, flow_run_id).model_dump(mode="json")
            async with asyncio.timeout(_EVENT_TIMEOUT_S):
                # Not `emit_event`: it hands the event to a thread, and a kill there loses it.
                await prefect.request("POST", "/events", json=[event])
        except httpx.ConnectError:
            raise
        except Exception as error:  # noqa: BLE001 - its run is there, and no other letter may take its place
            logger.warning("%s, to the event of a run that is there: the run goes without", _trouble(letter, error))

    async def _leader(self, prefect: PrefectClient, letter: Waiting, rule: AlertRoute) -> str | None:
        """Give the run that a letter is attached to, within the cooldown of its route; None when it begins one."""
        if not self._inbox.keeps_cooldowns:
            if not rule.cooldown_s:
                return None
            # One that was attached and comes again after the cooldown has no run of its own: its event has the run.
            return await newest_run(prefect, letter, rule) or await run_told_of(prefect, letter)
        if letter.leader is None:
            return None
        leader = await asyncio.to_thread(self._inbox.flow_run_of, letter.leader)
        if leader is None:
            raise NothingToStart("the alert that this one is attached to has no flow run yet")
        return leader

    async def _deployment(self, prefect: PrefectClient, route: str, rule: AlertRoute) -> UUID:
        if not rule.deployment:
            tagged = self._served.deployments.get(route, frozenset()) if self._served else frozenset()
            if len(tagged) != 1:
                raise NothingToStart(self._served.why_not_startable(route) if self._served else "not known yet")
            return next(iter(tagged))
        now = time.monotonic()
        if (known := self._named.get(rule.deployment)) and now - known[1] < _LIST_EVERY_S:
            return known[0]
        try:
            found = (await prefect.read_deployment_by_name(rule.deployment)).id
        except (ObjectNotFound, ValueError):
            told = f"there is no deployment {rule.deployment!r}: deploy it, or correct the AlertWebhook block"
            raise NothingToStart(told) from None
        self._named[rule.deployment] = (found, now)
        return found


async def _wait(ended: asyncio.Event, seconds: float) -> None:
    """Wait so long, or until the dispatcher is to end."""
    with suppress(TimeoutError):
        await asyncio.wait_for(ended.wait(), seconds)


def _retry_after(error: Exception) -> float:
    """Return how long Prefect asks to be left alone, in seconds, up to the longest pause; 0 where it does not."""
    told = error.response.headers.get("retry-after", "") if isinstance(error, httpx.HTTPStatusError) else ""
    return min(float(told), _LONGEST_PAUSE_S) if told.isascii() and told.isdecimal() else 0.0


def _is_internal(error: Exception) -> bool:
    """Say whether Prefect failed: over what it was told, or by itself."""
    return isinstance(error, httpx.HTTPStatusError) and error.response.status_code == httpx.codes.INTERNAL_SERVER_ERROR


def _does_not_fit(error: Exception) -> bool:
    """Say whether the parameters do not fit the flow."""
    return isinstance(error, httpx.HTTPStatusError) and error.response.status_code in {400, 409, 413, 422}


def _trouble(letter: Waiting, error: Exception) -> str:
    return f"route {letter.route}: {_told(error)}"


def _told(error: Exception) -> str:
    if isinstance(error, NothingToStart):
        return str(error)
    if isinstance(error, httpx.HTTPStatusError):
        fits = " (does the flow take this parameter?)" if _does_not_fit(error) else ""
        return f"Prefect answered {error.response.status_code}{fits}"
    if isinstance(error, ObjectNotFound):
        return "its deployment was deleted"
    if isinstance(error, Away):
        return f"the inbox cannot be reached ({error})"
    if isinstance(error, _AWAY):
        return f"Prefect cannot be reached ({type(error).__name__})"
    return f"no flow run can be made of it ({type(error).__name__})"
