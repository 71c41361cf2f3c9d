"""The logger to use in tasks and flows, and how Prefect's own loggers show an error that a user can mend."""

import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from prefect.exceptions import MissingContextError, ParameterTypeError
from prefect.logging import get_run_logger

from prefect_videodb.errors import VideoDBError

Logger = logging.Logger | logging.LoggerAdapter[logging.Logger]

# As Prefect's logging configuration documents them: the log of a run, and what its process prints beside it.
_LOGGERS = ("prefect.flow_runs", "prefect.task_runs", "prefect.flows", "prefect.engine")
# What the engine logs beside "Finished in state Failed(…)", which has the same message, and is a run's last line.
_REPEATED = (
    "Encountered exception during execution",
    "Engine execution exited with unexpected exception",
    "Task run failed with exception",
)
_FAILED = "Finished in state Failed("
_KNOWN_PACKAGES = sys.stdlib_module_names | {"prefect", "prefect_videodb"}
flow_names: set[str] = set()
"""The flows of this package: their failed tasks are not logged beside what becomes of the flow."""
_is_muted: ContextVar[bool] = ContextVar("is_muted", default=False)


def get_logger() -> Logger:
    """Give the run's logger, whose lines the UI shows; outside of a run, the package's."""
    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger("prefect_videodb")


@contextmanager
def prefect_muted() -> Iterator[None]:
    """Let Prefect log nothing from this thread meanwhile."""
    token = _is_muted.set(True)
    try:
        yield
    finally:
        _is_muted.reset(token)


class _OneCauseOnce(logging.Filter):
    """Show an error of ours once, in one line.

    Prefect logs each error of a task and of a flow up to four times, each time with a traceback of up to a hundred
    lines. An error that was not foreseen keeps its traceback, and so does one that other code than this package's ran
    into, as its reader wants to know where. At level DEBUG everything is shown.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if _is_muted.get():
            return False
        logger = logging.getLogger(record.name)
        if logger.isEnabledFor(logging.DEBUG):
            return True
        message = record.getMessage()
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            return not message.startswith(_FAILED) or not _is_of_our_flow(record) or _is_shown_failed(record)
        if _is_foreseen(error):
            # Of parameters that are refused, Prefect's own line does not reach the log of the run.
            is_refusal = isinstance(error, ParameterTypeError)
            if message.startswith(_REPEATED) and not is_refusal and logger.isEnabledFor(logging.INFO):
                return False
            record.msg, record.args, record.exc_info, record.exc_text = f"{message}: {error}", None, None, None
        return True


def _is_shown_failed(record: logging.LogRecord) -> bool:
    """Whether to show that a run failed: a flow, as an error, which Prefect's own line is not.

    That of a task would be a second line: its error ends the flow, which says so, or the flow says how it goes on.
    """
    record.levelno, record.levelname = logging.ERROR, "ERROR"
    return record.name != "prefect.task_runs"


def _is_of_our_flow(record: logging.LogRecord) -> bool:
    return getattr(record, "flow_name", None) in flow_names  # Prefect adds it to each record of a run


def _is_foreseen(error: BaseException) -> bool:
    """Whether the message says it all: it is an error of ours, and only Prefect and this package led to it."""
    packages = (
        str(frame.f_globals.get("__name__")).partition(".")[0] for frame, _ in traceback.walk_tb(error.__traceback__)
    )
    return isinstance(error, VideoDBError) and _KNOWN_PACKAGES.issuperset(packages)


for _name in _LOGGERS:
    logging.getLogger(_name).addFilter(_OneCauseOnce())
