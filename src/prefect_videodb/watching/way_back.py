"""Whether an alert finds its way back: the receiver answers, its dispatcher works, a deployment serves each route.

It is looked at from the worker. Whether VideoDB, which calls from the internet, gets as far cannot be known from here:
what is said is what was seen.
"""

import ipaddress
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import WorkPoolStatus
from prefect.exceptions import ObjectNotFound
from pydantic import SecretStr

from prefect_videodb.blocks import AlertWebhook
from prefect_videodb.client.body import UnreadableBody
from prefect_videodb.client.transport import exchange_once
from prefect_videodb.recording.text import one_line
from prefect_videodb.urls import WEBHOOK, read
from prefect_videodb.watching.looking import Found
from prefect_videodb.watching.models import Part
from prefect_videodb.webhooks.routes import served_by, tag_of
from prefect_videodb.webhooks.rules import AlertRoute, Rules

_TIMEOUT_S = 10.0
# A receiver reads the block every 30 s: so long it may still go by the token before.
_RELOAD_S = 40.0
_ASK_AGAIN_S = 5.0
_LONGEST_TEXT = 300
# Kinds of work pools to which Prefect itself submits runs: they have no workers.
_WITHOUT_WORKERS = (":push", ":managed")

Deployment = Mapping[str, Any]


# --- routes -----------------------------------------------------------------------------------------------------------


def check_routes(prefect: SyncPrefectClient, rules: Rules, routes: Sequence[str]) -> list[Found]:
    """Return what keeps alerts of these routes from starting runs: asked for together, not one by one.

    Raises:
        httpx.HTTPError, PrefectException: Prefect cannot be asked.
    """
    wanted = {"deployments": {"tags": {"any_": [tag_of(route) for route in routes]}}, "limit": 200}
    tagged: list[Deployment] = prefect.request("POST", "/deployments/filter", json=wanted).json()
    served = served_by(tagged)
    by_id = {str(deployment["id"]): deployment for deployment in tagged}
    found: list[Found] = []
    for route in routes:
        rule = rules.of(route)
        if rule.deployment:
            named = _named(prefect, rule)
            if named is None:
                text = f"{route} starts the deployment {rule.deployment!r}, which is not there"
                found.append(Found(Part.ROUTE, text, route, "deploy it, or correct the AlertWebhook block"))
            else:
                found += _check_deployment(prefect, route, named)
        elif len(ids := served.deployments.get(route, frozenset())) == 1:
            found += _check_deployment(prefect, route, by_id[str(next(iter(ids)))])
        elif ids:
            text = f"{route} starts nothing: several deployments carry the tag {tag_of(route)!r}"
            found.append(Found(Part.ROUTE, text, route, "leave the tag on one of them"))
        else:
            text = f"{route} starts nothing: no deployment carries the tag {tag_of(route)!r}"
            found.append(Found(Part.ROUTE, text, route, "add it to one in prefect.yaml, and deploy that"))
    return found


def _named(prefect: SyncPrefectClient, rule: AlertRoute) -> Deployment | None:
    try:
        return prefect.read_deployment_by_name(rule.deployment).model_dump(mode="json")
    except (ObjectNotFound, ValueError):
        return None


def _check_deployment(prefect: SyncPrefectClient, route: str, deployment: Deployment) -> Iterator[Found]:
    """Return what keeps the runs of a deployment from being executed. A paused schedule does not."""
    starts = f"{route} starts {deployment['name']!r}"
    parameters = (deployment.get("parameter_openapi_schema") or {}).get("properties")
    if parameters is not None and "alert" not in parameters:
        yield Found(Part.ROUTE, f"{starts}, whose flow takes no parameter `alert`", route, "add it to the flow")
        return
    name = deployment.get("work_pool_name")
    if name is None:
        if deployment.get("status") == "NOT_READY":
            yield Found(Part.ROUTE, f"{starts}, which no process serves", route, "start the process that serves it")
        return
    try:
        pool = prefect.read_work_pool(name)
        queue = prefect.read_work_queue(deployment["work_queue_id"]) if deployment.get("work_queue_id") else None
    except ObjectNotFound:
        yield Found(Part.ROUTE, f"{starts}, whose work pool or queue is not there", route, "deploy it anew")
        return
    if pool.is_paused:
        yield Found(Part.ROUTE, f"{starts}, whose work pool {name!r} is paused", route, "resume the work pool")
    elif queue and queue.is_paused:
        yield Found(Part.ROUTE, f"{starts}, whose work queue {queue.name!r} is paused", route, "resume the work queue")
    elif pool.status == WorkPoolStatus.NOT_READY and not pool.type.endswith(_WITHOUT_WORKERS):
        advice = f"start one: prefect worker start --pool {name}"
        yield Found(Part.ROUTE, f"{starts}, but no worker of the work pool {name!r} is online", route, advice)


# --- the receiver -----------------------------------------------------------------------------------------------------


def check_receiver(webhook: AlertWebhook, routes: Sequence[str], *, is_public: bool) -> list[Found]:
    """Return what is wrong with the receiver, and with the dispatcher behind it, as far as it says.

    Args:
        webhook: the block that says where it is.
        routes: those whose troubles count.
        is_public: whether the service that calls it back calls from the internet.
    """
    if not webhook.check_receiver:
        return []
    where = webhook.base_url
    if is_public and _is_private(where):
        text = f"at {where} has a private address, which VideoDB cannot reach from the internet"
        return [Found(Part.RECEIVER, text, advice="save its public address in the AlertWebhook block")]
    try:
        status, told = _ask_patiently(webhook)
    except (httpx.HTTPError, httpx.InvalidURL, UnreadableBody) as error:
        text = f"at {where} cannot be reached from this worker ({type(error).__name__})"
        advice = (
            "start it, or correct the block's base URL. Whether VideoDB reaches it from the internet is not known "
            "here; if only this worker cannot, switch the check off in the block"
        )
        return [Found(Part.RECEIVER, text, advice=advice)]
    if status == httpx.codes.OK and "waiting" in told:
        return list(_check_health(where, told, routes))
    said: dict[int, tuple[str, str]] = {
        httpx.codes.UNAUTHORIZED: (
            "does not accept the token of the AlertWebhook block",
            "start it with --webhook and the name of this block, on this Prefect server",
        ),
        httpx.codes.SERVICE_UNAVAILABLE: ("cannot keep alerts (503)", "look into its log, and at its disk or queue"),
    }
    text, advice = said.get(
        status,
        (f"answers {status}, as no receiver does", "lead the block's base URL to the receiver, with no redirect"),
    )
    return [Found(Part.RECEIVER, f"at {where} {text}", advice=advice)]


def _check_health(where: str, told: Mapping[str, Any], routes: Sequence[str]) -> Iterator[Found]:
    if told.get("dispatcher") == "away":
        text = f"at {where} keeps alerts, but no dispatcher makes flow runs of them"
        yield Found(Part.RECEIVER, text, "dispatcher", "start the dispatcher, or the receiver without --only")
    troubles = [str(trouble) for trouble in told.get("troubles") or []]
    for route in routes:
        for trouble in troubles:
            if trouble.startswith(f"route {route}: "):
                text = f"{route} has alerts that wait: {trouble.removeprefix(f'route {route}: ')}"
                advice = "see what waits: python -m prefect_videodb.webhooks.letters"
                yield Found(Part.ROUTE, one_line(text)[:_LONGEST_TEXT], route, advice)
                break


def _ask_patiently(webhook: AlertWebhook) -> tuple[int, dict[str, Any]]:
    """Ask the receiver how it is. One that accepts the token before this one is given time to read the new one."""
    until = time.monotonic() + _RELOAD_S
    while True:
        status, told = _ask(webhook.base_url, webhook.token)
        if status != httpx.codes.UNAUTHORIZED or not webhook.previous_token or time.monotonic() >= until:
            return status, told
        if _ask(webhook.base_url, webhook.previous_token)[0] == httpx.codes.UNAUTHORIZED:
            return status, told
        time.sleep(_ASK_AGAIN_S)


def _ask(base_url: str, token: SecretStr) -> tuple[int, dict[str, Any]]:
    headers = {"authorization": f"Bearer {token.get_secret_value()}", "accept-encoding": "identity"}
    answer = exchange_once(httpx.Request("GET", f"{base_url}/healthz", headers=headers), _TIMEOUT_S)
    with suppress(ValueError, RecursionError):
        told = json.loads(answer.body)
        if isinstance(told, dict):
            return answer.status, told
    return answer.status, {}


def _is_private(url: str) -> bool:
    """Whether a URL names a host that is private for sure. Of a name nobody knows what it is elsewhere."""
    host = read(url, WEBHOOK).host
    with suppress(ValueError):
        return not ipaddress.ip_address(host).is_global
    return host == "localhost" or host.endswith((".localhost", ".internal", ".local"))
