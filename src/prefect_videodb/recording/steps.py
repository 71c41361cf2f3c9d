"""How long each step took."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prefect_videodb._logging import get_logger


class Steps:
    """Measure the steps of one execution, and log each as it ends."""

    def __init__(self) -> None:
        self.spent_s: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure one step; one that is cut short is measured too."""
        began = time.monotonic()
        outcome = "cut short"
        try:
            yield
            outcome = "done"
        finally:
            self.spent_s[name] = round(self.spent_s.get(name, 0.0) + time.monotonic() - began, 3)
            get_logger().info("Step %s: %s after %.1f s", name, outcome, self.spent_s[name])
