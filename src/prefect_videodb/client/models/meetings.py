"""Meetings that a bot records."""

from typing import Annotated, Any

from pydantic import AliasChoices, Field

from prefect_videodb.client.models.reading import Hidden, Id, Model, Text


class Meeting(Model):
    """A meeting that a bot records; its address may hold a password, so it is hidden.

    `status` seen: `initializing`, `joined`, `processing`, `recording`, `done`, `completed`, `failed`.
    """

    id: Annotated[Id, Field(validation_alias=AliasChoices("meeting_id", "bot_id", "id"))]
    collection_id: Text = None
    status: Text = None
    bot_name: Text = None
    meeting_title: Text = None
    meeting_url: Hidden = None
    callback_url: Hidden = None
    callback_data: Annotated[Any, Field(repr=False, exclude=True)] = None
    time_zone: Text = None
    video_id: Text = None
    speaker_timeline: Any = None
