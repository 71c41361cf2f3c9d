"""Whether two alerts tell of the same firing, in whatever precision each of them tells its times. Pure.

The same moment comes as microseconds, cut to milliseconds, as whole seconds, or as the range of a manifest, which is
rounded outwards. A fixed grid has an edge that such a pair falls across. So each told time is the interval in which the
moment lies, as wide as the last digit that was told, and two alerts are one firing when the intervals of both their
starts and their ends meet. Batches that begin a second or more apart never meet: cut to whole seconds they differ, too.
"""

from collections import OrderedDict
from hashlib import blake2b
from math import inf
from typing import NamedTuple

from prefect_videodb.webhooks.alert import FIRST_MOMENT, MANIFEST, Alert, event_of_alert, seconds_of

# The smallest unit that is told: a float of unix seconds holds no more.
_MOST_DECIMALS = 6
_FLOAT_NOISE_S = 2e-6
# The width of a whole second, and of no fraction.
_WHOLE_S = 0.9
# Whole seconds may have been rounded up, by half a second. That is believed of batches of this length on: then the next
# batch cannot be meant.
_ROUNDED_FROM_S = 2.0
# Intervals that meet begin no further apart.
REACH_S = 2.0
# No stream has more firings of an event within that reach; what comes beyond is compared with these only.
MOST_COMPARED = 64
_MOST_REMEMBERED = 10_000


class Interval(NamedTuple):
    """Where a moment lies, in seconds."""

    low: float
    high: float

    @property
    def is_whole(self) -> bool:
        """Whether it was told in whole seconds."""
        return _WHOLE_S <= self.high - self.low < inf

    def meets(self, other: "Interval", below_s: float = 0.0, above_s: float = 0.0) -> bool:
        """Whether both may be the same moment; whole seconds may be off by more where the other tells fractions."""
        whole, exact = (self, other) if self.is_whole else (other, self)
        if not whole.is_whole or exact.is_whole:
            below_s = above_s = 0.0
        return whole.low - below_s < exact.high and exact.low < whole.high + above_s


class Firing(NamedTuple):
    """What of an alert makes it one firing: which event of which stream on which route (`key`), and when."""

    key: str
    start: Interval
    end: Interval

    def is_same(self, other: "Firing") -> bool:
        """Whether both tell of the same firing."""
        if self.key != other.key:
            return False
        if min(one.end.low - one.start.low for one in (self, other)) < _ROUNDED_FROM_S:
            return self.start.meets(other.start) and self.end.meets(other.end)
        return self.start.meets(other.start, 0.5) and self.end.meets(other.end, 1.0, 1.0)


class RecentFirings:
    """The firings that came last, each with the identity that it came with first."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, list[tuple[Firing, str]]] = OrderedDict()

    def first_identity(self, firing: Firing, identity: str) -> str:
        """Return the identity of the first alert of a firing; of one that is not known it is the one given."""
        same = self._known.setdefault(firing.key, [])
        self._known.move_to_end(firing.key)
        for known, first in same:
            if first == identity or known.is_same(firing):
                return first
        same.append((firing, identity))
        del same[:-MOST_COMPARED]
        if len(self._known) > _MOST_REMEMBERED:
            self._known.popitem(last=False)
        return identity


def firing_of(alert: Alert, route: str) -> Firing | None:
    """Return the firing of an alert; None where it tells no start."""
    times = _of_times(alert)
    # Seconds of a stream say less than the moments in the URL.
    if (times is None or times[0].low < FIRST_MOMENT) and (found := MANIFEST.search(alert.stream_url or "")):
        start, end = int(found["start"]) / 1e6, int(found["end"]) / 1e6
        decimals = max(_decimals(start), _decimals(end))
        last = _interval(end, decimals) if decimals else Interval(end - 1.0, end + _FLOAT_NOISE_S)  # rounded up
        times = _interval(start, decimals), last
    if times is None:
        return None
    key = "\0".join((route, alert.stream or "", event_of_alert(alert)))
    return Firing(blake2b(key.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest(), *times)


def _of_times(alert: Alert) -> tuple[Interval, Interval] | None:
    start, end = seconds_of(alert.start_time), seconds_of(alert.end_time)
    if start is None:
        return None
    if end is None:
        return _interval(start, _decimals(start)), Interval(-inf, inf)
    # Both are told in one form: a fraction of zero does not make one of them a whole second.
    decimals = max(_decimals(start), _decimals(end))
    return _interval(start, decimals), _interval(end, decimals)


def _interval(moment: float, decimals: int) -> Interval:
    """Return where a moment lies that was cut or, where it has a fraction, rounded to so many decimals."""
    if not decimals:
        return Interval(moment, moment + 1.0)
    unit = 10.0**-decimals
    return Interval(moment - unit / 2 - _FLOAT_NOISE_S, moment + unit + _FLOAT_NOISE_S)


def _decimals(seconds: float) -> int:
    """Return how many decimals of a second were told; zeros at the end count as none: who cuts may write them."""
    return len(f"{seconds:.{_MOST_DECIMALS}f}".partition(".")[2].rstrip("0"))
