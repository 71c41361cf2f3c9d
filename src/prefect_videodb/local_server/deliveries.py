"""What the server POSTs to somebody who waits for it: kept in the database until it is accepted, sent at least once."""

import heapq
import json
import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx

from prefect_videodb.local_server.store import Store

logger = logging.getLogger(__name__)

# Before each try. What is still refused after the last one is given up: nobody listens there any more.
DELAYS_S = (0.0, 0.5, 2.0, 10.0, 60.0, 300.0)
ACCEPTED_WITHIN_S = 10.0
# A receiver that hangs holds one of them; so many must hang before others wait.
SENDERS = 8


class Deliveries:
    """The outgoing webhooks of one server.

    A delivery is added in the transaction of what it tells about, so that a kill loses neither or both; `send` after
    the transaction tells the sender to look. The order in which deliveries arrive is not promised.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._closing = threading.Event()
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
        if self._accepted(row["url"], row["body"]):
            self._store.execute("DELETE FROM deliveries WHERE id = ?", number)
            return
        attempts = row["attempts"] + 1
        if attempts < len(DELAYS_S):
            self._store.execute("UPDATE deliveries SET attempts = ? WHERE id = ?", attempts, number)
            with self._look:
                heapq.heappush(self._due, (time.monotonic() + DELAYS_S[attempts], number))
                self._added = True
                self._look.notify()
        else:
            logger.warning("%s was not accepted in %d tries; it is not sent again", row["subject"], attempts)
            self._store.execute("DELETE FROM deliveries WHERE id = ?", number)

    def _accepted(self, url: str, body: str) -> bool:
        headers = {"content-type": "application/json"}
        try:
            return self._http.post(url, content=body.encode(), headers=headers).is_success
        except (httpx.HTTPError, httpx.InvalidURL):
            return False


def _report(future: Future[None]) -> None:
    """Log what a pool would keep to itself: what happened to a delivery could not even be stored (the disk is full)."""
    if not future.cancelled() and (error := future.exception()):
        logger.error("a delivery could not be noted: %s; it is sent again at the next start", type(error).__name__)
