"""What the server POSTs to somebody who waits for it: kept in the database until it is accepted, sent at least once."""

import heapq
import json
import logging
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from prefect_videodb.local_server import urls
from prefect_videodb.local_server.store import Store

logger = logging.getLogger(__name__)

# Before each try. What is still refused after the last one is given up: nobody listens there any more.
DELAYS_S = (0.0, 0.5, 2.0, 10.0, 60.0, 300.0)
ACCEPTED_WITHIN_S = 10.0
# A receiver that hangs holds one of them; so many must hang before others wait.
SENDERS = 8
# How many of the latest are shown to people.
SHOWN = 50


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a delivery so far. Holds no secret: of the address only the host."""

    subject: str
    host: str
    answer: str
    tries: int
    state: Literal["accepted", "tried again", "given up"]
    at: float
    """Unix seconds of the last try."""


class Deliveries:
    """The outgoing webhooks of one server.

    A delivery is added in the transaction of what it tells about, so that a kill loses neither or both; `send` after
    the transaction tells the sender to look. The order in which deliveries arrive is not promised.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._closing = threading.Event()
        self._outcomes: OrderedDict[int, Outcome] = OrderedDict()
        self._look = threading.Condition()
        self._added = False
        self._last_seen = 0
        self._due: list[tuple[float, int]] = []  # by the monotonic clock, which nobody sets
        self._thread = threading.Thread(target=self._run, name="videodb-deliveries")
        self._senders = ThreadPoolExecutor(SENDERS, thread_name_prefix="videodb-delivery")
        # Redirects are not followed: an answer elsewhere is not what the caller named.
        self._http = httpx.Client(timeout=ACCEPTED_WITHIN_S, follow_redirects=False)

    def resume(self) -> None:
        """Start to send, beginning with what an earlier server on this folder could not."""
        self._thread.start()

    def close(self) -> None:
        """Stop to send. What was not accepted stays for the next server."""
        self._closing.set()
        self.send()
        if self._thread.is_alive():
            self._thread.join()
        self._senders.shutdown(wait=True, cancel_futures=True)
        self._http.close()

    def add(self, subject: str, url: str, body: Mapping[str, Any]) -> None:
        """Keep something to be POSTed as JSON; `subject` names it in the log, which the address must not reach."""
        self._store.execute(
            "INSERT INTO deliveries (subject, url, body, attempts) VALUES (?, ?, ?, 0)", subject, url, json.dumps(body)
        )

    def send(self) -> None:
        """Send what was added."""
        with self._look:
            self._added = True
            self._look.notify()

    def _run(self) -> None:
        while not self._closing.is_set():
            with self._look:
                self._added = False
            for row in self._store.all("SELECT id FROM deliveries WHERE id > ? ORDER BY id", self._last_seen):
                self._last_seen = row["id"]
                with self._look:
                    heapq.heappush(self._due, (time.monotonic(), row["id"]))
            with self._look:
                while self._due and self._due[0][0] <= time.monotonic():
                    _, number = heapq.heappop(self._due)
                    self._senders.submit(self._deliver, number).add_done_callback(_report)
                if not self._added:
                    self._look.wait(max(0.0, self._due[0][0] - time.monotonic()) if self._due else None)

    def _deliver(self, number: int) -> None:
        row = self._store.one("SELECT * FROM deliveries WHERE id = ?", number)
        if row is None or self._closing.is_set():
            return
        answer, is_accepted = self._post(row["url"], row["body"])
        attempts = row["attempts"] + 1
        if is_accepted:
            self._store.execute("DELETE FROM deliveries WHERE id = ?", number)
            self._note(row, answer, attempts, "accepted")
        elif attempts < len(DELAYS_S):
            self._store.execute("UPDATE deliveries SET attempts = ? WHERE id = ?", attempts, number)
            self._note(row, answer, attempts, "tried again")
            with self._look:
                heapq.heappush(self._due, (time.monotonic() + DELAYS_S[attempts], number))
                self._added = True
                self._look.notify()
        else:
            logger.warning("%s was not accepted in %d tries; it is not sent again", row["subject"], attempts)
            self._store.execute("DELETE FROM deliveries WHERE id = ?", number)
            self._note(row, answer, attempts, "given up")

    def outcomes(self) -> list[Outcome]:
        """Return what came of the latest deliveries since the server was started, the latest first."""
        with self._look:
            return list(reversed(self._outcomes.values()))

    def _note(
        self, row: sqlite3.Row, answer: str, tries: int, state: Literal["accepted", "tried again", "given up"]
    ) -> None:
        outcome = Outcome(row["subject"], urls.shown(row["url"]), answer, tries, state, time.time())
        with self._look:
            self._outcomes[row["id"]] = outcome
            self._outcomes.move_to_end(row["id"])
            while len(self._outcomes) > SHOWN:
                self._outcomes.popitem(last=False)

    def _post(self, url: str, body: str) -> tuple[str, bool]:
        """Return what was answered, and whether that accepts it."""
        headers = {"content-type": "application/json"}
        try:
            response = self._http.post(url, content=body.encode(), headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return type(error).__name__, False
        return str(response.status_code), response.is_success


def _report(future: Future[None]) -> None:
    """Log what a pool would keep to itself: what happened to a delivery could not even be stored (the disk is full)."""
    if not future.cancelled() and (error := future.exception()):
        logger.error("a delivery could not be noted: %s; it is sent again at the next start", type(error).__name__)
