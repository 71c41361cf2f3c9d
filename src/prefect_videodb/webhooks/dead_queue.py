"""The queue of what no run can be made of."""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from prefect_videodb.webhooks.mail import MOST_DEAD_LETTERS, Away, DeadLetter, DeadLettersFull, TooLong
from prefect_videodb.webhooks.message import Entry, dead_entry, read_dead
from prefect_videodb.webhooks.queues import FAILURES, MOST_AT_ONCE, count, longest_of, told
from prefect_videodb.webhooks.sending import Sender

if TYPE_CHECKING:
    from concurrent.futures import Future

    from mypy_boto3_sqs import SQSClient

# What one look has taken out is hidden from others for so long, if it cannot be put back.
_LISTING_S = 120
# SQS is asked for how many there are as often as that.
_COUNTED_FOR_S = 5.0
logger = logging.getLogger(__name__)


class DeadQueue:
    """The queue; each letter is a message group of its own there."""

    def __init__(self, sqs: "SQSClient", url: str) -> None:
        self._sqs = sqs
        self._url = url
        self._sender = Sender(sqs, url, longest_of(sqs, url))
        self._counting = threading.Lock()
        self._counted_until = 0.0
        self._count = 0

    def put(self, entry: Entry) -> "Future[bool | None]":
        """Keep a letter."""
        return self._sender.put(entry)

    def put_within_bound(self, entry: Entry) -> bool | None:
        """Keep a letter that was posted, and return when SQS has it.

        Raises:
            Away: it cannot be kept now.
            DeadLettersFull: there are too many, as far as SQS counts.
        """
        with self._counting:
            if time.monotonic() >= self._counted_until:
                self._count, self._counted_until = count(self._sqs, self._url), time.monotonic() + _COUNTED_FOR_S
            self._count += 1
            if self._count > MOST_DEAD_LETTERS:
                raise DeadLettersFull
        return self.put(entry).result()

    def bury(self, message: Mapping[str, Any], letter: DeadLetter) -> None:
        """Keep a copy of a message of the other queue. Repeated after a kill, it is the same copy.

        Raises:
            Away: it cannot be kept now.
        """
        once = str(message["MessageId"])
        try:
            self.put(dead_entry(letter, once)).result()
        except TooLong:  # with the reason beside it, or because this queue takes less than the other one
            logger.warning("Dead letter %s is too long for its queue: it is cut off", once)
            # Half of it fits in any case: it may be written in base64.
            cut = replace(letter, reason=f"{letter.reason} (cut off)", body=letter.body[: self._sender.longest // 2])
            self.put(dead_entry(cut, once)).result()

    def all(self, most: int, after: int = 0) -> list[tuple[int, DeadLetter]]:
        """Return the letters that nobody else looks at just now, by the numbers that SQS has given them."""
        # In which order it gives them out SQS does not say: all are looked at.
        found = sorted(self._take(), key=_number_of)
        self._put_back(found)
        return [(_number_of(one), read_dead(one)) for one in found if _number_of(one) > after][:most]

    def remove(self, seqs: Sequence[int], before: Callable[[], object] = lambda: None) -> set[int]:
        """Remove some of them, after something else; returns which of the numbers there were."""
        wanted = set(seqs)
        found = self._take(wanted)
        these = [message for message in found if _number_of(message) in wanted]
        self._put_back([message for message in found if _number_of(message) not in wanted])
        if not these:
            return set()
        try:
            before()
        except Exception:
            self._put_back(these)
            raise
        try:
            for message in these:
                self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
        except FAILURES as error:
            raise Away(told(error)) from error
        return {_number_of(message) for message in these}

    def close(self) -> None:
        """Send what waits to be sent."""
        self._sender.close()

    def _take(self, wanted: Collection[int] = ()) -> list[Any]:
        """Take out those with the numbers that are wanted, and what comes before them; all where none are."""
        found: list[Any] = []
        missing = set(wanted)
        try:
            while not wanted or missing:
                answer = self._sqs.receive_message(
                    QueueUrl=self._url,
                    MaxNumberOfMessages=MOST_AT_ONCE,
                    WaitTimeSeconds=1,
                    VisibilityTimeout=_LISTING_S,
                    MessageAttributeNames=["All"],
                    MessageSystemAttributeNames=["All"],
                )
                if not (messages := answer.get("Messages")):
                    break
                found += messages
                missing.difference_update(map(_number_of, messages))
        except FAILURES as error:
            raise Away(told(error)) from error
        return found

    def _put_back(self, messages: Sequence[Any]) -> None:
        for first in range(0, len(messages), MOST_AT_ONCE):
            entries: list[Any] = [
                {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 0}
                for number, message in enumerate(messages[first : first + MOST_AT_ONCE])
            ]
            with suppress(*FAILURES):  # they are seen again all the same, two minutes later
                self._sqs.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)


def _number_of(message: Mapping[str, Any]) -> int:
    return int(message["Attributes"]["SequenceNumber"])
