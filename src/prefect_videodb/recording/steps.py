"""How long each step took, over all executions of a run."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Self

from prefect_videodb._logging import get_logger


class Steps:
    """Measure the steps of a run, and log each as it ends.

    Args:
        spent_s: what earlier executions have spent, in seconds.
    """

    def __init__(self, spent_s: dict[str, float] | None = None) -> None:
        self.spent_s = dict(spent_s or {})

    @classmethod
    def from_text(cls, text: str | None) -> Self:
        """Read what `as_text` wrote; what cannot be read is left out."""
        try:
            known = json.loads(text or "{}")
            return cls({str(step): float(seconds) for step, seconds in known.items()})
        except (ValueError, TypeError, AttributeError):
            return cls()

    def as_text(self) -> str:
        """Write down what was spent, for another execution of the run."""
        return json.dumps(self.spent_s)

    @contextmanager
    def step(self, name: str, since: datetime | None = None) -> Iterator[None]:
        """Measure one step; one that is cut short is measured too.

        Args:
            name: what it is called; several of one name are added up.
            since: when it began, where an earlier execution may have begun it.
        """
        before_s = self.spent_s.get(name, 0.0) if since is None else (datetime.now(UTC) - since).total_seconds()
        began = time.monotonic()
        outcome = "cut short"
        try:
            yield
            outcome = "done"
        finally:
            self.spent_s[name] = round(max(0.0, before_s) + time.monotonic() - began, 3)
            get_logger().info("Step %s: %s after %.1f s", name, outcome, self.spent_s[name])
