"""Capture sessions: what a desktop client captures, as live streams."""

from typing import Annotated

from pydantic import AliasChoices, BeforeValidator, Field

from prefect_videodb.client.models.reading import (
    Count,
    Flag,
    Hidden,
    Id,
    Model,
    More,
    Object,
    Seconds,
    Text,
    readable,
)
from prefect_videodb.client.models.streams import RTStream


class CaptureChannel(Model):
    """What a session captures: a screen, a microphone, the sound of the system."""

    id: Annotated[Text, Field(validation_alias=AliasChoices("channel_id", "id"))] = None
    name: Text = None
    type: Text = None
    store: Flag = None
    is_primary: Flag = None


class CaptureSession(Model):
    """A capture session; its streams are there once it is `active`.

    `status` is `created`, `starting`, `active`, `stopping`, `stopped`, `exported` or `failed`.
    """

    id: Annotated[Id, Field(validation_alias=AliasChoices("session_id", "id"))]
    collection_id: Text = None
    end_user_id: Text = None
    client_id: Text = None
    status: Text = None
    callback_url: Hidden = None
    metadata: Object = {}
    channels: Annotated[list[CaptureChannel], BeforeValidator(readable(CaptureChannel))] = []
    rtstreams: Annotated[list[RTStream], BeforeValidator(readable(RTStream))] = []
    primary_video_channel_id: Text = None
    export_status: Text = None
    exported_video_id: Text = None
    stream_url: Text = None
    player_url: Text = None

    def get_rtstream(self, category: str) -> list[RTStream]:
        """Give the streams of a channel: `mic`, `screen` or `system_audio`, in any case; there can be several."""
        return [stream for stream in self.rtstreams if (stream.channel_id or "").lower() == category.lower()]


class CaptureSessions(Model):
    """Capture sessions of a collection."""

    sessions: Annotated[list[CaptureSession], BeforeValidator(readable(CaptureSession))] = []
    next_page: More = False


class CaptureExport(Model):
    """How far the export of a session is: `exporting`, `exported` or `failed`."""

    session_id: Text = None
    video_channel_id: Text = None
    export_status: Text = None
    video_id: Annotated[Text, Field(validation_alias=AliasChoices("video_id", "exported_video_id"))] = None
    stream_url: Text = None
    player_url: Text = None


class ClientToken(Model):
    """What a desktop client captures with: hidden, and good until `expires_at`, in unix seconds."""

    _stores_hidden = True
    token: Hidden = None
    expires_at: Seconds = None
    expires_in: Count = None
