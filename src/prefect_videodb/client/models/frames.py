"""What comes over a WebSocket connection, frame by frame.

No frame was ever recorded, and alerts have been seen in four shapes: everything is looked for at the top level and
in `data`, under all its known names. Times are milliseconds on the wire and seconds here, as everywhere else.
"""

import json
from typing import Annotated, Any

from pydantic import AliasChoices, BeforeValidator, Field, WrapValidator

from prefect_videodb.client.models.reading import (
    Flag,
    Hidden,
    Model,
    Number,
    Object,
    Text,
    as_float,
    as_seconds,
    or_none,
    readable,
)
from prefect_videodb.client.models.streams import RTStream

_VISUAL = frozenset({"scene_index", "visual_index"})
_AUDIO = frozenset({"audio_index", "spoken_index"})
_SESSION = "capture_session"
# A number between these is a unix time in seconds, whoever says milliseconds: as milliseconds it would be of January
# 1970 and as a place in a recording longer than eleven days.
_UNIX_SECONDS = (1_000_000_000, 100_000_000_000)


def _milliseconds(value: Any) -> Any:
    """Read milliseconds, of the unix time or from a beginning; a text with its own unit is read as that."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = as_float(value)
        return number if _UNIX_SECONDS[0] <= number < _UNIX_SECONDS[1] else number / 1000
    return as_seconds(value)


Milliseconds = Annotated[
    float | None, Field(allow_inf_nan=False), BeforeValidator(_milliseconds), WrapValidator(or_none)
]


class Frame(Model):
    """What came; a kind of its own where it is a known one. `raw` is what came, whatever it was."""

    channel: Text = None
    rtstream_id: Text = None
    rtstream_name: Text = None


class Connected(Frame):
    """The connection is there: what is to be sent over it is bound to `connection_id`.

    After a loss there is another one, under another id: what was bound to `previous_id` has to be bound anew.
    """

    connection_id: Text = None
    previous_id: Text = None


class TranscriptFrame(Frame):
    """What was said; until `is_final` the same words may come again, corrected."""

    text: Text = None
    start: Milliseconds = None
    end: Milliseconds = None
    is_final: Flag = None


class _IndexFrame(Frame):
    index_id: Annotated[
        Text, Field(validation_alias=AliasChoices("rtstream_index_id", "scene_index_id", "index_id"))
    ] = None
    understanding_id: Text = None
    text: Annotated[Text, Field(validation_alias=AliasChoices("text", "description"))] = None
    start: Milliseconds = None
    end: Milliseconds = None


class VisualFrame(_IndexFrame):
    """What an index says of what is seen."""


class AudioFrame(_IndexFrame):
    """What an index says of what is said."""


class AlertFrame(Frame):
    """An event that became true."""

    event_id: Text = None
    label: Annotated[Text, Field(validation_alias=AliasChoices("label", "event_label"))] = None
    text: Annotated[Text, Field(validation_alias=AliasChoices("text", "explanation"))] = None
    confidence: Number = None
    start: Annotated[Milliseconds, Field(validation_alias=AliasChoices("start", "start_time"))] = None
    end: Annotated[Milliseconds, Field(validation_alias=AliasChoices("end", "end_time"))] = None
    timestamp: Milliseconds = None
    stream_url: Text = None
    player_url: Text = None


class SessionFrame(Frame):
    """A stage of a capture session: `capture_session.active` names its streams, `…exported` its video.

    Older documentation has these frames without a channel.
    """

    event: Text = None
    capture_session_id: Text = None
    status: Text = None
    rtstreams: Annotated[list[RTStream], BeforeValidator(readable(RTStream))] = []
    exported_video_id: Annotated[Text, Field(validation_alias=AliasChoices("exported_video_id", "video_id"))] = None
    stream_url: Text = None
    player_url: Text = None
    data: Object = {}


class UnreadableFrame(Frame):
    """What is no JSON object; `raw` is its text."""


class WebSocketAddress(Model):
    """Where to connect; hidden, as it lets in whoever has it."""

    url: Annotated[Hidden, Field(validation_alias=AliasChoices("websocket_url", "url"))] = None


def read_frame(message: str | bytes) -> Frame:
    """Read one message as the frame that it is. There is none that cannot be read."""
    text = message.decode(errors="replace") if isinstance(message, bytes) else message
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        return _keeping(UnreadableFrame(), text)
    data = body.get("data")
    # The top level counts where both say something: `data` has been seen with a name and a text of its own.
    flat = {**(data if isinstance(data, dict) else {}), **{k: v for k, v in body.items() if v is not None}}
    return _keeping(_kind(body).model_validate(flat), body)


def _kind(body: dict[str, Any]) -> type[Frame]:
    channel = str(body.get("channel") or "").lower()
    if channel == "transcript":
        return TranscriptFrame
    if channel in _VISUAL:
        return VisualFrame
    if channel in _AUDIO:
        return AudioFrame
    if channel == "alert":
        return AlertFrame
    if channel == _SESSION or str(body.get("event") or "").startswith(_SESSION) or "capture_session_id" in body:
        return SessionFrame
    return Connected if "connection_id" in body and not channel else Frame


def _keeping(frame: Frame, raw: Any) -> Frame:
    frame._raw = raw  # noqa: SLF001 - its own class
    return frame
