"""Keep up with the rules: tokens are rotated and routes change while alerts come in, and Prefect may be away."""

import asyncio
import logging
from typing import Any

import httpx
from prefect.exceptions import ObjectNotFound, PrefectException
from pydantic import ValidationError

from prefect_videodb.blocks import AlertWebhook
from prefect_videodb.errors import ConfigurationError
from prefect_videodb.strict import faults
from prefect_videodb.webhooks.mail import Away, Mailbox
from prefect_videodb.webhooks.rules import Rules

_LOOK_EVERY_S = 30.0
# Who starts anew is to take alerts soon, and where Prefect answers as soon as that, by the rules as they are now.
_SOON_S = 2.0
logger = logging.getLogger(__name__)


class KnownRules:
    """The rules, as they are at Prefect; as they were last, while it is away."""

    def __init__(self, inbox: Mailbox, webhook: str) -> None:
        """Keep up with the AlertWebhook block of this name."""
        self._inbox = inbox
        self._webhook = webhook
        self._rules: Rules | None = None
        self._kept: Rules | None = None

    @property
    def rules(self) -> Rules:
        """What is gone by now."""
        if self._rules is None:
            raise RuntimeError("the rules are read before anything else")
        return self._rules

    async def begin(self) -> None:
        """Read them; from the inbox where Prefect does not answer soon, and the inbox remembers them.

        Raises:
            ConfigurationError: there is no such block, or Prefect is away and was never asked.
        """
        remembered = await self._remembered()
        try:
            async with asyncio.timeout(_SOON_S if remembered else None):
                await self._read()
        except (httpx.HTTPError, PrefectException, OSError) as error:
            self._rules = remembered
            if remembered is None:
                raise ConfigurationError(
                    f"Prefect cannot be asked for the AlertWebhook block {self._webhook!r} ({type(error).__name__}), "
                    "and this inbox remembers none: is PREFECT_API_URL right?"
                ) from None
            logger.warning("Prefect is away (%s): going on with what was last known", type(error).__name__)

    async def keep_up(self, ended: asyncio.Event) -> None:
        """Read them at once, and again now and then: tokens are rotated and routes change while this runs."""
        end = asyncio.create_task(ended.wait())
        while not ended.is_set():
            reading = asyncio.create_task(self._try_to_read())
            await asyncio.wait([reading, end], return_when=asyncio.FIRST_COMPLETED)
            # A Prefect that hangs does not hold up the end.
            reading.cancel()
            await asyncio.wait([reading])
            if not reading.cancelled():
                reading.result()
            await asyncio.wait([end], timeout=_LOOK_EVERY_S)

    async def _try_to_read(self) -> None:
        try:
            await self._read()
        except (httpx.HTTPError, PrefectException, OSError, ConfigurationError) as error:
            logger.warning("The AlertWebhook block cannot be read, what was known counts: %s", type(error).__name__)

    async def _read(self) -> None:
        rules = await _load(self._webhook)
        self._rules = rules
        if rules == self._kept:
            return
        try:
            await asyncio.to_thread(self._inbox.keep_rules, rules)
            self._kept = rules
        except Away as error:  # it is tried again with the next look
            logger.warning("The rules cannot be written down (%s); they count all the same", error)

    async def _remembered(self) -> Rules | None:
        try:
            return await asyncio.to_thread(self._inbox.rules)
        except Away as error:
            logger.warning("What the inbox remembers cannot be read (%s)", error)
            return None


async def _load(name: str) -> Rules:
    try:
        block: Any = await AlertWebhook.aload(name)
    except ValueError as error:
        if not isinstance(error.__cause__, ObjectNotFound):  # there is no PREFECT_API_URL
            raise ConfigurationError(f"Prefect cannot be asked for the AlertWebhook block {name!r}: {error}") from None
        raise ConfigurationError(f"there is no AlertWebhook block {name!r}: save one") from None
    except RuntimeError as error:  # what is saved does not fit the block, or Prefect cannot be reached
        if isinstance(error.__cause__, httpx.HTTPError):
            raise error.__cause__ from None
        told = faults(error.__cause__) if isinstance(error.__cause__, ValidationError) else str(error)
        raise ConfigurationError(f"the AlertWebhook block {name!r} cannot be used: {told}") from None
    rules: Rules = block.rules()
    return rules
