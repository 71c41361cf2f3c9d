"""Which window of the stream shows what an alert is about, and from when it can be whole. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from prefect_videodb.following.models import FollowUpOptions
from prefect_videodb.recording.models import Window
from prefect_videodb.webhooks.alert import Alert

# A batch ended up to eight seconds after the alert was told: what ends later than this is no batch of now.
_LONGEST_AHEAD = timedelta(minutes=5)
# An alert is about a moment: of a longer batch the end counts.
LONGEST = timedelta(minutes=30)
# How much is taken where the alert has but a moment.
_GUESS = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Clip:
    """A window of a stream, and when it can be complete."""

    window: Window | None
    ready_at: datetime | None
    missing: tuple[str, ...] = ()


def clip_of(alert: Alert, options: FollowUpOptions, now: datetime) -> Clip:
    """Plan the clip.

    Returns:
        The padded window, and from when it can be played whole; what the alert lacks is told.
    """
    missing: list[str] = []
    batch = Window(start=alert.batch[0], end=alert.batch[1]) if alert.batch else None
    if batch is None and alert.told_at:
        batch = Window(start=alert.told_at - _GUESS, end=alert.told_at)
        missing.append("The alert has no times of its own: the clip shows the half minute before it was told.")
    if batch is None:
        return Clip(None, None, ("The alert has no times that can be read, so there is no clip of it.",))
    if batch.end - now > _LONGEST_AHEAD:
        return Clip(None, None, ("The alert's times lie in the future, so there is no clip of it.",))
    start = batch.start
    if batch.end - start > LONGEST:
        start = batch.end - LONGEST
        missing.append(f"The alert is about a window longer than {LONGEST}: the clip shows its end.")
    end = batch.end + timedelta(seconds=options.pad_after_s)
    window = Window(start=start - timedelta(seconds=options.pad_before_s), end=end)
    return Clip(window, end + timedelta(seconds=options.settle_s), tuple(missing))
