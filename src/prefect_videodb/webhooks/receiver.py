"""The way in: an ASGI application that answers when an alert is kept for good.

It stands alone or is mounted in an application of the user's own. It uses no web framework: it has one route, and what
it refuses it refuses before it has read a body.
"""

import asyncio
import json
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from prefect_videodb.redact import BLOT
from prefect_videodb.webhooks.alert import Alert, identity
from prefect_videodb.webhooks.decode import LONGEST_BODY, LifecycleEvent, decode_all, storable, unpack
from prefect_videodb.webhooks.firing import firing_of
from prefect_videodb.webhooks.lifecycle import identity_of_stage
from prefect_videodb.webhooks.log_limit import LogLimit
from prefect_videodb.webhooks.mail import Away, Backlog, DeadLetter, DeadLettersFull, Letter, Mailbox, TooLong
from prefect_videodb.webhooks.rules import Rules
from prefect_videodb.webhooks.waking import Waker

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PATH = "videodb"
ROUTE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
RUN = re.compile(r"[0-9a-f-]{36}")
_ADDRESS = re.compile(rf"/{PATH}/(?P<route>{ROUTE.pattern})/(?P<token>[^/]{{1,256}})(/(?P<run>{RUN.pattern}))?/?")
_HEALTH = re.compile(r"/healthz(/(?P<token>[^/]{1,256}))?")
# All that may be a token, right or wrong, wherever the application is mounted.
_MAY_BE_TOKEN = re.compile(rf"(/{PATH}/[^/]*/|/healthz/).+", re.DOTALL)
_BODY_WITHIN_S = 10.0
# Prefect refuses parameters of more than 524,288 bytes; others stand beside the alert.
_LONGEST_TOLD = 256 * 1024
_LONGEST_VALUE = 16 * 1024
_MOST_BUCKETS = 1000
# Who asks without a token is told what was so a moment ago: however many ask, the inbox is counted once.
_COUNTED_FOR_S = 2.0
_LATER = {"retry-after": "5"}
# It gives a sign of life every ten seconds.
_DISPATCHER_AWAY_S = 60.0
logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Bucket:
    """How much of a route's rate is left."""

    left: float
    at: float = field(default_factory=time.monotonic)

    def take(self, per_minute: int) -> float:
        """Take one; returns 0, or after how many seconds there is one again."""
        now = time.monotonic()
        self.left = min(float(per_minute), self.left + (now - self.at) * per_minute / 60)
        self.at = now
        if self.left < 1:
            return (1 - self.left) * 60 / per_minute
        self.left -= 1
        return 0.0


class Refused(Exception):
    """The request is answered with this status."""

    def __init__(self, status: int, said: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(said)
        self.status = status
        self.headers = headers or {}


class Receiver:
    """The application.

    Args:
        inbox: where alerts are kept.
        rules: gives the rules as they are now.
        on_letter: called when something new is kept.
    """

    def __init__(
        self, inbox: Mailbox, rules: Callable[[], Rules], on_letter: Callable[[], None] = lambda: None
    ) -> None:
        self._inbox = inbox
        self._rules = rules
        self._on_letter = on_letter
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._waker = Waker()
        self._counting: tuple[float, asyncio.Task[Backlog]] | None = None
        self._dead_letters_logged = LogLimit()
        self._failures_logged = LogLimit()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path") or "")
        _blot(scope)
        if scope["type"] != "http":
            return
        try:
            if (asked := _HEALTH.fullmatch(path)) and scope["method"] in {"GET", "HEAD"}:
                await _answer(send, 200, await self._health(asked["token"] or _bearer(scope)))
                return
            letters = await self._read(scope, receive, path)
            is_new = await self._keep(letters)
        except Refused as refusal:
            # What follows of the body is not read: the connection ends with the answer.
            headers = refusal.headers | {"connection": "close"}
            await _answer(send, refusal.status, {"detail": str(refusal)}, headers)
            return
        except _Gone:
            return
        if is_new is not False:  # None: the inbox cannot tell
            self._on_letter()
        await _answer(send, 200, {"accepted": True, "new": is_new})

    async def _health(self, token: str | None) -> dict[str, Any]:
        """Return how much waits; with a valid token also why, which names routes and deployments."""
        if token is not None and not self._rules().admits(token):
            raise Refused(401, "unauthorized")
        try:
            backlog = await self._count(0.0 if token else _COUNTED_FOR_S)
        except Away as error:
            raise Refused(503, f"the inbox cannot be reached ({error})", _LATER) from None
        told_s = round(max(0.0, time.time() - backlog.oldest_at), 1) if backlog.oldest_at else None
        # Null where something waits and the inbox cannot tell since when.
        oldest_s = told_s if backlog.waiting else 0.0
        told = {"waiting": backlog.waiting, "oldest_waits_s": oldest_s, "dead_letters": backlog.dead_letters}
        return told if token is None else told | {"troubles": backlog.troubles, "dispatcher": _dispatcher(backlog)}

    async def _count(self, known_for_s: float) -> Backlog:
        """Return how much waits, as it was at most so many seconds ago. The inbox is asked once at a time."""
        now = time.monotonic()
        if self._counting is None or (self._counting[1].done() and now - self._counting[0] >= known_for_s):
            self._counting = now, asyncio.create_task(asyncio.to_thread(self._inbox.backlog))
        # Who goes away while it is counted does not stop it for the others.
        return await asyncio.shield(self._counting[1])

    async def _read(self, scope: Scope, receive: Receive, path: str) -> list[Letter | DeadLetter]:
        rules = self._rules()
        found = _ADDRESS.fullmatch(path)
        if found is None or not rules.admits(found["token"]):
            raise Refused(401, "unauthorized")
        if scope["method"] != "POST":
            raise Refused(405, "POST an alert", {"allow": "POST"})
        route = found["route"]
        bucket = self._within_rate(route, rules)
        headers = {bytes(name).lower(): bytes(value).decode("latin-1") for name, value in scope["headers"]}
        body, packed = unpack(await _body(headers, receive), headers.get(b"content-encoding", ""))
        # Who echoes the address that it was given must not spread it.
        body = without_token(body, found["token"])
        posted = decode_all(body, headers.get(b"content-type", ""))
        # An array takes as many of the rate as it has alerts: what comes next waits until they are made up for.
        bucket.left -= max(0, len(posted.read) - 1)
        letters: list[Letter | DeadLetter] = []
        for told, part in posted.read:
            told.flow_run_id = found["run"]
            letters.append(kept(told, route, part, rules.of(route).cooldown_s))
        if posted.unreadable is not None:
            letters.append(DeadLetter(route, packed or posted.reason, posted.unreadable))
        return letters

    def _within_rate(self, route: str, rules: Rules) -> _Bucket:
        per_minute = rules.of(route).per_minute
        bucket = self._buckets.setdefault(route, _Bucket(float(per_minute)))
        wait_s = bucket.take(per_minute)
        self._buckets.move_to_end(route)
        # The name stands behind a valid token, and still there must not be as many buckets as there are names.
        if len(self._buckets) > _MOST_BUCKETS:
            self._buckets.popitem(last=False)
        if wait_s:
            raise Refused(429, "too many alerts", {"retry-after": str(int(wait_s) + 1)})
        return bucket

    async def _keep(self, letters: list[Letter | DeadLetter]) -> bool | None:
        """Keep all that a body holds; returns whether there is something new in it, None where that cannot be told."""
        try:
            puts = [self._inbox.put(letter) for letter in letters]
            found = [await self._waker.result(put) for put in puts]
        except TooLong as error:
            raise Refused(413, str(error)) from None
        except DeadLettersFull as error:
            self._failures_logged.warning(logger, "Something that cannot be read was answered 507: %s", error)
            raise Refused(507, "it cannot be read, and no more of the kind is kept") from None
        except Away as error:
            self._failures_logged.warning(logger, "An alert was answered 503, to be sent again: %s", error)
            raise Refused(503, "cannot be kept now, send it again", _LATER) from error
        except Exception as error:
            logger.exception("An alert could not be kept: it is answered 503, to be sent again")
            raise Refused(503, "cannot be kept now, send it again", _LATER) from error
        for letter, is_new in zip(letters, found, strict=True):
            if isinstance(letter, DeadLetter) and is_new is not False:
                self._dead_letters_logged.warning(
                    logger, "Route %s was sent what is kept as a dead letter: %s", letter.route, letter.reason
                )
        return True if True in found else None if None in found else False


def kept(told: Alert | LifecycleEvent, route: str, body: bytes, cooldown_s: float = 0.0) -> Letter | DeadLetter:
    """Make the letter of an alert or stage; a dead one where it cannot be written down."""
    try:
        return letter_of(told, route, body, cooldown_s)
    except (ValueError, RecursionError):  # nested too deeply, or circular for whoever writes it down
        return DeadLetter(route, "what it holds cannot be written down", body)


def letter_of(told: Alert | LifecycleEvent, route: str, body: bytes, cooldown_s: float = 0.0) -> Letter:
    """Make the letter of an alert or stage, in whatever way it came; `body` is how it came, kept as it is."""
    kept = shortened(storable(told.model_dump(mode="json", exclude_none=True))) | {"route": route}
    if isinstance(told, Alert):
        if told.stream:
            kept["rtstream_id"] = told.stream
        firing = firing_of(told, route)
        return Letter(identity(told, route), route, "alert", kept, body, cooldown_s, firing=firing)
    return Letter(identity_of_stage(told, route), route, "lifecycle", kept, body)


def without_token(body: bytes, token: str) -> bytes:
    """Blot a token out of what was posted, in whatever way that is written."""
    for encoding in ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        if (found := token.encode(encoding, "replace")) in body:
            body = body.replace(found, BLOT.encode(encoding))
    return body


def shortened(told: dict[str, Any]) -> dict[str, Any]:
    """Make of what came what Prefect takes as a parameter; the inbox has the whole body.

    Prefect counts the JSON with everything but ASCII escaped.
    """
    if len(json.dumps(told)) <= _LONGEST_TOLD:
        return told
    short = {key: _cut(value) for key, value in told.items()}
    if len(json.dumps(short)) <= _LONGEST_TOLD:
        return short
    return {key: value for key, value in short.items() if key in Alert.model_fields | LifecycleEvent.model_fields}


def _cut(value: Any) -> Any:
    written = value if isinstance(value, str) else json.dumps(value)
    return value if len(json.dumps(written)) <= _LONGEST_VALUE else written[: _LONGEST_VALUE // 12] + " …"


def _blot(scope: Scope) -> None:
    """Blot tokens out of the path, in place: whoever writes an access log reads it out of the same scope."""
    path = _MAY_BE_TOKEN.sub(rf"\g<1>{BLOT}", scope["path"])
    if path != scope["path"]:
        scope["path"] = path
        scope["raw_path"] = quote(path).encode()


def _bearer(scope: Scope) -> str | None:
    """Return the token of a header: no access log shows that."""
    for name, value in scope["headers"]:
        kind, _, token = value.decode("latin-1").partition(" ")
        if name.lower() == b"authorization" and kind.lower() == "bearer":
            return str(token.strip())
    return None


def _dispatcher(backlog: Backlog) -> str:
    """Return whether a dispatcher is at work on what is kept here, where the inbox can tell."""
    if backlog.dispatcher_seen_at is None:
        return "unknown"
    return "away" if time.time() - backlog.dispatcher_seen_at > _DISPATCHER_AWAY_S else "working"


class _Gone(Exception):
    """Whoever asked has gone."""


async def _body(headers: dict[bytes, str], receive: Receive) -> bytes:
    length = headers.get(b"content-length", "")
    if length.isdecimal() and int(length[:20]) > LONGEST_BODY:  # what is no number, the server has seen to
        raise Refused(413, f"the body is longer than {LONGEST_BODY} bytes")
    try:
        async with asyncio.timeout(_BODY_WITHIN_S):
            return await _all_of(receive)
    except TimeoutError:
        raise Refused(408, f"the body took longer than {_BODY_WITHIN_S:g} s") from None


async def _all_of(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        part = message.get("body", b"")
        size += len(part)
        if size > LONGEST_BODY:
            raise Refused(413, f"the body is longer than {LONGEST_BODY} bytes")
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


async def _answer(send: Send, status: int, told: dict[str, Any], headers: dict[str, str] | None = None) -> None:
    body = json.dumps(told).encode()
    lines = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if headers:
        lines += [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
