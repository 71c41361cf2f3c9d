"""From the inbox to Prefect: each letter becomes one flow run of the deployment of its route.

The run is created with the letter's identity as its idempotency key, which Prefect's database keeps unique: repeated
after a kill or a lost answer, it is the same run. Prefect is told of each letter as an event, too, for people to hang
automations on: before the letter is taken off the inbox, and with an id of its own, so that a kill here neither loses
it nor tells it twice. Whether Prefect then wrote it, `confirming` looks.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.exceptions import ObjectNotFound, PrefectException

from prefect_videodb._asking import asking_once
from prefect_videodb.webhooks.confirming import confirm
from prefect_videodb.webhooks.cooldown import newest_run, tags_of
from prefect_videodb.webhooks.failures import Failures
from prefect_videodb.webhooks.mail import Away, Mailbox, Waiting
from prefect_videodb.webhooks.rules import AlertRoute, Rules
from prefect_videodb.webhooks.telling import event_of, idempotency_key_of, run_made_of, run_name_of, run_told_of

_AWAY = httpx.HTTPError | PrefectException | OSError
TAG = "videodb-alerts:"
_MOST_AT_ONCE = 200
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
# How often another process's inbox is looked at, and how long a deployment that was found is taken to be there.
_LOOK_EVERY_S = 0.25
_KNOWN_FOR_S = 30.0
_TIDY_EVERY_S = 3600.0
# How often letters are looked for that rested.
_RESTED_EVERY_S = 5.0
# What fails six times in a row before a letter is taken for the cause: its run, or its event.
_RUN = "run"
_EVENT = "event"
logger = logging.getLogger(__name__)


class NothingToStart(Exception):
    """No deployment, or several, for a route. The message says what to do."""


class _Refused(Exception):
    """No run can be made of what a letter holds: it is to hold up no other."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class Dispatcher:
    """Take what waits, route by route, in the order of arrival, until it is told to end."""

    def __init__(self, inbox: Mailbox, rules: Callable[[], Rules]) -> None:
        self._inbox = inbox
        self._rules = rules
        self._wake = asyncio.Event()
        self._routes: dict[str, asyncio.Task[None]] = {}
        self._deployments: dict[str, tuple[UUID, float]] = {}
        self._failures = Failures()
        self._pause_s = _FIRST_PAUSE_S

    def wake(self) -> None:
        """Say that something new waits."""
        self._wake.set()

    async def run(self, ended: asyncio.Event) -> None:
        """Dispatch until `ended`. What was begun is finished; what was not waits in the inbox."""
        while not ended.is_set():
            try:
                # Tried again here, where what waits says why it does.
                with asking_once():
                    async with get_client() as prefect:
                        await self._run(prefect, ended)
            except (httpx.HTTPError, PrefectException, OSError, RuntimeError) as error:
                logger.warning("%s; what waits is tried again in %.1f s", _told(error), self._pause_s)
                with suppress(TimeoutError):
                    await asyncio.wait_for(ended.wait(), self._pause_s)
                self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)

    async def _run(self, prefect: PrefectClient, ended: asyncio.Event) -> None:
        tidy_at = 0.0
        confirming = asyncio.create_task(confirm(self._inbox, prefect, self._tell))
        try:
            while not ended.is_set():
                if time.monotonic() >= tidy_at:
                    tidy_at = time.monotonic() + _TIDY_EVERY_S
                    self._inbox.tidy()
                # Read before the routes are: what is written in between must not go unseen.
                seen = await asyncio.to_thread(self._inbox.version)
                for route in await asyncio.to_thread(self._inbox.routes):
                    if route not in self._routes:
                        task = asyncio.create_task(self._dispatch(prefect, route, ended))
                        task.add_done_callback(lambda _: self._wake.set())
                        self._routes[route] = task
                await self._pause(ended, seen)
                self._collect()
                if confirming.done():
                    confirming.result()
                self._pause_s = _FIRST_PAUSE_S
        except BaseException:
            for task in self._routes.values():
                task.cancel()
            raise
        finally:
            confirming.cancel()
            await asyncio.gather(*self._routes.values(), confirming, return_exceptions=True)
            self._routes.clear()

    def _collect(self) -> None:
        """Take note of the routes for which nothing waits any more; what nobody foresaw ends the dispatcher, loudly."""
        for route, task in list(self._routes.items()):
            if task.done():
                del self._routes[route]
                task.result()

    async def _pause(self, ended: asyncio.Event, before: int) -> None:
        """Wait until something may be there: told at once in this process, seen soon when another process wrote it."""
        until = time.monotonic() + _RESTED_EVERY_S
        while not (self._wake.is_set() or ended.is_set() or time.monotonic() >= until):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), _LOOK_EVERY_S)
            if await asyncio.to_thread(self._inbox.version) != before:
                break
        self._wake.clear()

    async def _dispatch(self, prefect: PrefectClient, route: str, ended: asyncio.Event) -> None:
        """Make flow runs of all that waits for one route. A route that is stuck does not hold up the others."""
        pause_s = _FIRST_PAUSE_S
        while not ended.is_set():
            try:
                letters = await asyncio.to_thread(self._inbox.waiting, route, _MOST_AT_ONCE)
                if not letters:
                    return
                goes_on = await self._make_runs(prefect, letters, ended)
            except Away as error:  # a disk that is full, a queue that does not answer: no letter is to blame
                logger.warning("route %s: %s; what waits is tried again in %.1f s", route, _told(error), pause_s)
                goes_on = False
            if goes_on:
                pause_s = _FIRST_PAUSE_S
                continue
            self._deployments.pop(route, None)
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _make_runs(self, prefect: PrefectClient, letters: list[Waiting], ended: asyncio.Event) -> bool:
        """Make flow runs in order, and say whether to go on at once."""
        for letter in letters:
            if ended.is_set():
                return True
            try:
                await self._make_run(prefect, letter)
            except _Refused as refusal:
                trouble = _trouble(letter, refusal.error)
                logger.warning("%s; it is tried less and less often, and the others go on", trouble)
                await asyncio.wrap_future(self._inbox.refused(letter.seq, trouble))
                self._failures.forget(_RUN, letter.identity)
                return True  # others may be attached to another one now
            except Exception as error:  # noqa: BLE001 - whatever is wrong, it waits
                trouble = _trouble(letter, error)
                logger.warning("%s; it waits, and is tried again", trouble)
                await asyncio.wrap_future(self._inbox.in_trouble(letter.seq, trouble))
                return False  # in order: nothing overtakes it
        return True

    async def _make_run(self, prefect: PrefectClient, letter: Waiting) -> None:
        """Make the run of a letter, tell Prefect of it, and take the letter off the inbox.

        Raises:
            _Refused: no run can be made of what this letter holds, and none was.
        """
        try:
            flow_run_id = await self._run_of(prefect, letter)
        except Exception as error:
            if not await self._concerns_it_alone(prefect, letter, error):
                raise
            # An answer may have been lost, and the deployment have changed since: what has its run gives up no place.
            made = await run_made_of(prefect, letter)
            if made is None:
                raise _Refused(error) from error
            flow_run_id = made
        self._failures.forget(_RUN, letter.identity)
        await self._tell(prefect, letter, flow_run_id)
        await asyncio.wrap_future(self._inbox.done([(letter.seq, flow_run_id)]))

    async def _concerns_it_alone(self, prefect: PrefectClient, letter: Waiting, error: Exception) -> bool:
        """Say whether Prefect refuses this letter's run, and not all of them."""
        if not _is_internal(error):
            self._failures.forget(_RUN, letter.identity)
            return _does_not_fit(error) or not isinstance(error, _AWAY | NothingToStart)
        # What it holds may break something in Prefect; or its database is away, and then this fails, too.
        self._deployments.pop(letter.route, None)
        try:
            await self._deployment(prefect, letter.route, self._rules().of(letter.route))
        except (httpx.HTTPError, PrefectException, OSError, NothingToStart):
            self._failures.forget(_RUN, letter.identity)
            return False
        return self._failures.is_enough(_RUN, letter.identity)

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

    async def _tell(self, prefect: PrefectClient, letter: Waiting, flow_run_id: str) -> None:
        """Tell Prefect of a letter whose run is there: whatever it answers, no other letter may take its place."""
        try:
            event = event_of(letter, flow_run_id).model_dump(mode="json")
            # Not `emit_event`: it hands the event to a thread, and a kill there loses it.
            await prefect.request("POST", "/events", json=[event])
        except Exception as error:
            is_its_own = _is_internal(error) or not isinstance(error, _AWAY)
            gives_up = _does_not_fit(error) or (is_its_own and self._failures.is_enough(_EVENT, letter.identity))
            if not gives_up:
                raise
            logger.warning("%s, to an event whose run is there: the run goes without", _trouble(letter, error))
        self._failures.forget(_EVENT, letter.identity)

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
        now = asyncio.get_running_loop().time()
        if (known := self._deployments.get(route)) and now - known[1] < _KNOWN_FOR_S:
            return known[0]
        found = await (_named(prefect, rule.deployment) if rule.deployment else _tagged(prefect, route))
        self._deployments[route] = (found, now)
        return found


async def _named(prefect: PrefectClient, name: str) -> UUID:
    try:
        return (await prefect.read_deployment_by_name(name)).id
    except (ObjectNotFound, ValueError):
        raise NothingToStart(f"there is no deployment {name!r}: deploy it, or correct the AlertWebhook block") from None


async def _tagged(prefect: PrefectClient, route: str) -> UUID:
    tag = f"{TAG}{route}"
    wanted = DeploymentFilter(tags=DeploymentFilterTags(all_=[tag]))
    found = await prefect.read_deployments(deployment_filter=wanted, limit=2)
    if not found:
        raise NothingToStart(f"no deployment carries the tag {tag!r}: add it to one in prefect.yaml, and deploy that")
    if len(found) > 1:
        raise NothingToStart(f"several deployments carry the tag {tag!r}: leave it on one")
    return found[0].id


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
    if isinstance(error, Away):
        return f"the inbox cannot be reached ({error})"
    if isinstance(error, _AWAY):
        return f"Prefect cannot be reached ({type(error).__name__})"
    return f"no flow run can be made of it ({type(error).__name__})"
