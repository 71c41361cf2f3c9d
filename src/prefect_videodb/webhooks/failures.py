"""How often in a row Prefect failed over the same letter: once may be Prefect, six times is the letter. Pure."""

from dataclasses import dataclass, field

# With the pauses between them, a quarter of a minute.
MOST_FAILURES = 6
# A letter that another dispatcher finishes is never taken off here.
_MOST_KNOWN = 1000


@dataclass(slots=True)
class Failures:
    """Counts by what failed: a letter's run, or its event."""

    _counts: dict[tuple[str, str], int] = field(default_factory=dict)

    def is_enough(self, what: str, identity: str) -> bool:
        """Count one more, and say whether that is enough to take the letter itself for the cause."""
        count = self._counts.pop((what, identity), 0) + 1
        self._counts[what, identity] = count
        if len(self._counts) > _MOST_KNOWN:
            del self._counts[next(iter(self._counts))]
        return count >= MOST_FAILURES

    def forget(self, what: str, identity: str) -> None:
        """Begin anew: something else was the matter, or it is done."""
        self._counts.pop((what, identity), None)
