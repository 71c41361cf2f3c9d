"""Look at what an inbox holds: `python -m prefect_videodb.webhooks.letters --inbox FILE-OR-URL`."""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from prefect_videodb.errors import ConfigurationError
from prefect_videodb.webhooks.decode import Malformed, Unknown, decode
from prefect_videodb.webhooks.mail import Away, DeadLetter, Mailbox, NotSupported, TooLong
from prefect_videodb.webhooks.opening import is_queue, open_inbox
from prefect_videodb.webhooks.receiver import ROUTE, kept
from prefect_videodb.webhooks.rules import Rules

_LONGEST = 2000


def main() -> int:
    """Show what waits and the dead letters, or give some of the latter back or remove them; return the exit status."""
    options = _options()
    if not is_queue(options.inbox) and not Path(options.inbox).is_file():
        print(f"there is no inbox {options.inbox}", file=sys.stderr)
        return 1
    try:
        inbox = open_inbox(options.inbox, options.dead_letters)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 1
    try:
        if options.drop_route:
            return _drop(inbox, options.drop_route)
        if options.retry:
            return _give_back(inbox, options.retry)
        return _remove(inbox, options.remove) if options.remove else _show(inbox)
    except Away as error:
        print(f"the inbox cannot be reached ({error})", file=sys.stderr)
        return 1
    finally:
        inbox.close()


def _show(inbox: Mailbox) -> int:
    backlog = inbox.backlog()
    print(f"{backlog.waiting} waiting" + (f" since {_clock(backlog.oldest_at)}" if backlog.oldest_at else ""))
    for trouble in backlog.troubles:
        print(f"  {trouble}")
    print(f"{backlog.dead_letters} dead letters")
    for number, letter in inbox.dead_letters():
        # Whoever sent it is not trusted with the terminal.
        body = letter.body[:_LONGEST].decode("utf-8", "replace")
        print(f"  {number}  {_clock(letter.received_at)}  route {letter.route}: {letter.reason}\n     {body!r}")
    return 0


def _drop(inbox: Mailbox, route: str) -> int:
    try:
        count = inbox.drop(route).result()
    except NotSupported as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{count} that waited for route {route!r} are deleted")
    return 0


def _remove(inbox: Mailbox, numbers: list[int]) -> int:
    unknown = [number for number in numbers if not inbox.remove_dead_letter(number).result()]
    if unknown:
        print(f"there is no dead letter {', '.join(map(str, unknown))}", file=sys.stderr)
    return 1 if unknown else 0


def _give_back(inbox: Mailbox, numbers: list[int]) -> int:
    rules = inbox.rules() or Rules(token_digests=[])
    dead = dict(inbox.dead_letters())
    is_all = True
    for number in numbers:
        why = _why_not(inbox, rules, number, dead[number]) if number in dead else "there is no such dead letter"
        if why:
            print(f"{number} is not given back: {why}", file=sys.stderr)
            is_all = False
    return 0 if is_all else 1


def _why_not(inbox: Mailbox, rules: Rules, number: int, dead: DeadLetter) -> str:
    """Give a dead letter back to those that wait; gives why it stays where it is, nothing where it does not."""
    if not ROUTE.fullmatch(dead.route):
        return f"{dead.route!r} is no name of a route"
    try:
        # Received now: counted from when it first came, it could start a second run within a cooldown.
        letter = kept(decode(dead.body), dead.route, dead.body, rules.of(dead.route).cooldown_s)
    except (Malformed, Unknown) as error:
        return str(error)
    if isinstance(letter, DeadLetter):
        return letter.reason
    try:
        return "" if inbox.give_back(number, letter).result() else "it is gone"
    except TooLong as error:
        return str(error)


def _clock(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m prefect_videodb.webhooks.letters", description=__doc__)
    parser.add_argument(
        "--inbox", default="videodb-alerts.sqlite", help="the file (videodb-alerts.sqlite), or the URL of the queue"
    )
    parser.add_argument("--dead-letters", metavar="URL", help="the queue of the dead letters, where the inbox is one")
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument(
        "--retry",
        type=int,
        nargs="+",
        metavar="NUMBER",
        help="read these dead letters again, and give back to the inbox what can be read",
    )
    chosen.add_argument("--remove", type=int, nargs="+", metavar="NUMBER", help="remove these dead letters")
    chosen.add_argument(
        "--drop-route", metavar="ROUTE", help="delete all that waits for a route; its dead letters stay"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
