"""Keep up with the rules: tokens are rotated and routes change while alerts come in, and Prefect may be away."""

import asyncio
import logging
from contextlib import suppress
from typing import Any

import httpx
from prefect.exceptions import PrefectException

from prefect_videodb.blocks import AlertWebhook
from prefect_videodb.errors import ConfigurationError
from prefect_videodb.webhooks.mail import Mailbox
from prefect_videodb.webhooks.rules import Rules

_LOOK_EVERY_S = 30.0
logger = logging.getLogger(__name__)


class KnownRules:
    """The rules, as they are at Prefect; as they were last, while it is away."""

    def __init__(self, inbox: Mailbox, webhook: str) -> None:
        """Keep up with the AlertWebhook block of this name."""
        self._inbox = inbox
        self._webhook = webhook
        self._rules: Rules | None = None

    @property
    def rules(self) -> Rules:
        """What is gone by now."""
        if self._rules is None:
            raise RuntimeError("the rules are read before anything else")
        return self._rules

    async def begin(self) -> None:
        """Read them; from the inbox where Prefect is away.

        Raises:
            ConfigurationError: there is no such block, or Prefect is away and was never asked.
        """
        try:
            await self._read()
        except (httpx.HTTPError, PrefectException, OSError) as error:
            self._rules = await asyncio.to_thread(self._inbox.rules)
            if self._rules is None:
                raise ConfigurationError(
                    f"Prefect cannot be asked for the AlertWebhook block {self._webhook!r} ({type(error).__name__}), "
                    "and this inbox remembers none: is PREFECT_API_URL right?"
                ) from None
            logger.warning("Prefect is away (%s): going on with what was last known", type(error).__name__)

    async def keep_up(self, ended: asyncio.Event) -> None:
        """Read them again now and then: tokens are rotated and routes change while this runs."""
        while not ended.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), _LOOK_EVERY_S)
                return
            try:
                await self._read()
            except (httpx.HTTPError, PrefectException, OSError, ConfigurationError) as error:
                logger.warning("The AlertWebhook block cannot be read, what was known counts: %s", type(error).__name__)

    async def _read(self) -> None:
        rules = await asyncio.to_thread(_load, self._webhook)
        if rules != self._rules:
            await asyncio.to_thread(self._inbox.keep_rules, rules)
            self._rules = rules


def _load(name: str) -> Rules:
    try:
        block: Any = AlertWebhook.load(name)
    except ValueError:
        raise ConfigurationError(f"there is no AlertWebhook block {name!r}: save one") from None
    except RuntimeError as error:  # what is saved does not fit the block, or Prefect cannot be reached
        if isinstance(error.__cause__, httpx.HTTPError):
            raise error.__cause__ from None
        raise ConfigurationError(f"the AlertWebhook block {name!r} cannot be read: open it, save it anew") from None
    rules: Rules = block.rules()
    return rules
