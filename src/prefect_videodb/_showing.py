"""What only shows, in Prefect's UI, must keep nothing from being done."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from prefect.exceptions import PrefectException

from prefect_videodb._logging import get_logger


@contextmanager
def only_showing(what: str) -> Iterator[None]:
    """Go on where Prefect is away: the log says that this could not be shown."""
    try:
        yield
    except (httpx.HTTPError, PrefectException) as error:
        get_logger().warning("%s could not be shown: %s", what, error)
