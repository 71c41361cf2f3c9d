"""Adopt what is there, or create it: what creates something is not repeated after a lost answer, but looked for."""

import time
from collections.abc import Callable
from typing import TypeVar

from prefect_videodb._logging import get_logger
from prefect_videodb.errors import AnswerLost, ServiceUnavailable

T = TypeVar("T")
# How long what a lost request made may still be on its way inside the service before we take it that it never arrived.
_SETTLE_S = 10.0
_LOOK_S = 1.0


def adopted_or_created(look: Callable[[], T | None], create: Callable[[], T]) -> T:
    """Give what `look` finds, or what `create` makes. Repeated, it makes no second one.

    Raises:
        AnswerLost: created or not, it does not show. The error says that the task may be repeated, as it looks again.
        ServiceUnavailable: the same, where a gateway gave up waiting for the service.
    """
    logger = get_logger()
    if (found := look()) is not None:
        return found
    try:
        return create()
    except (AnswerLost, ServiceUnavailable) as lost:
        logger.warning("%s Looking for what it may have made.", lost)
        deadline = time.monotonic() + _SETTLE_S
        while time.monotonic() < deadline:
            time.sleep(_LOOK_S)
            if (found := look()) is not None:
                return found
        # It has been looked for: repeating the task, which looks again first, does no harm.
        lost.retry_is_safe = True
        raise
