"""Read what was posted: an alert, or a stage of a capture session or meeting. Pure; no web framework in sight."""

import json
from typing import Annotated, Any, NoReturn

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


class Malformed(ValueError):
    """What was posted is no JSON object. The message says what it is, and quotes nothing of it."""


class Unknown(ValueError):
    """What was posted is a JSON object of a kind that is not known."""


def decode(body: bytes) -> Alert | LifecycleEvent:
    """Read a body.

    Raises:
        Malformed: it is no JSON object.
        Unknown: it is one, and neither an alert nor a lifecycle event.
    """
    try:
        return _read(_object(body))
    except ValidationError:
        raise Unknown("what it holds cannot be read") from None


def _read(told: dict[str, Any]) -> Alert | LifecycleEvent:
    event = told.get("event")
    if (isinstance(event, str) and event.startswith(_SESSION)) or "capture_session_id" in told:
        return LifecycleEvent.model_validate(told)
    flat = _flat(told)
    if len(_OF_ALERTS & flat.keys()) >= _LEAST:
        return Alert.model_validate({key: value for key, value in flat.items() if key not in _OURS})
    if _OF_MEETINGS & flat.keys() or ("status" in told and "video_id" in flat):
        named = told if isinstance(event, str) else told | {"event": f"meeting.{told.get('status') or 'told'}"}
        # What else stands in `data` is the caller's own `callback_data`, and stays there.
        return LifecycleEvent.model_validate({"video_id": flat.get("video_id")} | named)
    raise Unknown("it looks neither like an alert nor like a stage of a capture session or meeting")


def of_frame(frame: AlertFrame) -> Alert:
    """Make the alert of a frame of the WebSocket: it is one with the same alert that came by webhook."""
    raw = frame.raw if isinstance(frame.raw, dict) else {}
    return Alert.model_validate({k: v for k, v in _flat(raw).items() if k not in {"data", "channel"} | _OURS})


def _flat(told: dict[str, Any]) -> dict[str, Any]:
    """Give all that is told, at the top level or in `data`; the top level counts where both say something."""
    inner = told.get("data")
    return {**inner, **told} if isinstance(inner, dict) else told


def _object(body: bytes) -> dict[str, Any]:
    try:
        told = _DECODER.decode(body.decode(json.detect_encoding(body)))
    except RecursionError:
        raise Malformed("the JSON is nested too deeply") from None
    except ValueError:  # no UTF-8, no JSON, a number that is none
        raise Malformed("the body is no JSON") from None
    if not isinstance(told, dict):
        raise Malformed("the body is no JSON object")
    return told


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


# Made once: to make one takes as long as to decode an alert.
_DECODER = json.JSONDecoder(parse_constant=_no_number)
