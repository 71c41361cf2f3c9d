"""Text for people: escaped, dated, timed. Pure."""

import html
import math
import re
from datetime import UTC, datetime, timedelta, tzinfo
from urllib.parse import quote
from zoneinfo import ZoneInfo

from prefect_videodb.recording.time_zones import current_zone

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]+")

_URL_CHARACTERS = ":/?#[]@!$&'()*+,;=%~"


def one_line(text: str) -> str:
    """Make any text one line of visible characters."""
    return " ".join(_CONTROL.sub(" ", text).split())


def escape(text: str) -> str:
    """Make any text stand in a markdown table as it is: no markup, no HTML, one line."""
    return _MARKDOWN.sub(r"\\\1", html.escape(one_line(text), quote=False))


def link(label: str, url: str | None) -> str:
    """Make a markdown link; a URL that is none of the web's is not made into one."""
    if not url or not url.startswith(("http://", "https://")):
        return escape(label)
    return f"[{escape(label)}](<{quote(url, safe=_URL_CHARACTERS)}>)"


def timecode(seconds: float) -> str:
    """Show seconds as `m:ss`, or `h:mm:ss`."""
    whole = max(0, math.floor(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def clock(moment: datetime, zone: tzinfo | None = None) -> str:
    """Show a moment in a time zone, with its name and its offset from UTC.

    Args:
        moment: one without a zone is shown as it is.
        zone: where it is shown; the zone of the run of this context when None.
    """
    if moment.tzinfo is None:
        return f"{moment:%Y-%m-%d %H:%M:%S}"
    try:
        local = moment.astimezone(zone or current_zone())
    except OverflowError:  # of the first or the last year that there is
        local = moment
    return f"{local:%Y-%m-%d %H:%M:%S} {_zone(local)}"


def _zone(local: datetime) -> str:
    minutes = (local.utcoffset() or timedelta()) // timedelta(minutes=1)
    hours, rest = divmod(abs(minutes), 60)
    offset = f"UTC{'-' if minutes < 0 else '+'}{hours:02}:{rest:02}"
    if isinstance(local.tzinfo, ZoneInfo) and local.tzinfo.key:
        return f"{local.tzinfo.key} ({offset})"
    return offset if minutes else "UTC"


def as_moment(text: str | None) -> datetime | None:
    """Read a moment; one without a time zone is of UTC. None where it is none."""
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
