"""Send messages to an SQS queue: those that wait at the same time go together, and each is told what became of it."""

import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from prefect_videodb.webhooks.mail import Away, TooLong
from prefect_videodb.webhooks.message import Entry, size_of
from prefect_videodb.webhooks.queues import MOST_AT_ONCE, told

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


@dataclass(slots=True)
class _Sent:
    entry: Entry
    size: int
    future: "Future[bool | None]" = field(default_factory=Future)


class Sender:
    """Sends from a thread of its own, one batch after the other: what was put first is in the queue first.

    Args:
        sqs: SQS.
        url: of the queue.
        longest: the longest message that the queue takes, in bytes. SQS takes no batch that is longer in all.
    """

    def __init__(self, sqs: "SQSClient", url: str, longest: int) -> None:
        self._sqs = sqs
        self._url = url
        self.longest = longest
        self._waiting: deque[_Sent] = deque()
        self._there = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="sqs-sender")
        self._thread.start()

    def put(self, entry: Entry) -> "Future[bool | None]":
        """Send a message; the future is there when SQS has it. It raises `TooLong` or `Away`."""
        sent = _Sent(entry, size_of(entry))
        if sent.size > self.longest:
            sent.future.set_exception(TooLong(f"with what is kept beside it, it is longer than {self.longest} bytes"))
            return sent.future
        with self._there:
            if self._is_closed:
                sent.future.set_exception(Away("it is closed"))
                return sent.future
            self._waiting.append(sent)
            self._there.notify()
        return sent.future

    def close(self) -> None:
        """Send what waits to be sent, and end."""
        with self._there:
            self._is_closed = True
            self._there.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next():
            try:
                entries: list[Any] = [sent.entry | {"Id": str(number)} for number, sent in enumerate(batch)]
                answer = self._sqs.send_message_batch(QueueUrl=self._url, Entries=entries)
            except Exception as error:  # noqa: BLE001 - whatever it is, whoever waits for it is told
                # Who waits behind it would wait as long, and in vain: VideoDB is to send it again.
                behind = [] if isinstance(error, ClientError) else self._all_that_wait()
                for sent in batch + behind:
                    _fail(sent, told(error))
                continue
            failed = {entry["Id"]: entry.get("Code", "") for entry in answer.get("Failed", [])}
            done = {entry["Id"] for entry in answer.get("Successful", [])}
            for number, sent in enumerate(batch):
                if str(number) in done and str(number) not in failed:
                    _tell(sent)
                else:
                    _fail(sent, failed.get(str(number)) or "no answer")

    def _next(self) -> list[_Sent]:
        """Wait for something to send, and give what goes together; nothing when all is sent and this is closed."""
        with self._there:
            while not self._waiting and not self._is_closed:
                self._there.wait()
            batch: list[_Sent] = []
            size = 0
            while self._waiting and len(batch) < MOST_AT_ONCE and size + self._waiting[0].size <= self.longest:
                sent = self._waiting.popleft()
                size += sent.size
                batch.append(sent)
            return batch

    def _all_that_wait(self) -> list[_Sent]:
        with self._there:
            waiting = list(self._waiting)
            self._waiting.clear()
            return waiting


def _tell(sent: _Sent) -> None:
    if sent.future.set_running_or_notify_cancel():
        sent.future.set_result(None)  # SQS does not tell whether it had it before


def _fail(sent: _Sent, why: str) -> None:
    if sent.future.set_running_or_notify_cancel():
        sent.future.set_exception(Away(why))
