"""Text for people: escaped, dated, timed. Pure."""

import html
import math
import re
from datetime import UTC, datetime
from urllib.parse import quote

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


def clock(moment: datetime) -> str:
    """Show a moment with its time zone."""
    return moment.strftime("%Y-%m-%d %H:%M:%S %Z").strip()


def as_moment(text: str | None) -> datetime | None:
    """Read a moment; one without a time zone is of UTC. None where it is none."""
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
