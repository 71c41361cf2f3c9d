"""Text for people: escaped, dated, timed. Pure."""

import html
import math
import re
from datetime import UTC, datetime, timedelta, tzinfo
from urllib.parse import quote
from zoneinfo import ZoneInfo

from prefect_videodb.errors import ConfigurationError
from prefect_videodb.recording.time_zones import current_zone
from prefect_videodb.redact import one_line, truncate
from prefect_videodb.urls import LINK, read

__all__ = ["as_moment", "clock", "escape", "link", "one_line", "plain", "timecode", "web_link"]

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~])")
# What is made into a link or a mention without any markup: of `https://`, `www.` and `@` one sign is written as HTML.
_AUTOMATIC = re.compile(r":(?=//)|(?<=www)\.|@", re.IGNORECASE)
# What chats read as mentions, links or commands.
_PLAIN = str.maketrans({"<": "\u2039", ">": "\u203a", "@": "\uff20", "[": "(", "]": ")", "`": "'"})
_PLAIN_LINK = re.compile(r":(?=//)|(?<=www)\.|(?<=mailto):|(?<=tel):", re.IGNORECASE)
_URL_CHARACTERS = ":/?#[]!$&'()*+,;=%~"
# Prefect's UI breaks lines between words only, has room for 710 px, and hides what is wider.
_LONGEST_WORD = 64
# In a title, whose letters are larger.
LONGEST_WORD_OF_A_TITLE = 32


def escape(text: str, longest_word: int = _LONGEST_WORD) -> str:
    """Make any text stand in markdown as it is: no markup, HTML or link, one line, no word wider than the page."""
    half = longest_word // 2
    words = (w if len(w) <= longest_word else f"{w[: half - 1]}…{w[-half:]}" for w in one_line(text).split())
    marked = _MARKDOWN.sub(r"\\\1", html.escape(" ".join(words), quote=False))
    return _AUTOMATIC.sub(lambda sign: f"&#{ord(sign[0])};", marked)


def plain(text: str, longest: int) -> str:
    """Make any text stand in a notification as it is: one line, in which no chat finds a mention, link or command."""
    return _PLAIN_LINK.sub(lambda sign: f"{sign[0]} ", truncate(one_line(text), longest).translate(_PLAIN))


def web_link(url: str | None) -> str | None:
    """Return a URL that may be shown as a link: of http or https, whole, and of nothing but a URL's characters.

    None for any other: it is text.
    """
    if not url:
        return None
    try:
        # A service may leave signs unquoted that are none of a URL's; one that is no sign of the host's is quoted here.
        return quote(read(url, LINK).text, safe=_URL_CHARACTERS)
    except ConfigurationError:
        return None


def link(label: str, url: str | None) -> str:
    """Make a markdown link; a URL that is none of the web's is not made into one."""
    target = web_link(url)
    return f"[{escape(label)}](<{target}>)" if target else escape(label)


def timecode(seconds: float) -> str:
    """Show seconds as `m:ss`, or `h:mm:ss`."""
    whole = max(0, math.floor(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def clock(moment: datetime, zone: tzinfo | None = None, *, short: bool = False) -> str:
    """Show a moment in a time zone, with its offset from UTC.

    Args:
        moment: one without a zone is shown as it is.
        zone: where it is shown; the zone of the run of this context when None.
        short: without seconds and without the zone's name, for a table.
    """
    form = "%Y-%m-%d %H:%M" if short else "%Y-%m-%d %H:%M:%S"
    if moment.tzinfo is None:
        return f"{moment:{form}}"
    try:
        local = moment.astimezone(zone or current_zone())
    except OverflowError:  # of the first or the last year that there is
        local = moment
    minutes = (local.utcoffset() or timedelta()) // timedelta(minutes=1)
    hours, rest = divmod(abs(minutes), 60)
    shown = f"UTC{'-' if minutes < 0 else '+'}{hours:02}:{rest:02}"
    if isinstance(local.tzinfo, ZoneInfo) and local.tzinfo.key and not short:
        shown = f"{local.tzinfo.key} ({shown})"
    elif not minutes:
        shown = "UTC"
    return f"{local:{form}} {shown}"


def as_moment(text: str | None) -> datetime | None:
    """Read a moment; one without a time zone is of UTC. None where it is none."""
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
