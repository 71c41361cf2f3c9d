"""Look at what an inbox holds: `python -m prefect_videodb.webhooks.letters --inbox FILE-OR-URL`."""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from prefect_videodb.errors import ConfigurationError
from prefect_videodb.webhooks.decode import decode_all, unpack
from prefect_videodb.webhooks.mail import Away, DeadLetter, Letter, Mailbox, NotSupported, TooLong
from prefect_videodb.webhooks.opening import is_queue, open_inbox
from prefect_videodb.webhooks.receiver import ROUTE, kept
from prefect_videodb.webhooks.rules import Rules

_LONGEST = 2000
_ALL = "all"
_PAGE = 100


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
        return _remove(inbox, options.remove) if options.remove else _show(inbox, options.after, options.most)
    except Away as error:
        print(f"the inbox cannot be reached ({error})", file=sys.stderr)
        return 1
    finally:
        inbox.close()


def _show(inbox: Mailbox, after: int, most: int) -> int:
    backlog = inbox.backlog()
    print(f"{backlog.waiting} waiting" + (f" since {_clock(backlog.oldest_at)}" if backlog.oldest_at else ""))
    for trouble in backlog.troubles:
        print(f"  {trouble}")
    print(f"{backlog.dead_letters} dead letters")
    # One more than is shown says whether there are more.
    found = inbox.dead_letters(most + 1, after)
    for number, letter in found[:most]:
        # Whoever sent it is not trusted with the terminal.
        body = letter.body[:_LONGEST].decode("utf-8", "replace")
        often = f", {letter.copies} times" if letter.copies > 1 else ""
        print(f"  {number}  {_clock(letter.received_at)}{often}  route {letter.route}: {letter.reason}\n     {body!r}")
    if len(found) > most:
        print(f"there are more: --after {found[most - 1][0]} shows the next {most}")
    return 0


def _drop(inbox: Mailbox, route: str) -> int:
    try:
        count = inbox.drop(route).result()
    except NotSupported as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{count} that waited for route {route!r} are deleted")
    return 0


def _remove(inbox: Mailbox, chosen: list[str]) -> int:
    if _ALL in chosen:
        while numbers := [number for number, _ in inbox.dead_letters()]:
            removed = inbox.remove_dead_letters(numbers).result()
            print(f"{len(removed)} dead letters are removed")
        return 0
    numbers = [int(number) for number in chosen]
    unknown = sorted(set(numbers) - inbox.remove_dead_letters(numbers).result())
    if unknown:
        print(f"there is no dead letter {', '.join(map(str, unknown))}", file=sys.stderr)
    return 1 if unknown else 0


def _give_back(inbox: Mailbox, chosen: list[str]) -> int:
    rules = inbox.rules() or Rules(token_digests=[])
    unknown = set() if _ALL in chosen else {int(number) for number in chosen}
    is_all = True
    after = 0
    while (_ALL in chosen or unknown) and (page := inbox.dead_letters(after=after)):
        after = page[-1][0]
        for number, dead in page:
            if _ALL not in chosen and number not in unknown:
                continue
            unknown.discard(number)
            if why := _why_not(inbox, rules, number, dead):
                print(f"{number} is not given back: {why}", file=sys.stderr)
                is_all = False
    for number in sorted(unknown):
        print(f"{number} is not given back: there is no such dead letter", file=sys.stderr)
    return 0 if is_all and not unknown else 1


def _why_not(inbox: Mailbox, rules: Rules, number: int, dead: DeadLetter) -> str:
    """Redrive a dead letter; return why it stays where it is, nothing where it does not."""
    if not ROUTE.fullmatch(dead.route):
        return f"{dead.route!r} is no name of a route"
    body, packed = unpack(dead.body)
    posted = decode_all(body)
    if posted.unreadable is not None:
        return packed or posted.reason
    letters: list[Letter] = []
    for told, part in posted.read:
        # Received now: counted from when it first came, it could start a second run within a cooldown.
        letter = kept(told, dead.route, part, rules.of(dead.route).cooldown_s)
        if isinstance(letter, DeadLetter):
            return letter.reason
        letters.append(letter)
    try:
        return "" if inbox.give_back(number, letters).result() else "it is gone"
    except TooLong as error:
        return str(error)


def _clock(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _number(text: str) -> str:
    return text if text == _ALL else str(int(text))


def _count(text: str) -> int:
    if (count := int(text)) < 1:
        raise ValueError
    return count


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m prefect_videodb.webhooks.letters", description=__doc__)
    parser.add_argument(
        "--inbox", default="videodb-alerts.sqlite", help="the file (videodb-alerts.sqlite), or the URL of the queue"
    )
    parser.add_argument("--dead-letters", metavar="URL", help="the queue of the dead letters, where the inbox is one")
    parser.add_argument("--after", type=int, default=0, metavar="NUMBER", help="show the dead letters after this one")
    parser.add_argument("--most", type=_count, default=_PAGE, metavar="COUNT", help=f"show so many of them ({_PAGE})")
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument(
        "--retry",
        type=_number,
        nargs="+",
        metavar="NUMBER",
        help="read these dead letters again, or `all`, and give back to the inbox what can be read",
    )
    chosen.add_argument(
        "--remove", type=_number, nargs="+", metavar="NUMBER", help="remove these dead letters, or `all`"
    )
    chosen.add_argument(
        "--drop-route", metavar="ROUTE", help="delete all that waits for a route; its dead letters stay"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
