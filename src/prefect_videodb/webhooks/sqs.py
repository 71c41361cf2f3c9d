"""The inbox in a FIFO queue of AWS SQS, for several receivers and dispatchers that share the work, on any machines.

Each route is a message group: SQS gives out its messages in order, and no more of them while some are in hand. What is
in hand stays there as long as this process says so, and comes out again when it dies. A message is deleted when its
flow run is there, or a copy of it is in the queue of dead letters. SQS drops what is repeated within five minutes; that
what comes again later starts nothing, either, is Prefect's doing.
"""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from prefect_videodb.errors import ConfigurationError
from prefect_videodb.webhooks.mail import Away, Backlog, DeadLetter, Letter, TooLong, Waiting
from prefect_videodb.webhooks.message import body_of, dead_entry, entry_of, read, read_dead
from prefect_videodb.webhooks.rules import Rules
from prefect_videodb.webhooks.sending import Sender, told

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

# How long a message is in hand when nothing more is heard of this process, and how often it says that it is there.
_HELD_S = 30
_SAY_SO_EVERY_S = 8.0
# This long before SQS lets go of a message nothing is begun with it.
_SPARE_S = 5.0
_LOOK_S = 5
_MOST_AT_ONCE = 10
_MOST_IN_HAND = 200
_FIRST_REST_S = 1
_LONGEST_REST_S = 60
_KNOWN_FOR_S = 2.0
_LISTING_S = 30
_LONGEST_MESSAGE = 1_048_576
_FAILURES = (BotoCoreError, ClientError)
logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Held:
    """A message in hand, until a moment of the monotonic clock."""

    letter: Waiting
    message: Mapping[str, Any]
    until: float

    @property
    def receipt(self) -> str:
        return str(self.message["ReceiptHandle"])

    @property
    def times(self) -> int:
        return int(self.message["Attributes"].get("ApproximateReceiveCount", 1))


class SqsInbox:
    """The inbox in a queue, with a second one for dead letters. What it takes out, it takes when it is first asked for.

    Args:
        url: of the FIFO queue.
        dead_letters: URL of a second FIFO queue, for what no run can be made of.

    Raises:
        ConfigurationError: one of the queues cannot be used; the message says why.
    """

    keeps_cooldowns = False

    def __init__(self, url: str, dead_letters: str) -> None:
        self._url, self._dead_url = url, dead_letters
        self._sqs = _client()
        longest, longest_dead = (_longest(self._sqs, queue) for queue in (url, dead_letters))
        self._out = Sender(lambda entries: self._send(url, entries), longest)
        self._dead = Sender(lambda entries: self._send(dead_letters, entries), longest_dead)
        self._workers = ThreadPoolExecutor(8, "sqs")
        self._lock = threading.Lock()
        self._in_hand: dict[int, _Held] = {}
        self._troubles: dict[str, str] = {}
        self._came = 0
        self._known: tuple[float, Backlog] | None = None
        self._rules: Rules | None = None
        self._is_closed = threading.Event()
        self._takers: list[threading.Thread] = []

    def _send(self, url: str, entries: Sequence[dict[str, Any]]) -> Any:
        return self._sqs.send_message_batch(QueueUrl=url, Entries=list(entries))  # type: ignore[arg-type]

    def close(self) -> None:
        """Send what waits to be sent, and give back what is in hand."""
        self._is_closed.set()
        self._workers.shutdown()
        for taker in self._takers:
            taker.join()
        self._let_go(self._all_in_hand(), 0)
        self._out.close()
        self._dead.close()
        self._sqs.close()

    # --- in -----------------------------------------------------------------------------------------------------------

    def put(self, letter: Letter | DeadLetter) -> "Future[bool | None]":
        """Keep a letter. When the future is there SQS has it; whether it is a new one it does not tell."""
        return (self._dead if isinstance(letter, DeadLetter) else self._out).put(entry_of(letter))

    # --- out ----------------------------------------------------------------------------------------------------------

    def routes(self) -> list[str]:
        """Give the routes of what is in hand; from the first time on, messages are taken out of the queue."""
        with self._lock:
            if not self._takers and not self._is_closed.is_set():
                for act in (self._take, self._say_so):
                    self._takers.append(threading.Thread(target=act, name=f"sqs{act.__name__}"))
                    self._takers[-1].start()
        return list(dict.fromkeys(held.letter.route for held in self._all_in_hand()))

    def waiting(self, route: str, most: int) -> list[Waiting]:
        """Give what is in hand for a route, in order, as long as it surely is in no other's."""
        now = time.monotonic() + _SPARE_S
        held = [held for held in self._all_in_hand() if held.letter.route == route]
        # In order, or not at all: when the first has gone, another process may have it.
        return [one.letter for one in held[:most]] if all(one.until > now for one in held) else []

    def flow_run_of(self, identity: str) -> str | None:  # noqa: ARG002 - as in every mailbox
        """Give nothing: letters come without a `leader` here."""
        return None

    def version(self) -> int:
        """Give a number that changes when something was taken out of the queue."""
        return self._came

    def done(self, seqs: Sequence[tuple[int, str]]) -> "Future[None]":
        """Delete messages whose flow run is there."""
        return self._workers.submit(self._delete, [seq for seq, _ in seqs])

    def in_trouble(self, seq: int, trouble: str) -> "Future[None]":
        """Let a letter rest in the queue, and with it all that came after it by the same route."""
        return self._workers.submit(self._rest, seq, trouble)

    def refused(self, seq: int, trouble: str) -> "Future[None]":
        """Put a letter into the queue of dead letters: there it holds up no other."""
        return self._workers.submit(self._refuse, seq, trouble)

    def tidy(self) -> None:
        """Do nothing: SQS forgets by itself."""

    def _delete(self, seqs: Sequence[int]) -> None:
        with self._lock:
            held = [self._in_hand[seq] for seq in seqs if seq in self._in_hand]
        for one in held:
            try:
                self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=one.receipt)
            except ClientError as error:
                # Taken too long ago: it comes out again, and becomes the same run.
                logger.warning("A message could not be deleted (%s)", told(error))
            except BotoCoreError as error:
                raise Away(told(error)) from error
            with self._lock:
                self._in_hand.pop(one.letter.seq, None)
                self._troubles.pop(one.letter.route, None)

    def _rest(self, seq: int, trouble: str) -> None:
        with self._lock:
            if (first := self._in_hand.get(seq)) is None:
                return
            self._troubles[first.letter.route] = trouble
        rest_s = min(_FIRST_REST_S * 2 ** min(first.times - 1, 20), _LONGEST_REST_S)
        self._let_go([one for one in self._all_in_hand() if one.letter.route == first.letter.route], rest_s)

    def _refuse(self, seq: int, reason: str) -> None:
        with self._lock:
            held = self._in_hand.get(seq)
        if held is not None:
            letter = held.letter
            self._bury(held.message, DeadLetter(letter.route, reason, body_of(held.message), letter.received_at))
            self._delete([seq])

    def _bury(self, message: Mapping[str, Any], letter: DeadLetter) -> None:
        """Copy a message into the queue of dead letters. Repeated after a kill, it is the same copy."""
        once = str(message["MessageId"])
        try:
            self._dead.put(dead_entry(letter, once)).result()
        except TooLong:  # with the reason beside it, or because that queue takes less than this one
            logger.warning("Dead letter %s is too long for its queue: it is cut off", once)
            cut = replace(letter, reason=f"{letter.reason} (cut off)", body=letter.body[: self._dead.longest // 2])
            self._dead.put(dead_entry(cut, once)).result()

    def _let_go(self, held: Sequence[_Held], rest_s: int) -> None:
        """Give messages back; they come out again after so many seconds, in order."""
        with self._lock:
            for one in held:
                self._in_hand.pop(one.letter.seq, None)
        try:
            self._see_again(held, rest_s)
        except _FAILURES as error:  # they come out again all the same, when they are held no more
            logger.warning("Messages could not be given back (%s)", told(error))

    def _see_again(self, held: Sequence[_Held], after_s: int) -> set[int]:
        """Say when messages come out again unless more is said; gives those of which it cannot be said any more."""
        lost: set[int] = set()
        for first in range(0, len(held), _MOST_AT_ONCE):
            some = held[first : first + _MOST_AT_ONCE]
            answer = self._sqs.change_message_visibility_batch(
                QueueUrl=self._url,
                Entries=[
                    {"Id": str(number), "ReceiptHandle": one.receipt, "VisibilityTimeout": after_s}
                    for number, one in enumerate(some)
                ],
            )
            lost |= {some[int(entry["Id"])].letter.seq for entry in answer.get("Failed", [])}
        return lost

    def _all_in_hand(self) -> list[_Held]:
        with self._lock:
            return sorted(self._in_hand.values(), key=lambda held: held.letter.seq)

    # --- the threads that take messages out and keep them in hand -----------------------------------------------------

    def _take(self) -> None:
        pause_s = float(_FIRST_REST_S)
        while not self._is_closed.is_set():
            if len(self._in_hand) > _MOST_IN_HAND:
                self._is_closed.wait(0.1)
                continue
            try:
                self._take_some()
                pause_s = float(_FIRST_REST_S)
            except Exception as error:  # noqa: BLE001 - whatever it is: what is in the queue is tried again
                logger.warning("The queue cannot be read (%s); it is tried again in %.0f s", told(error), pause_s)
                self._is_closed.wait(pause_s)
                pause_s = min(2 * pause_s, float(_LONGEST_REST_S))

    def _take_some(self) -> None:
        asked_at = time.monotonic()
        answer = self._sqs.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=_MOST_AT_ONCE,
            WaitTimeSeconds=_LOOK_S,
            VisibilityTimeout=_HELD_S,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
            # Asked again after a lost answer, SQS gives the same messages.
            ReceiveRequestAttemptId=str(uuid4()),
        )
        for message in answer.get("Messages", []):
            self._sort(message, asked_at + _HELD_S)
        if answer.get("Messages"):
            self._came += 1

    def _sort(self, message: Mapping[str, Any], until: float) -> None:
        """Take a message in hand; what no run can be made of goes to the dead letters."""
        if self._rules is None:
            raise RuntimeError("the rules are read before anything else")
        try:
            letter = read(message, self._rules)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not hold up its route for ever
            group = str(message["Attributes"].get("MessageGroupId", ""))
            letter = DeadLetter(group, f"it cannot be read ({type(error).__name__})", body_of(message))
        if isinstance(letter, DeadLetter):
            logger.warning("Route %r was sent what is kept as a dead letter: %s", letter.route, letter.reason)
            self._bury(message, letter)
            self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=str(message["ReceiptHandle"]))
            return
        with self._lock:
            self._in_hand[letter.seq] = _Held(letter, message, until)

    def _say_so(self) -> None:
        """Keep in hand what is there."""
        while not self._is_closed.wait(_SAY_SO_EVERY_S):
            held = self._all_in_hand()
            asked_at = time.monotonic()
            try:
                lost = self._see_again(held, _HELD_S)
            except _FAILURES as error:
                logger.warning("Messages cannot be kept in hand (%s)", told(error))
                lost = set()
            else:
                for one in held:
                    one.until = asked_at + _HELD_S
            with self._lock:
                for one in held:
                    if one.letter.seq in lost or one.until < asked_at:
                        self._in_hand.pop(one.letter.seq, None)

    # --- what is told -------------------------------------------------------------------------------------------------

    def backlog(self) -> Backlog:
        """Tell how much waits, about, and what was in the way here; since when it waits SQS tells CloudWatch alone."""
        if self._known and time.monotonic() - self._known[0] < _KNOWN_FOR_S:
            return self._known[1]
        with self._lock:
            troubles = list(dict.fromkeys(self._troubles.values()))[:9]
        try:
            told_now = Backlog(_count(self._sqs, self._url), None, _count(self._sqs, self._dead_url), troubles)
        except _FAILURES as error:
            raise Away(told(error)) from error
        self._known = (time.monotonic(), told_now)
        return told_now

    def dead_letters(self, most: int = 1000) -> list[tuple[int, DeadLetter]]:
        """Give the dead letters that nobody else looks at just now, with the numbers that SQS has given them."""
        found = self._dead_messages(most)
        self._put_back(found)
        return [(int(message["Attributes"]["SequenceNumber"]), read_dead(message)) for message in found]

    def remove_dead_letter(self, seq: int) -> "Future[bool]":
        """Remove one of them; gives whether there was such a one."""
        return self._workers.submit(self._remove_dead, seq)

    def _remove_dead(self, seq: int) -> bool:
        found = self._dead_messages(1000)
        these = [message for message in found if message["Attributes"]["SequenceNumber"] == str(seq)]
        self._put_back([message for message in found if message not in these])
        try:
            for message in these:
                self._sqs.delete_message(QueueUrl=self._dead_url, ReceiptHandle=message["ReceiptHandle"])
        except _FAILURES as error:
            raise Away(told(error)) from error
        return bool(these)

    def _dead_messages(self, most: int) -> list[Any]:
        found: list[Any] = []
        try:
            while len(found) < most:
                answer = self._sqs.receive_message(
                    QueueUrl=self._dead_url,
                    MaxNumberOfMessages=min(_MOST_AT_ONCE, most - len(found)),
                    WaitTimeSeconds=1,
                    VisibilityTimeout=_LISTING_S,
                    MessageAttributeNames=["All"],
                    MessageSystemAttributeNames=["All"],
                )
                if not (messages := answer.get("Messages")):
                    break
                found += messages
        except _FAILURES as error:
            raise Away(told(error)) from error
        return found

    def _put_back(self, messages: Sequence[Any]) -> None:
        for message in messages:
            with suppress(*_FAILURES):  # it is seen again all the same, half a minute later
                self._sqs.change_message_visibility(
                    QueueUrl=self._dead_url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
                )

    # --- rules --------------------------------------------------------------------------------------------------------

    def keep_rules(self, rules: Rules) -> None:
        """Take note of what tokens are verified by; a queue has no place to write it down."""
        self._rules = rules

    def rules(self) -> Rules | None:
        """Give nothing: what an earlier process went by is not known."""
        return None


def _client() -> "SQSClient":
    config = Config(
        retries={"mode": "standard", "max_attempts": 3},
        connect_timeout=3,
        read_timeout=_LOOK_S + 10,
        max_pool_connections=20,
    )
    try:
        return boto3.client("sqs", config=config)
    except BotoCoreError as error:
        raise ConfigurationError(f"SQS cannot be used ({told(error)}): are AWS_REGION and credentials set?") from None


def _longest(sqs: "SQSClient", url: str) -> int:
    """Look whether a queue can be used, and give the longest message that it takes, in bytes."""
    try:
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    except _FAILURES as error:
        raise ConfigurationError(
            f"the queue {url} cannot be used ({told(error)}): is it there, in this region, for these credentials?"
        ) from None
    if found.get("FifoQueue") != "true":
        raise ConfigurationError(f"the queue {url} is no FIFO queue: alerts would come out in any order")
    return min(int(found.get("MaximumMessageSize", _LONGEST_MESSAGE)), _LONGEST_MESSAGE)


def _count(sqs: "SQSClient", url: str) -> int:
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return (
        int(found["ApproximateNumberOfMessages"])
        + int(found["ApproximateNumberOfMessagesNotVisible"])
        + int(found["ApproximateNumberOfMessagesDelayed"])
    )
