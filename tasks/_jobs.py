"""Waiting for long jobs inside a task: how long, and what the log says meanwhile."""

from prefect_videodb._logging import get_logger
from prefect_videodb.client import Polling
from prefect_videodb.errors import VideoDBError


def polling(what: str, timeout_s: float) -> Polling:
    """Wait for a job up to `timeout_s`, and log its progress when it changes, and what is in its way."""
    logger = get_logger()
    last: float | None = None

    def report(percentage: float | None) -> None:
        nonlocal last
        if percentage is not None and percentage != last:
            last = percentage
            logger.info("%s: %.0f %%", what, percentage)

    def warn(error: VideoDBError) -> None:
        logger.warning("%s: VideoDB cannot be asked how far it is, asking again: %s", what, error)

    return Polling(timeout_s=timeout_s, interval_s=1.0, on_progress=report, on_trouble=warn)
