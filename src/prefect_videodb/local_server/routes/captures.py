"""Capture sessions and meeting bots."""

from typing import Any, Literal

from pydantic import Field

from prefect_videodb.local_server.calls import Answer, Call, CallbackUrl, Fields, Parameters
from prefect_videodb.local_server.captures import Channel


class CreateSession(Fields):
    """`POST /collection/{id}/capture/session`."""

    end_user_id: str = Field(min_length=1, max_length=1000)
    callback_url: CallbackUrl = None
    ws_connection_id: str | None = None
    metadata: dict[str, Any] | None = None


class SessionParameters(Parameters):
    """`GET /collection/{id}/capture/session`."""

    status: str | None = None


class ChannelFields(Fields):
    """One channel of `POST /capture/session/start`."""

    channel_id: str = Field(min_length=1, max_length=200)
    channel_name: str | None = Field(None, min_length=1, max_length=1000)
    type: Literal["audio", "video"] = "audio"
    store: bool = True
    is_primary: bool = False


class StartSession(Fields):
    """`POST /capture/session/start`."""

    session_id: str
    channels: list[ChannelFields] = Field(min_length=1, max_length=20)


class ExportSession(Fields):
    """`POST /collection/{id}/capture/session/{session}/export`."""

    video_channel_id: str | None = None
    connection_id: str | None = None


class Token(Fields):
    """`POST /capture/session/token`."""

    expires_in: int = Field(86_400, ge=1, le=2**31)


class RecordMeeting(Fields):
    """`POST /collection/{id}/meeting/record`."""

    meeting_url: str = Field(min_length=1, max_length=10_000)
    bot_name: str | None = Field(None, max_length=1000)
    bot_image_url: str | None = Field(None, max_length=10_000)
    meeting_title: str | None = Field(None, max_length=1000)
    callback_url: CallbackUrl = None
    callback_data: dict[str, Any] = Field(default_factory=dict)
    time_zone: str = "UTC"


def create(call: Call) -> Answer:
    """`POST /collection/{id}/capture/session`: prepare a session."""
    fields = call.fields(CreateSession)
    return Answer(
        call.state.captures.create(
            _collection(call),
            end_user_id=fields.end_user_id,
            callback_url=fields.callback_url,
            ws_connection_id=fields.ws_connection_id,
            metadata=fields.metadata or {},
        )
    )


def get(call: Call) -> Answer:
    """`GET /collection/{id}/capture/session/{session}`: one of them."""
    return Answer(call.state.captures.get(call.path["session_id"], _collection(call)))


def list_all(call: Call) -> Answer:
    """`GET /collection/{id}/capture/session`: those of a collection."""
    status = call.parameters(SessionParameters).status
    return Answer({"sessions": call.state.captures.of_collection(_collection(call), status)})


def start(call: Call) -> Answer:
    """`POST /capture/session/start`: what a capture client does when its user begins to share."""
    fields = call.fields(StartSession)
    channels = [
        Channel(
            channel_id=channel.channel_id,
            name=channel.channel_name or channel.channel_id,
            type=channel.type,
            store=channel.store,
            is_primary=channel.is_primary,
        )
        for channel in fields.channels
    ]
    return Answer(call.state.captures.start(fields.session_id, channels))


def stop(call: Call) -> Answer:
    """`POST /capture/session/{session}/stop`: what a capture client does when its user ends."""
    return Answer(call.state.captures.stop(call.path["session_id"], call.base_url))


def read(call: Call) -> Answer:
    """`GET /capture/session/{session}`: what a capture client sees of its session."""
    return Answer(call.state.captures.get(call.path["session_id"]))


def export(call: Call) -> Answer:
    """`POST /collection/{id}/capture/session/{session}/export`: make a video, or tell how far it is."""
    fields = call.fields(ExportSession)
    return Answer(
        call.state.captures.export(call.path["session_id"], _collection(call), fields.video_channel_id, call.base_url)
    )


def token(call: Call) -> Answer:
    """`POST /capture/session/token`: something for a capture client to identify itself with."""
    expires_in = call.fields(Token).expires_in
    secret, expires_at = call.state.captures.token(expires_in)
    return Answer({"token": secret, "expires_at": expires_at, "expires_in": expires_in})


def record_meeting(call: Call) -> Answer:
    """`POST /collection/{id}/meeting/record`: send a bot."""
    fields = call.fields(RecordMeeting)
    return Answer(call.state.meetings.record(_collection(call), fields.model_dump(), call.base_url))


def get_meeting(call: Call) -> Answer:
    """`GET /collection/{id}/meeting/{meeting}`: how far it is."""
    return Answer(call.state.meetings.get(call.path["meeting_id"], _collection(call)))


def meeting_of_video(call: Call) -> Answer:
    """`GET /video/{id}/meeting`: the meeting that a video is of, if it is of one."""
    video = call.state.videos.get(call.path["video_id"])
    return Answer(call.state.meetings.of_video(video.id) or {})


def _collection(call: Call) -> str:
    return str(call.state.library.get(call.path["collection_id"])["id"])


OPERATIONS = {
    ("POST", "/collection/{collection_id}/capture/session"): create,
    ("GET", "/collection/{collection_id}/capture/session"): list_all,
    ("GET", "/collection/{collection_id}/capture/session/{session_id}"): get,
    ("POST", "/collection/{collection_id}/capture/session/{session_id}/export"): export,
    ("POST", "/capture/session/start"): start,
    ("GET", "/capture/session/{session_id}"): read,
    ("POST", "/capture/session/{session_id}/stop"): stop,
    ("POST", "/capture/session/token"): token,
    ("POST", "/collection/{collection_id}/meeting/record"): record_meeting,
    ("GET", "/collection/{collection_id}/meeting/{meeting_id}"): get_meeting,
    ("GET", "/video/{video_id}/meeting"): meeting_of_video,
}
