"""The queue of what no run can be made of."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from prefect_videodb.webhooks.mail import Away, DeadLetter, TooLong
from prefect_videodb.webhooks.message import Entry, dead_entry, read_dead
from prefect_videodb.webhooks.queues import FAILURES, MOST_AT_ONCE, longest_of, told
from prefect_videodb.webhooks.sending import Sender

if TYPE_CHECKING:
    from concurrent.futures import Future

    from mypy_boto3_sqs import SQSClient

# What one look has taken out is hidden from others for so long, if it cannot be put back.
_LISTING_S = 30
_MOST_LOOKED_AT = 1000
logger = logging.getLogger(__name__)


class DeadQueue:
    """The queue; each letter is a message group of its own there."""

    def __init__(self, sqs: "SQSClient", url: str) -> None:
        self._sqs = sqs
        self._url = url
        self._sender = Sender(sqs, url, longest_of(sqs, url))

    def put(self, entry: Entry) -> "Future[bool | None]":
        """Keep a letter."""
        return self._sender.put(entry)

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

    def all(self, most: int = _MOST_LOOKED_AT) -> list[tuple[int, DeadLetter]]:
        """Give the letters that nobody else looks at just now, with the numbers that SQS has given them."""
        found = self._take(most)
        self._put_back(found)
        return [(int(message["Attributes"]["SequenceNumber"]), read_dead(message)) for message in found]

    def remove(self, seq: int, before: Callable[[], object] = lambda: None) -> bool:
        """Remove one of them, after something else; gives whether there was such a one."""
        found = self._take(_MOST_LOOKED_AT)
        these = [message for message in found if message["Attributes"]["SequenceNumber"] == str(seq)]
        self._put_back([message for message in found if message not in these])
        if not these:
            return False
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
        return True

    def close(self) -> None:
        """Send what waits to be sent."""
        self._sender.close()

    def _take(self, most: int) -> list[Any]:
        found: list[Any] = []
        try:
            while len(found) < most:
                answer = self._sqs.receive_message(
                    QueueUrl=self._url,
                    MaxNumberOfMessages=min(MOST_AT_ONCE, most - len(found)),
                    WaitTimeSeconds=1,
                    VisibilityTimeout=_LISTING_S,
                    MessageAttributeNames=["All"],
                    MessageSystemAttributeNames=["All"],
                )
                if not (messages := answer.get("Messages")):
                    break
                found += messages
        except FAILURES as error:
            raise Away(told(error)) from error
        return found

    def _put_back(self, messages: Sequence[Any]) -> None:
        for message in messages:
            with suppress(*FAILURES):  # it is seen again all the same, half a minute later
                self._sqs.change_message_visibility(
                    QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
                )
