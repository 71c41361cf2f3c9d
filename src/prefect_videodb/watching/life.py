"""How somebody else tells that a flow run is a watch, and whether it still looks after its stream.

A watch may go on for ever, so neither a planned end nor its length says that it was left alone. What does is the moment
until which it promised its next look.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

WATCH_STREAM = "watch-stream"
KIND = "kind"
WATCH = "watch"
# What the UI shows while a watch is parked.
WATCHING = "Watching"
DUE_BY = "due_by"
# A look that comes late is not yet one that nobody makes: a worker is busy, a service slow.
_MARGIN = timedelta(minutes=5)


def is_watch(known: Mapping[str, str]) -> bool:
    """Say whether what a run has written down is a watch's."""
    return known.get(KIND) == WATCH


def is_overdue(known: Mapping[str, str], now: datetime, grace: timedelta) -> bool:
    """Say whether a watch that holds a process should have looked long ago: the process is gone, and nobody noticed."""
    due_by = known.get(DUE_BY)
    return due_by is not None and now > datetime.fromisoformat(due_by) + _MARGIN + grace
