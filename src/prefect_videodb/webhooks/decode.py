"""Read what was posted: alerts, or stages of a capture session or meeting. Pure; no web framework in sight.

VideoDB may never send again what was refused, so whatever can be read is read, however it is packed and written: the
content type and the charset count only where the body itself does not say. What cannot be read is a dead letter.
"""

import json
import re
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf, isfinite
from typing import Annotated, Any
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from prefect_videodb.client.models.frames import AlertFrame
from prefect_videodb.client.models.reading import Object, Text
from prefect_videodb.webhooks.alert import Alert

_SESSION = "capture_session"
# What alerts were ever seen with; two of them make one.
_OF_ALERTS = frozenset(
    {"event_id", "label", "event_label", "confidence", "explanation", "start_time", "end_time", "stream_url"}
)
_LEAST = 2
# What the receiver adds: nobody else can say it.
_OURS = frozenset({"route", "flow_run_id"})
# No alert that was ever seen is longer; it counts before and after a body is decompressed.
LONGEST_BODY = 256 * 1024
# An array of more is a dead letter from there on: each alert is a commit and a run.
MOST_AT_ONCE = 1000
_MOST_CODINGS = 2
_MOST_FIELDS = 100
_LARGEST = 2**53
# Codecs of Python that are no charset, such as `punycode`, may take quadratic time.
_CHARSET = re.compile(
    r"utf-?(8|16|32)([-_]?(le|be|sig))?|(us-)?ascii|latin-?1|iso-?8859-?\d{1,2}|(windows|cp)-?125\d|koi8-[ru]|gb2312|gbk"
    r"|gb18030|big5|shift[-_]jis|euc-(jp|kr)",
    re.IGNORECASE,
)
_DECLARED = re.compile(r"charset=[\"']?([\w.:-]{1,40})", re.IGNORECASE)
_BETWEEN = re.compile(r"[\s,]*")
_FORM = re.compile(r"\s{0,100}[\w.%-]{1,100}=")
# What Prefect does not take as it is in a parameter: its server fills in templates and variables, or looks for a block.
_MEANT_FOR_PREFECT = re.compile(r"(__prefect_kind|\$ref)_*")
_OF_MEETINGS = frozenset({"meeting_id", "bot_id", "meeting_url", "speaker_timeline", "callback_data", "meeting_title"})


class LifecycleEvent(BaseModel):
    """A stage of a capture session (`capture_session.active`, …) or of a meeting bot."""

    model_config = ConfigDict(extra="allow")

    event: Text = Field(default=None, title="Event", description="capture_session.<status>, or meeting.<status>.")
    route: Text = Field(default=None, title="Route", description="The route of the webhook that it came in by.")
    status: Text = Field(default=None, title="Status")
    capture_session_id: Text = Field(default=None, title="Capture session")
    video_id: Text = Field(default=None, title="Video", description="The recording, where there is one.")
    timestamp: Annotated[Any, Field(title="Told at")] = None
    flow_run_id: Text = Field(
        default=None, title="Watched by", description="The flow run that asked for it, where it said so."
    )
    data: Object = Field(default={}, title="Data")


class Unreadable(ValueError):
    """No alert and no stage can be read out of what was posted. The message says why, and quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class Posted:
    """What was read out of one body: alerts and stages, each with the part of the body that it stands in.

    Attributes:
        unreadable: what could not be read, None where all could.
        reason: why not.
    """

    read: list[tuple[Alert | LifecycleEvent, bytes]] = field(default_factory=list)
    unreadable: bytes | None = None
    reason: str = ""


def decode(body: bytes) -> Alert | LifecycleEvent:
    """Read a body that holds one alert or stage.

    Raises:
        Unreadable: it does not.
    """
    posted = decode_all(body)
    if posted.unreadable is not None:
        raise Unreadable(posted.reason)
    if len(posted.read) > 1:
        raise Unreadable("it holds several alerts")
    return posted.read[0][0]


def decode_all(body: bytes, content_type: str = "") -> Posted:
    """Read all that a body holds: an object, an array of objects, objects one after the other, or a form."""
    if not body.strip():
        return Posted(unreadable=body, reason="the body is empty")
    try:
        return _read_all(body, content_type)
    except Unreadable as error:
        return Posted(unreadable=body, reason=str(error))
    except RecursionError:
        return Posted(unreadable=body, reason="the JSON is nested too deeply")


def _read_all(body: bytes, content_type: str) -> Posted:
    values = _values(body, content_type)
    is_one = isinstance(values, dict)
    several = [values] if is_one else values
    read: list[tuple[Alert | LifecycleEvent, bytes]] = []
    left: list[Any] = []
    reason = "" if several else "the array is empty"
    for value in several:
        if len(read) == MOST_AT_ONCE:
            left.append(value)
            reason = reason or f"it holds more than {MOST_AT_ONCE} alerts"
            continue
        try:
            told = _told(value)
        except Unreadable as error:
            left.append(value)
            reason = reason or str(error)
        else:
            read.append((told, body if is_one else json.dumps(value).encode()))
    if not read:
        return Posted(unreadable=body, reason=reason)
    return Posted(read, json.dumps(left).encode() if left else None, reason)


def unpack(body: bytes, content_encoding: str = "") -> tuple[bytes, str]:
    """Undo the content encodings of a body; returns it as it is, with the reason, where that cannot be done.

    Args:
        body: as it came, at most `LONGEST_BODY` bytes.
        content_encoding: the header. What is gzip says so itself, too.
    """
    names = [name for name in re.findall(r"[\w-]+", content_encoding[:200].lower()) if name != "identity"]
    if not names and body.startswith(b"\x1f\x8b"):
        names = ["gzip"]
    unpacked = body
    if len(names) > _MOST_CODINGS:  # there are archives that hold themselves
        return body, "it has too many content encodings"
    for name in reversed(names):
        if name not in {"gzip", "x-gzip", "deflate"}:
            return body, f"its content encoding {name[:20]!r} is not known"
        found = _inflated(unpacked)
        if found is None:
            return unpacked, f"it is no whole {name}"
        if len(found) > LONGEST_BODY:
            return unpacked, f"decompressed, it is longer than {LONGEST_BODY} bytes"
        unpacked = found
    return unpacked, ""


def _inflated(body: bytes) -> bytes | None:
    """Decompress gzip, zlib, or what lacks the header of either; None for what is none of them, or not whole."""
    for window in (32 + zlib.MAX_WBITS, -zlib.MAX_WBITS):
        with suppress(zlib.error):
            unpacking = zlib.decompressobj(window)
            found = unpacking.decompress(body, LONGEST_BODY + 1)
            if (unpacking.eof and not unpacking.unused_data.strip(b"\0")) or len(found) > LONGEST_BODY:
                return found
    return None


def _told(value: Any) -> Alert | LifecycleEvent:
    if not isinstance(value, dict):
        raise Unreadable("it is JSON, and no object")
    try:
        return _read(value)
    except ValidationError:
        pass
    try:
        return _read(storable(value))  # half a character, say
    except ValidationError:
        raise Unreadable("what it holds cannot be read") from None


def _read(told: dict[str, Any]) -> Alert | LifecycleEvent:
    event = told.get("event")
    if (isinstance(event, str) and event.startswith(_SESSION)) or "capture_session_id" in told:
        # The stage `exported` names its video in `data`, as it names the session's other parts.
        exported = _flat(told).get("exported_video_id")
        return LifecycleEvent.model_validate(({"video_id": exported} if exported else {}) | told)
    flat = _flat(told)
    if len(_OF_ALERTS & flat.keys()) >= _LEAST:
        return Alert.model_validate({key: value for key, value in flat.items() if key not in _OURS})
    if _OF_MEETINGS & flat.keys() or ("status" in told and "video_id" in flat):
        named = told if isinstance(event, str) else told | {"event": f"meeting.{told.get('status') or 'told'}"}
        # What else stands in `data` is the caller's own `callback_data`, and stays there.
        return LifecycleEvent.model_validate({"video_id": flat.get("video_id")} | named)
    raise Unreadable("it looks neither like an alert nor like a stage of a capture session or meeting")


def of_frame(frame: AlertFrame) -> Alert:
    """Make the alert of a frame of the WebSocket: it is one with the same alert that came by webhook."""
    raw = frame.raw if isinstance(frame.raw, dict) else {}
    return Alert.model_validate({k: v for k, v in _flat(raw).items() if k not in {"data", "channel"} | _OURS})


def _flat(told: dict[str, Any]) -> dict[str, Any]:
    """Give all that is told, at the top level or in `data`; the top level counts where both say something."""
    inner = told.get("data")
    return {**inner, **told} if isinstance(inner, dict) else told


def storable(value: Any) -> Any:
    """Make of what came what every database can hold: no half characters, no NUL, no number of a thousand digits.

    And what Prefect takes for what it says: a key that means something to Prefect gets another name.
    """
    if isinstance(value, str):
        # What can be printed holds none of it, and to ask costs next to nothing.
        is_sure = value.isprintable()
        return value if is_sure else value.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
    if isinstance(value, dict):
        return {_key(storable(str(key))): storable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [storable(inner) for inner in value]
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, int) and abs(value) > _LARGEST:
        return float(value) if abs(value) < _LARGEST**4 else str(value)
    return value


def _key(key: str) -> str:
    return f"{key}_" if _MEANT_FOR_PREFECT.fullmatch(key) else key


def _values(body: bytes, content_type: str) -> dict[str, Any] | list[Any]:
    """Return the object of a body, or all values of one that holds several."""
    reason = "the body is no JSON"
    for text in _texts(body, content_type):
        value = _value(text)
        if isinstance(value, str):  # JSON in JSON
            value = _value(value)
        if isinstance(value, dict | list):
            return value
        if value is not None:
            reason = "it is JSON, and no object"
    raise Unreadable(reason)


def _texts(body: bytes, content_type: str) -> Iterator[str]:
    """Yield the body in the charset that is declared, and in the one that it seems to be written in."""
    declared = _DECLARED.search(content_type)
    if declared and _CHARSET.fullmatch(declared[1]):
        with suppress(ValueError, LookupError):
            yield body.decode(declared[1])
    yield body.decode(json.detect_encoding(body), "replace")


def _value(text: str) -> Any:
    """Return what a text holds: one value, a list of several, the fields of a form; None where it is none of them."""
    with suppress(ValueError):
        return _STRICT.decode(text)
    with suppress(ValueError):
        found = list(_one_after_the_other(text))
        return found[0] if len(found) == 1 else found
    if _FORM.match(text):
        with suppress(ValueError):
            fields = dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS))
            for value in fields.values():
                if value.lstrip()[:1] in {"{", "["}:
                    with suppress(ValueError):
                        return _LENIENT.decode(value)
            return fields
    return None


def _one_after_the_other(text: str) -> Iterator[Any]:
    """Yield the values of a text, as a log of lines has them."""
    at = _BETWEEN.match(text, 0).end()  # type: ignore[union-attr] # it matches nothing, too
    while at < len(text):
        value, at = _LENIENT.raw_decode(text, at)
        yield value
        at = _BETWEEN.match(text, at).end()  # type: ignore[union-attr] # the same


def _number(digits: str) -> int | float:
    """Read an integer; one of more digits than Python reads is infinite."""
    try:
        return int(digits)
    except ValueError:
        return inf


# Made once: to make one takes as long as to decode an alert.
_STRICT = json.JSONDecoder(parse_constant=lambda _: None)
# For what the other one does not take: line ends in texts, numbers of thousands of digits.
_LENIENT = json.JSONDecoder(parse_constant=lambda _: None, parse_int=_number, strict=False)
