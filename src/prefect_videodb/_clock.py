"""The clock that waits are measured with."""

import time


def steady_now() -> float:
    """Read a clock that no one sets and that, where there is one, goes on while the machine is suspended."""
    boot_time = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot_time is None else time.clock_gettime(boot_time)
