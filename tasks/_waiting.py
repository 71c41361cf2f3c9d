"""Look again and again until something is over, inside one task."""

import time
from collections.abc import Callable
from typing import TypeVar

from prefect_videodb._logging import get_logger
from prefect_videodb.errors import (
    ConfigurationError,
    JobUnfinished,
    RateLimited,
    ServiceUnavailable,
    TransportError,
)

T = TypeVar("T")
# The longest that `Retry-After` keeps a wait from looking again.
_MAX_RETRY_AFTER_S = 300.0


def wait_until(look: Callable[[], T], is_over: Callable[[T], bool], *, timeout_s: float, interval_s: float) -> T:
    """Look until it is over. A look that fails in passing is made again, once one has succeeded.

    Raises:
        JobUnfinished: it outlived `timeout_s`; it goes on, and can be waited for again.
    """
    if timeout_s < 0 or interval_s <= 0:
        raise ConfigurationError("timeout_s and interval_s are seconds: 0 or more, and more than 0")
    logger = get_logger()
    deadline = time.monotonic() + timeout_s
    has_seen = False
    trouble = ""
    while True:
        pause_s = interval_s
        try:
            seen = look()
        except (TransportError, RateLimited, ServiceUnavailable) as error:
            if not has_seen:
                raise
            trouble = f"; the last look failed: {error}"
            pause_s = max(pause_s, min(getattr(error, "retry_after_s", None) or 0.0, _MAX_RETRY_AFTER_S))
            logger.warning("A look failed, looking again: %s", error)
        else:
            has_seen, trouble = True, ""
            if is_over(seen):
                return seen
        left = deadline - time.monotonic()
        if left <= 0:
            raise JobUnfinished(
                f"still not over after {timeout_s:g} s{trouble}; it goes on: wait again, or longer", retry_is_safe=True
            )
        time.sleep(min(pause_s, left))
