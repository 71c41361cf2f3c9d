"""Which Prefect server a run belongs to: several may work with one VideoDB account, and know nothing of each other.

A run's id alone does not tell: what one server calls deleted may be recording for another. So each server has an
identity, kept in its database as a variable, which stands in the name of what its runs make.
"""

import re
import threading
import time
from dataclasses import dataclass, field
from uuid import uuid4

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import PrefectException
from prefect.settings import PREFECT_API_URL

from prefect_videodb._asking import asking_once
from prefect_videodb._logging import get_logger
from prefect_videodb.recording.memory import Memory

VARIABLE = "videodb_server"
# What a run remembers of it. It is empty where Prefect could not be asked.
SERVER = "server"
_IDENTITY = re.compile(r"[0-9a-f]{12}")
_ANSWER_WITHIN_S = 5.0
# Prefect on SQLite refuses now and then, and is asked again; one that hangs is not.
_TRIES = 3
_PAUSE_S = 0.5
_PATIENCE_S = 2.0
# A worker lives for weeks, and its Prefect's database may be restored meanwhile.
_FRESH_S = 600.0
# Hundreds that begin together do not wait one after the other for a Prefect that hangs.
_NOT_AGAIN_FOR_S = 30.0
_CONFLICT, _NOT_FOUND = 409, 404


@dataclass(slots=True)
class _Known:
    """What is known of one server; the moments are of the monotonic clock."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    identity: str | None = None
    ask_after: float = float("-inf")


_lock = threading.Lock()
_known: dict[str | None, _Known] = {}


def this_server(prefect: SyncPrefectClient) -> str | None:
    """Give the identity of the Prefect server, asked for once by all of a process; made where there is none yet.

    None where Prefect cannot be asked, or somebody has given the variable a value that is none: nothing is to be kept
    from starting by that.
    """
    with _lock:
        mine = _known.setdefault(PREFECT_API_URL.value(), _Known())
    # Who asks may hang, or be interrupted and leave this locked: then the others ask by themselves.
    is_mine = mine.lock.acquire(timeout=_PATIENCE_S)
    try:
        if time.monotonic() >= mine.ask_after:
            try:
                mine.identity = _ask(prefect, mine.identity or uuid4().hex[-12:])
                mine.ask_after = time.monotonic() + _FRESH_S
            except (httpx.HTTPError, PrefectException, ValueError) as error:
                get_logger().warning("Prefect could not be asked for its identity: %s", error)
                mine.ask_after = time.monotonic() + _NOT_AGAIN_FOR_S
        return mine.identity
    finally:
        if is_mine:
            mine.lock.release()


def server_of_run(memory: Memory, *, has_begun: bool) -> str | None:
    """Give the identity for the names of what a run makes: the same one in each of its executions.

    Args:
        memory: what the run remembers; whoever asks adds `SERVER` to it.
        has_begun: whether an earlier execution may have made something. If that remembers none, its names hold none.
    """
    known = memory.recall(SERVER)
    if known is None and not has_begun:
        return this_server(memory.prefect)
    return known or None


def _ask(prefect: SyncPrefectClient, proposed: str) -> str:
    """Read the variable, or make it. Of two that make it at once, the second reads what the first made.

    Raises:
        httpx.HTTPError, PrefectException: Prefect cannot be asked.
        ValueError: the variable's value is no identity.
    """
    for _ in range(_TRIES - 1):
        try:
            return _read_or_make(prefect, proposed)
        except httpx.HTTPStatusError:
            time.sleep(_PAUSE_S)
    return _read_or_make(prefect, proposed)


def _read_or_make(prefect: SyncPrefectClient, proposed: str) -> str:
    if (found := _read(prefect)) is not None:
        return found
    try:
        with asking_once():
            body = {"name": VARIABLE, "value": proposed}
            prefect.request("POST", "/variables/", json=body, timeout=_ANSWER_WITHIN_S).raise_for_status()
    except httpx.HTTPStatusError as refusal:
        if refusal.response.status_code != _CONFLICT or (found := _read(prefect)) is None:
            raise
        return found
    return proposed


def _read(prefect: SyncPrefectClient) -> str | None:
    try:
        with asking_once():
            answer = prefect.request(
                "GET", "/variables/name/{name}", path_params={"name": VARIABLE}, timeout=_ANSWER_WITHIN_S
            )
            found = answer.raise_for_status().json().get("value")
    except httpx.HTTPStatusError as refusal:
        if refusal.response.status_code == _NOT_FOUND:
            return None
        raise
    if not isinstance(found, str) or not _IDENTITY.fullmatch(found):
        raise ValueError(f"the variable {VARIABLE} is not twelve hexadecimal digits: delete it, and it is made anew")
    return found
