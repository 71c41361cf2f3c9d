"""The logger to use in tasks and flows: the run's own inside a run, a plain one when called directly (`task.fn`)."""

import logging

from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger

Logger = logging.Logger | logging.LoggerAdapter[logging.Logger]


def get_logger() -> Logger:
    """Give the run's logger, whose lines the UI shows; outside of a run, the package's."""
    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger("prefect_videodb")
