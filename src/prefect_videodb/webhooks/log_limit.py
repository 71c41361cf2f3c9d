"""A log line that a flood of requests must not repeat as often as it comes."""

import logging
import time

_EVERY_S = 60.0


class LogLimit:
    """Writes a line at most once a minute, with how many were left out since."""

    def __init__(self) -> None:
        self._due_at = 0.0
        self._left_out = 0

    def warning(self, logger: logging.Logger, message: str, *values: object) -> None:
        """Write the line, or count it."""
        now = time.monotonic()
        if now < self._due_at:
            self._left_out += 1
            return
        logger.warning(message, *values)
        if self._left_out:
            logger.warning("There were %d more of the kind since the last such line", self._left_out)
        self._due_at, self._left_out = now + _EVERY_S, 0
