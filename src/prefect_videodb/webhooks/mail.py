"""What the receiver and the dispatcher hand each other, and what keeps it in between.

A mailbox takes letters for good before it says so, and gives them out route by route, in order, until it is told that
they are done. There are two: a file (`inbox`), for one machine, and a queue of AWS SQS (`sqs`), for several.
"""

import hashlib
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from prefect_videodb.webhooks.firing import Firing
from prefect_videodb.webhooks.rules import Rules

if TYPE_CHECKING:
    from concurrent.futures import Future

# Dead letters are for people to look at: more than these nobody reads, and a flood must not fill the disk.
MOST_DEAD_LETTERS = 10_000
MOST_DEAD_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Letter:
    """One alert or lifecycle event, to be made into one flow run."""

    identity: str
    route: str
    kind: str
    told: dict[str, Any]
    body: bytes
    cooldown_s: float = 0.0
    received_at: float = field(default_factory=time.time)
    firing: Firing | None = None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What no run can be made of, and why: kept, so that somebody can look at it.

    The same body on the same route is kept once: `copies` says how often it came.
    """

    route: str
    reason: str
    body: bytes
    received_at: float = field(default_factory=time.time)
    copies: int = 1

    @property
    def digest(self) -> str:
        """Return what is the same of dead letters that are kept once."""
        return hashlib.sha256(self.route.encode("utf-8", "replace") + b"\0" + self.body).hexdigest()[:40]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A letter that is not done. One with a `leader` belongs to the run of another letter."""

    seq: int
    identity: str
    route: str
    kind: str
    told: dict[str, Any]
    received_at: float
    leader: str | None


@dataclass(frozen=True, slots=True)
class Backlog:
    """How much waits, since when (unix seconds; None when nothing does, or it cannot be told), what is in the way.

    `dispatcher_seen_at` is the last sign of life of a dispatcher, in unix seconds: 0 where there was none, None where
    the mailbox cannot tell.
    """

    waiting: int
    oldest_at: float | None
    dead_letters: int
    troubles: list[str]
    dispatcher_seen_at: float | None = None


class Away(OSError):
    """The mailbox cannot be reached, or does not answer as it should. It may later."""


class DeadLettersFull(Away):
    """No more dead letters are kept until some are removed. Alerts are kept all the same."""

    def __init__(self) -> None:
        super().__init__(
            f"there are as many dead letters as are kept ({MOST_DEAD_LETTERS} of them, or "
            f"{MOST_DEAD_BYTES // 1024**2} MiB): look at them with `python -m prefect_videodb.webhooks.letters`, and "
            "remove some"
        )


class Lost(Away):
    """What the mailbox had open is no longer what is there: nothing more can be kept, and the process must end."""


class TooLong(ValueError):
    """A letter is longer than the mailbox takes. It never fits: sending it again is of no use."""


class NotSupported(Exception):
    """This kind of mailbox cannot do that; the message says what to do instead."""


class Mailbox(Protocol):
    """Keeps letters. Each method may be called in any thread; each may raise `Away`, as may the futures.

    Attributes:
        keeps_cooldowns: whether letters come out with the `leader` that they are attached to. Where it is not so, the
            dispatcher asks Prefect for the newest run of the route.
        lost: fails with `Lost` when the mailbox can no longer be used by this process; never done otherwise.
    """

    keeps_cooldowns: bool
    lost: "Future[None]"

    def put(self, letter: Letter | DeadLetter) -> "Future[bool | None]":
        """Keep a letter. When the future is there it is kept for good.

        It returns whether the letter is a new one, None where that cannot be told. It raises TooLong for what never
        fits, and DeadLettersFull for a dead letter too many.
        """
        ...

    def routes(self, among: Collection[str]) -> list[str]:
        """Return those of these routes for which a new message waits: one that was not rejected."""
        ...

    def waiting(self, route: str, most: int) -> list[Waiting]:
        """Return the new messages of a route, in order. They may be asked for again until they are done."""
        ...

    def rejected(self, most: int) -> list[Waiting]:
        """Return rejected messages that are due to be tried again, of any route; those due longest come first.

        A mailbox whose rejected messages become dead letters at once returns none.
        """
        ...

    def unserved(self, served: Collection[str], most: int, after: str = "") -> list[Waiting]:
        """Return the first new message of each route that is not served, by the route's name, from `after` on."""
        ...

    def version(self) -> int:
        """Give a number that changes when something came that this process has not put there. Cheap: it is polled."""
        ...

    def flow_run_of(self, identity: str) -> str | None:
        """Give the flow run of a letter that is the `leader` of another; None before there is one."""
        ...

    def done(self, seqs: Sequence[tuple[int, str]]) -> "Future[None]":
        """Take note that letters have their flow runs: they are not given out again."""
        ...

    def in_trouble(self, seq: int, trouble: str) -> "Future[None]":
        """Take note of why a letter waits: it is given out again, before all that came after it by the same route."""
        ...

    def refused(self, seq: int, trouble: str) -> "Future[None]":
        """Take note that no run can be made of what a letter holds: it is kept, and holds up no other."""
        ...

    def give_up(self, seq: int, reason: str) -> "Future[None]":
        """Move a message to the dead letters."""
        ...

    def drop(self, route: str) -> "Future[int]":
        """Delete all that waits for a route, and return how many messages that were.

        Raises:
            NotSupported: the mailbox cannot select by route; the message says what to do instead.
        """
        ...

    def heartbeat(self) -> "Future[None]":
        """Take note that a dispatcher is at work: `backlog` says when that was last."""
        ...

    def tidy(self) -> None:
        """Remove what is of no use any more; called once an hour."""
        ...

    def backlog(self) -> Backlog:
        """Tell how much waits."""
        ...

    def dead_letters(self, most: int = 1000, after: int = 0) -> list[tuple[int, DeadLetter]]:
        """Return what no run can be made of, by number: the first of those with a greater number than `after`."""
        ...

    def remove_dead_letters(self, seqs: Sequence[int]) -> "Future[set[int]]":
        """Remove some of them; returns which of the numbers there were."""
        ...

    def give_back(self, seq: int, letters: Sequence[Letter]) -> "Future[bool]":
        """Keep letters that were made of a dead one, and then remove that; returns whether there was such a one."""
        ...

    def keep_rules(self, rules: Rules) -> None:
        """Take note of what is gone by from now on."""
        ...

    def rules(self) -> Rules | None:
        """Give what a process that was here before went by; None when that is not known."""
        ...

    def close(self) -> None:
        """Finish what was begun, and let go of the rest."""
        ...
