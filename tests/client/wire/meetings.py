"""Meetings that a bot records."""

from prefect_videodb.client import meetings
from tests.client.wire.case import COLLECTION, VIDEO, Case, rest

_RECORD = COLLECTION + "record_meeting(" + rest("collection_id") + ")"
_GET = COLLECTION + "get_meeting(args['meeting_id'])"
_ANSWER = {"meeting_id": "mt-1"}  # the SDK's Meeting stumbles over an `id` beside it

CASES = [
    Case(meetings.record, _RECORD, {"meeting_url": "https://meet.example/abc-defg?pwd=s3cret"}, answer=_ANSWER),
    Case(
        meetings.record,
        _RECORD,
        {
            "meeting_url": "https://meet.example/abc-defg",
            "collection_id": "c-1",
            "bot_name": "Protokoll",
            "bot_image_url": "https://pictures.example/bot.png",
            "meeting_title": "Board, 28 May",
            "callback_url": "http://127.0.0.1/hook?token=t",
            "callback_data": {"run": "r-1"},
            "time_zone": "Europe/Vienna",
        },
        answer=_ANSWER,
    ),
    Case(meetings.get, _GET, {"meeting_id": "mt-1"}, answer=_ANSWER),
    Case(meetings.get, _GET, {"meeting_id": "mt-1", "collection_id": "c-1"}, answer=_ANSWER),
    Case(meetings.of_video, VIDEO + "get_meeting()", {"video_id": "m-z-1"}, answer=_ANSWER),
]
