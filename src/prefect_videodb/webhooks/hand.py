"""What a process has taken out of a queue and not done yet: SQS holds it for this process as long as it says so."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from botocore.exceptions import ClientError

from prefect_videodb.webhooks.mail import Away, Waiting
from prefect_videodb.webhooks.queues import FAILURES, LOOK_S, MOST_AT_ONCE, told

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

# How long a message is in hand when nothing more is heard of this process, and how often it says that it is there.
_HELD_S = 30
_SAY_SO_EVERY_S = 8.0
# This long before SQS lets go of a message nothing is begun with it.
_SPARE_S = 5.0
_MOST_IN_HAND = 200
_FIRST_REST_S = 1
_LONGEST_REST_S = 60
# What SQS answers to a receipt that is too old, of a FIFO queue or another.
_TOO_OLD = frozenset({"InvalidParameterValue", "ReceiptHandleIsInvalid", "InvalidReceiptHandle", "InvalidIdFormat"})
logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Held:
    """A message in hand, until a moment of the monotonic clock."""

    letter: Waiting
    message: Mapping[str, Any]
    until: float

    @property
    def receipt(self) -> str:
        """What SQS knows it by while it is in hand."""
        return str(self.message["ReceiptHandle"])

    @property
    def times(self) -> int:
        """How often it came out."""
        return int(self.message["Attributes"].get("ApproximateReceiveCount", 1))


class Hand:
    """Takes messages out of a queue in threads of its own, and keeps them until they are done or let go.

    Args:
        sort: makes a letter of a message; gives None where it has seen to it that none is needed.
    """

    def __init__(self, sqs: "SQSClient", url: str, sort: Callable[[Mapping[str, Any]], Waiting | None]) -> None:
        self._sqs = sqs
        self._url = url
        self._sort = sort
        self._lock = threading.Lock()
        # Held while SQS is told for how long: what was let go must not be held again by an older word.
        self._saying = threading.Lock()
        self._held: dict[int, Held] = {}
        self._is_closed = threading.Event()
        self._threads: list[threading.Thread] = []
        self.came = 0

    def begin(self) -> None:
        """Take messages out, from the first call on."""
        with self._lock:
            if self._threads or self._is_closed.is_set():
                return
            self._threads = [
                threading.Thread(target=act, name=f"sqs{act.__name__}") for act in (self._take, self._say_so)
            ]
            for thread in self._threads:
                thread.start()

    def close(self) -> None:
        """Give back what is in hand."""
        self._is_closed.set()
        for thread in self._threads:
            thread.join()
        self._let_go(self.all(), 0)

    def all(self, route: str | None = None) -> list[Held]:
        """Give what is in hand, of one route or all, in order."""
        with self._lock:
            held = [one for one in self._held.values() if route in {None, one.letter.route}]
        return sorted(held, key=lambda one: one.letter.seq)

    def sure(self, route: str) -> list[Held]:
        """Give what is in hand of a route; nothing where another process may have some of it by now."""
        held = self.all(route)
        # In order, or not at all.
        return held if all(one.until > time.monotonic() + _SPARE_S for one in held) else []

    def get(self, seq: int) -> Held | None:
        """Give one of them."""
        with self._lock:
            return self._held.get(seq)

    def delete(self, held: Held) -> None:
        """Remove a message from the queue: it is done.

        Raises:
            Away: it cannot be now; it stays in hand.
        """
        self._delete(held.receipt)
        with self._lock:
            self._held.pop(held.letter.seq, None)

    def rest(self, route: str, times: int) -> None:
        """Let go of what is in hand of a route, for the longer the more often it came out; it comes again in order.

        The first time it comes again at once: a single failure costs next to nothing.
        """
        rest_s = 0 if times <= 1 else min(_FIRST_REST_S * 2 ** min(times - 2, 20), _LONGEST_REST_S)
        self._let_go(self.all(route), rest_s)

    def _delete(self, receipt: str) -> None:
        try:
            self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=receipt)
        except FAILURES as error:
            if not (isinstance(error, ClientError) and told(error) in _TOO_OLD):
                raise Away(told(error)) from error
            # It was taken too long ago: it comes out again, and becomes the same run.
            logger.warning("A message could not be deleted (%s)", told(error))

    def _let_go(self, held: Sequence[Held], rest_s: int) -> None:
        with self._saying:
            with self._lock:
                for one in held:
                    self._held.pop(one.letter.seq, None)
            try:
                self._hidden(held, rest_s)
            except FAILURES as error:  # they come out again all the same, when they are held no more
                logger.warning("Messages could not be given back (%s)", told(error))

    def _hidden(self, held: Sequence[Held], for_s: int) -> set[int]:
        """Say for how long messages stay hidden from now on; gives those of which that cannot be said any more."""
        lost: set[int] = set()
        for first in range(0, len(held), MOST_AT_ONCE):
            some = held[first : first + MOST_AT_ONCE]
            answer = self._sqs.change_message_visibility_batch(
                QueueUrl=self._url,
                Entries=[
                    {"Id": str(number), "ReceiptHandle": one.receipt, "VisibilityTimeout": for_s}
                    for number, one in enumerate(some)
                ],
            )
            lost |= {some[int(entry["Id"])].letter.seq for entry in answer.get("Failed", [])}
        return lost

    # --- the threads --------------------------------------------------------------------------------------------------

    def _take(self) -> None:
        pause_s = _FIRST_REST_S
        while not self._is_closed.is_set():
            if len(self._held) > _MOST_IN_HAND:
                self._is_closed.wait(0.1)
                continue
            try:
                self._take_some()
                pause_s = _FIRST_REST_S
            except Exception as error:  # noqa: BLE001 - whatever it is: what is in the queue is tried again
                logger.warning("The queue cannot be read (%s); it is tried again in %d s", told(error), pause_s)
                self._is_closed.wait(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_REST_S)

    def _take_some(self) -> None:
        until = time.monotonic() + _HELD_S
        answer = self._sqs.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=MOST_AT_ONCE,
            WaitTimeSeconds=LOOK_S,
            VisibilityTimeout=_HELD_S,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
            # Asked again after a lost answer, SQS gives the same messages.
            ReceiveRequestAttemptId=str(uuid4()),
        )
        messages: list[Any] = list(answer.get("Messages", []))
        for message in messages:
            if letter := self._sort(message):
                with self._lock:
                    self._held[letter.seq] = Held(letter, message, until)
            else:
                self._delete(str(message["ReceiptHandle"]))
        if messages:
            self.came += 1

    def _say_so(self) -> None:
        while not self._is_closed.wait(_SAY_SO_EVERY_S):
            with self._saying:
                self._hold_on()

    def _hold_on(self) -> None:
        held = self.all()
        now = time.monotonic()
        lost: set[int] = set()
        try:
            lost = self._hidden(held, _HELD_S)
        except FAILURES as error:
            logger.warning("Messages cannot be kept in hand (%s)", told(error))
        else:
            for one in held:
                one.until = now + _HELD_S
        with self._lock:
            for one in held:
                if one.letter.seq in lost or one.until < now:
                    self._held.pop(one.letter.seq, None)
