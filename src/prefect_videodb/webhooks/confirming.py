"""Whether Prefect wrote the events that it took: it answers before it does, and a kill in between loses them.

Of a letter that is attached to an earlier run, its event is all that Prefect's UI shows. So each event is looked for
when Prefect has had time to write it, and told again when it is not there, with the id that it had.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.exceptions import PrefectException

from prefect_videodb.webhooks.mail import Mailbox, Told, Waiting
from prefect_videodb.webhooks.telling import MOST_ASKED_FOR, which_are_written

# Prefect writes every few seconds, and later when much comes at once.
_WRITTEN_WITHIN_S = 60.0
_LOOK_EVERY_S = 5.0
# What Prefect takes so often and never writes, it will not write.
_MOST_TIMES = 6
# Tells Prefect of a letter that has become a run, or belongs to one.
Tell = Callable[[PrefectClient, Waiting, str], Awaitable[None]]
logger = logging.getLogger(__name__)


async def confirm(inbox: Mailbox, prefect: PrefectClient, tell: Tell) -> None:
    """Look for events that should be written by now, again and again; and `tell` of those that are not.

    Prefect and the inbox may be away meanwhile: what was not looked for is looked for later.
    """
    while True:
        found: list[Told] = []
        with suppress(httpx.HTTPError, PrefectException, OSError):  # the dispatcher meets the same, and says so
            found = await asyncio.to_thread(inbox.told, time.time() - _WRITTEN_WITHIN_S, MOST_ASKED_FOR)
            if found:
                await _confirm(inbox, prefect, found, tell)
        await asyncio.sleep(_LOOK_EVERY_S if len(found) < MOST_ASKED_FOR else 0.0)


async def _confirm(
    inbox: Mailbox,
    prefect: PrefectClient,
    found: list[Told],
    tell: Tell,
) -> None:
    written = await which_are_written(prefect, [one.letter for one in found])
    over = [one for one in found if one.letter.identity in written or one.times >= _MOST_TIMES]
    for one in over:
        if one.letter.identity not in written:
            logger.warning("route %s: Prefect took an event %d times and has none", one.letter.route, one.times)
    await asyncio.wrap_future(inbox.written([one.letter.seq for one in over]))
    for one in found:
        if one not in over:
            await tell(prefect, one.letter, one.flow_run_id)
            await asyncio.wrap_future(inbox.told_again(one.letter.seq))
