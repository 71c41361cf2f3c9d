"""The clock that waits are measured with."""

import time
from collections.abc import Callable


def steady_now() -> float:
    """Read a clock that no one sets and that, where there is one, goes on while the machine is suspended."""
    boot_time = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot_time is None else time.clock_gettime(boot_time)


def counting_down(seconds: float) -> Callable[[], float]:
    """Give what tells how much is left of a time that begins now, in seconds."""
    deadline = steady_now() + seconds
    return lambda: deadline - steady_now()
