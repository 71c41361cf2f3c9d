"""The inbox in a FIFO queue of AWS SQS, for several receivers and dispatchers that share the work, on any machines.

Each route is a message group: SQS gives out its messages in order, and no more of them while some are in hand. What is
in hand stays there as long as this process says so, and comes out again when it dies. A message is deleted when its
flow run is there, or a copy of it is in the queue of dead letters. SQS drops what is repeated within five minutes; that
what comes again later starts nothing, either, is Prefect's doing.
"""

import logging
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from uuid import uuid4

from prefect_videodb.webhooks.alert import Alert
from prefect_videodb.webhooks.dead_queue import DeadQueue
from prefect_videodb.webhooks.firing import RecentFirings, firing_of
from prefect_videodb.webhooks.hand import Hand
from prefect_videodb.webhooks.log_limit import LogLimit
from prefect_videodb.webhooks.mail import Backlog, DeadLetter, Letter, NotSupported, Waiting
from prefect_videodb.webhooks.message import body_of, entry_of, read
from prefect_videodb.webhooks.queues import connect, count, longest_of
from prefect_videodb.webhooks.rules import Rules
from prefect_videodb.webhooks.sending import Sender

# Whoever asks for the backlog asks for it without a token: SQS is not asked each time.
_KNOWN_FOR_S = 2.0
_MOST_TROUBLES = 9
logger = logging.getLogger(__name__)


class SqsInbox:
    """The inbox in a queue, with a second one for dead letters. It takes nothing out before it is asked for the routes.

    Args:
        url: of the FIFO queue.
        dead_letters: URL of a second FIFO queue, for what no run can be made of.

    Raises:
        ConfigurationError: one of the queues cannot be used; the message says why.
    """

    keeps_cooldowns = False

    def __init__(self, url: str, dead_letters: str) -> None:
        self._sqs = connect()
        self._url, self._dead_url = url, dead_letters
        longest = longest_of(self._sqs, url)
        self._dead = DeadQueue(self._sqs, dead_letters)
        self._sender = Sender(self._sqs, url, longest)
        self._hand = Hand(self._sqs, url, self._sort)
        self._workers = ThreadPoolExecutor(8, "sqs")
        # Their own: a flood of dead letters must not hold up what is done.
        self._dead_workers = ThreadPoolExecutor(4, "sqs-dead")
        self._recent = RecentFirings()
        self._dead_letters_logged = LogLimit()
        self.lost: Future[None] = Future()
        self.lost.set_running_or_notify_cancel()
        self._lock = threading.Lock()
        self._troubles: dict[str, str] = {}
        self._known: tuple[float, Backlog] | None = None
        self._rules: Rules | None = None

    def close(self) -> None:
        """Send what waits to be sent, and give back what is in hand."""
        self._workers.shutdown()
        self._dead_workers.shutdown()
        self._hand.close()
        self._sender.close()
        self._dead.close()
        self._sqs.close()

    # --- in -----------------------------------------------------------------------------------------------------------

    def put(self, letter: Letter | DeadLetter) -> "Future[bool | None]":
        """Keep a letter. When the future is there SQS has it; whether it is a new one it does not tell."""
        if isinstance(letter, DeadLetter):
            return self._dead_workers.submit(self._dead.put_within_bound, entry_of(letter))
        return self._sender.put(entry_of(letter))

    # --- out ----------------------------------------------------------------------------------------------------------

    def routes(self, among: Collection[str]) -> list[str]:
        """Return the routes of what is in hand; from the first time on, messages are taken out of the queue."""
        self._hand.begin()
        routes = dict.fromkeys(held.letter.route for held in self._hand.all())
        return [route for route in routes if route in among]

    def waiting(self, route: str, most: int) -> list[Waiting]:
        """Give what is in hand for a route, in order, as long as it surely is in no other's."""
        return [held.letter for held in self._hand.sure(route)[:most]]

    def rejected(self, most: int) -> list[Waiting]:  # noqa: ARG002 - as in every mailbox
        """Return nothing: a rejected message is a dead letter at once."""
        return []

    def unserved(self, served: Collection[str], most: int, after: str = "") -> list[Waiting]:
        """Return the first message in hand of each route that is not served, from `after` on."""
        first: dict[str, Waiting] = {}
        for held in self._hand.all():
            if held.letter.route not in served and held.letter.route > after:
                first.setdefault(held.letter.route, held.letter)
        return [first[route] for route in sorted(first)][:most]

    def flow_run_of(self, identity: str) -> str | None:  # noqa: ARG002 - as in every mailbox
        """Give nothing: letters come without a `leader` here."""
        return None

    def version(self) -> int:
        """Give a number that changes when something was taken out of the queue."""
        return self._hand.came

    def done(self, seqs: Sequence[tuple[int, str]]) -> "Future[None]":
        """Delete messages whose flow run is there."""
        return self._workers.submit(self._delete, [seq for seq, _ in seqs])

    def in_trouble(self, seq: int, trouble: str) -> "Future[None]":
        """Let a letter rest in the queue, and with it all that came after it by the same route."""
        return self._workers.submit(self._rest, seq, trouble)

    def refused(self, seq: int, trouble: str) -> "Future[None]":
        """Put a letter into the queue of dead letters: there it holds up no other."""
        return self._workers.submit(self._refuse, seq, trouble)

    def give_up(self, seq: int, reason: str) -> "Future[None]":
        """Do the same."""
        return self.refused(seq, reason)

    def drop(self, route: str) -> "Future[int]":
        """Refuse: SQS hands out what comes first, of whatever route.

        Raises:
            NotSupported: always.
        """
        raise NotSupported(
            f"a queue of SQS cannot be asked for route {route} alone: take the route's tag off its deployment, so that "
            "what waits becomes dead letters; or purge the whole queue"
        )

    def heartbeat(self) -> "Future[None]":
        """Do nothing: a queue has no place to write it down."""
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def tidy(self) -> None:
        """Do nothing: SQS forgets by itself."""

    def _sort(self, message: Mapping[str, Any]) -> Waiting | None:
        """Make a letter of a message; what no run can be made of goes to the dead letters."""
        if self._rules is None:
            raise RuntimeError("the rules are read before anything else")
        try:
            letter = read(message, self._rules)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not hold up its route for ever
            group = str(message["Attributes"].get("MessageGroupId", ""))
            letter = DeadLetter(group, f"it cannot be read ({type(error).__name__})", body_of(message))
        if isinstance(letter, Waiting):
            return self._with_first_identity(letter)
        self._dead_letters_logged.warning(
            logger, "Route %r was sent what is kept as a dead letter: %s", letter.route, letter.reason
        )
        self._dead.bury(message, letter)
        return None

    def _with_first_identity(self, letter: Waiting) -> Waiting:
        """Return a letter with the identity under which its firing came first, as far as this process remembers.

        SQS compares identities only, and one told in another precision has another.
        """
        if letter.kind != "alert":
            return letter
        firing = firing_of(Alert.model_validate(letter.told), letter.route)
        return replace(letter, identity=self._recent.first_identity(firing, letter.identity)) if firing else letter

    def _delete(self, seqs: Sequence[int]) -> None:
        for held in [held for seq in seqs if (held := self._hand.get(seq))]:
            self._hand.delete(held)
            with self._lock:
                self._troubles.pop(held.letter.route, None)

    def _rest(self, seq: int, trouble: str) -> None:
        if held := self._hand.get(seq):
            with self._lock:
                self._troubles[held.letter.route] = trouble
            self._hand.rest(held.letter.route, held.times)

    def _refuse(self, seq: int, reason: str) -> None:
        if held := self._hand.get(seq):
            letter = held.letter
            self._dead.bury(held.message, DeadLetter(letter.route, reason, body_of(held.message), letter.received_at))
            self._delete([seq])

    # --- what is told -------------------------------------------------------------------------------------------------

    def backlog(self) -> Backlog:
        """Tell how much waits, about, and what was in the way here; since when it waits SQS tells CloudWatch alone."""
        if self._known and time.monotonic() - self._known[0] < _KNOWN_FOR_S:
            return self._known[1]
        with self._lock:
            troubles = list(dict.fromkeys(self._troubles.values()))[:_MOST_TROUBLES]
        told_now = Backlog(count(self._sqs, self._url), None, count(self._sqs, self._dead_url), troubles)
        self._known = (time.monotonic(), told_now)
        return told_now

    def dead_letters(self, most: int = 1000, after: int = 0) -> list[tuple[int, DeadLetter]]:
        """Return the dead letters that nobody else looks at just now, with the numbers that SQS has given them."""
        return self._dead.all(most, after)

    def remove_dead_letters(self, seqs: Sequence[int]) -> "Future[set[int]]":
        """Remove some of them; returns which of the numbers there were."""
        return self._workers.submit(self._dead.remove, seqs)

    def give_back(self, seq: int, letters: Sequence[Letter]) -> "Future[bool]":
        """Send letters that were made of a dead one, and then remove that; returns whether there was such a one."""
        # SQS drops what it had within five minutes: under the id that it had before, the letter could be lost.
        entries = [entry_of(letter) | {"MessageDeduplicationId": uuid4().hex} for letter in letters]

        def send() -> None:
            for sent in [self._sender.put(entry) for entry in entries]:
                sent.result()

        return self._workers.submit(lambda: bool(self._dead.remove([seq], send)))

    # --- rules --------------------------------------------------------------------------------------------------------

    def keep_rules(self, rules: Rules) -> None:
        """Take note of what tokens are verified by; a queue has no place to write it down."""
        self._rules = rules

    def rules(self) -> Rules | None:
        """Give nothing: what an earlier process went by is not known."""
        return None
