"""Live streams."""

from typing import Annotated

from pydantic import AliasChoices, BeforeValidator, Field

from prefect_videodb.client.models.reading import (
    Count,
    Flag,
    Hidden,
    Id,
    Model,
    Number,
    Object,
    Seconds,
    Strings,
    Text,
    readable,
)


class RTStream(Model):
    """A live stream that the service ingests, or has ingested.

    `status` seen: `connected`, `stopped`, `error`; others may come, and it can be stale. `channel_id` is there in
    a capture session: `mic`, `screen` or `system_audio`.
    """

    id: Annotated[Id, Field(validation_alias=AliasChoices("id", "rtstream_id"))]
    name: Text = None
    status: Text = None
    collection_id: Text = None
    media_types: Strings = []
    sample_rate: Count = None
    store: Flag = None
    created_at: Text = None
    channel_id: Text = None
    url: Hidden = None


class RTStreamPage(Model):
    """One page of streams; the whole account's, whatever the collection."""

    results: Annotated[list[RTStream], BeforeValidator(readable(RTStream))] = []
    count: Count = None


class Playback(Model):
    """Where a window of a stream plays: `stream_url` is HLS, `player_url` a page."""

    stream_url: Text = None
    player_url: Text = None


class Export(Model):
    """The permanent video (or, of an audio-only stream, audio) made of a recording.

    A repeated call may lack `duration` (seconds); audio has no `player_url`.
    """

    video_id: Id
    name: Text = None
    stream_url: Text = None
    player_url: Text = None
    duration: Seconds = None


class RTStreamShot(Model):
    """A hit of a search in live streams: unix seconds, score 0 to 1."""

    rtstream_id: Annotated[Text, Field(validation_alias=AliasChoices("rtstream_id", "id"))] = None
    rtstream_name: Text = None
    start: Seconds = None
    end: Seconds = None
    text: Text = None
    score: Annotated[Number, Field(validation_alias=AliasChoices("score", "search_score"))] = None
    scene_index_id: Text = None
    scene_index_name: Text = None
    metadata: Object = {}


class RTStreamSearchResult(Model):
    """What a search in live streams found; empty when nothing was found."""

    shots: Annotated[
        list[RTStreamShot],
        BeforeValidator(readable(RTStreamShot)),
        Field(validation_alias=AliasChoices("results", "shots")),
    ] = []
