"""Meetings that a bot records."""

from collections.abc import Iterator, Mapping
from typing import Any

from prefect_videodb.client.call import Call, path
from prefect_videodb.client.models import Meeting
from prefect_videodb.client.models.reading import knowing
from prefect_videodb.redact import MIN_SECRET, url_secrets, webhook_secrets


def record(
    meeting_url: str,
    *,
    collection_id: str = "default",
    bot_name: str | None = None,
    bot_image_url: str | None = None,
    meeting_title: str | None = None,
    callback_url: str | None = None,
    callback_data: Mapping[str, Any] | None = None,
    time_zone: str = "UTC",
) -> Call[Meeting]:
    """Send a bot into a meeting, to record it into a collection.   POST /collection/{id}/meeting/record.

    Not repeatable: sent twice, there are two bots, and none can be called back.

    Args:
        meeting_url: the meeting; a password in it is never shown.
        collection_id: the collection.
        bot_name: what the bot is called in the meeting.
        bot_image_url: what it looks like.
        meeting_title: what the recording is called.
        callback_url: where to tell when it is done; never shown.
        callback_data: what to tell there beside, as the callback names no meeting; never shown.
        time_zone: the meeting's time zone.
    """
    body = {
        "meeting_url": meeting_url,
        "bot_name": bot_name,
        "bot_image_url": bot_image_url,
        "meeting_title": meeting_title,
        "callback_url": callback_url,
        "callback_data": dict(callback_data or {}),
        "time_zone": time_zone,
    }
    secrets = [*webhook_secrets(meeting_url), *_texts(callback_data)]
    secrets += webhook_secrets(callback_url) if callback_url else ()
    secrets += url_secrets(bot_image_url) if bot_image_url else ()
    return Call(
        "POST",
        path("collection", collection_id, "meeting", "record"),
        knowing(Meeting, collection_id=collection_id),
        json=body,
        secrets=tuple(secrets),
    )


def _texts(value: Any) -> Iterator[str]:
    """Give all texts in a value that are long enough to be a secret."""
    if isinstance(value, str):
        if len(value) >= MIN_SECRET:
            yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def get(meeting_id: str, *, collection_id: str = "default") -> Call[Meeting]:
    """Tell how far the recording of a meeting is.   GET /collection/{id}/meeting/{meeting_id}."""
    reader = knowing(Meeting, meeting_id=meeting_id, collection_id=collection_id)
    return Call("GET", path("collection", collection_id, "meeting", meeting_id), reader, repeatable=True)


def of_video(video_id: str) -> Call[Meeting | None]:
    """Read the meeting that a video is of; None when it is of none.   GET /video/{id}/meeting."""
    return Call("GET", path("video", video_id, "meeting"), _meeting_or_none, repeatable=True)


def _meeting_or_none(data: Any) -> Meeting | None:
    return Meeting.model_validate(data) if data else None
