"""Meetings that a bot records."""

from collections.abc import Mapping
from typing import Any

from prefect import task
from pydantic import SecretStr

from prefect_videodb.blocks import VideoDBCredentials
from prefect_videodb.client import meetings
from prefect_videodb.client.models import Meeting
from prefect_videodb.errors import JobFailed
from prefect_videodb.tasks._options import OPERATION, RunName
from prefect_videodb.tasks._secrets import plain
from prefect_videodb.tasks._waiting import wait_until

_DONE = frozenset({"done", "completed"})
_FAILED = "failed"


@task(task_run_name="send-meeting-bot", **OPERATION)
def record_meeting_with_bot(
    credentials: VideoDBCredentials,
    meeting_url: SecretStr | str,
    collection_id: str = "default",
    bot_name: str | None = None,
    bot_image_url: str | None = None,
    meeting_title: str | None = None,
    callback_url: SecretStr | str | None = None,
    callback_data: Mapping[str, Any] | None = None,
    time_zone: str = "UTC",
) -> Meeting:
    """Send a bot into a meeting, to record it into a collection: the SDK's `record_meeting`.

    Not repeated after its answer was lost: that could send two, and neither can be listed or called back.

    Args:
        credentials: the account.
        meeting_url: the meeting; never logged, as it may hold a password.
        collection_id: the collection.
        bot_name: what the bot is called in the meeting.
        bot_image_url: what it looks like.
        meeting_title: what the recording is called.
        callback_url: where to tell when it is done; never logged.
        callback_data: what to tell there beside, as the callback names no meeting; never logged.
        time_zone: the meeting's time zone.

    Raises:
        AnswerLost: a bot may be on its way: look into the meeting.

    Source: POST /collection/{id}/meeting/record
    """
    call = meetings.record(
        plain(meeting_url),
        collection_id=collection_id,
        bot_name=bot_name,
        bot_image_url=bot_image_url,
        meeting_title=meeting_title,
        callback_url=plain(callback_url),
        callback_data=callback_data,
        time_zone=time_zone,
    )
    return credentials.get_client().send(call)


@task(task_run_name=RunName("get-meeting-{meeting_id}"), **OPERATION)
def get_meeting(credentials: VideoDBCredentials, meeting_id: str, collection_id: str = "default") -> Meeting:
    """Tell how far the recording of a meeting is.

    Args:
        credentials: the account.
        meeting_id: the meeting.
        collection_id: the collection that it is recorded into.

    Raises:
        NotFound: there is no such meeting.

    Source: GET /collection/{id}/meeting/{meeting_id}
    """
    return credentials.get_client().send(meetings.get(meeting_id, collection_id=collection_id))


@task(task_run_name=RunName("get-meeting-of-{video_id}"), **OPERATION)
def get_video_meeting(credentials: VideoDBCredentials, video_id: str) -> Meeting | None:
    """Read the meeting that a video is of; None when it is of none.

    Args:
        credentials: the account.
        video_id: the video, `m-…`.

    Source: GET /video/{id}/meeting
    """
    return credentials.get_client().send(meetings.of_video(video_id))


@task(task_run_name=RunName("wait-for-meeting-{meeting_id}"), **OPERATION)
def wait_for_meeting(
    credentials: VideoDBCredentials,
    meeting_id: str,
    collection_id: str = "default",
    timeout_s: float = 14400.0,
    interval_s: float = 30.0,
) -> Meeting:
    """Wait until a meeting is recorded.

    Args:
        credentials: the account.
        meeting_id: the meeting.
        collection_id: the collection that it is recorded into.
        timeout_s: how long to wait, in seconds.
        interval_s: the pause between two looks, in seconds.

    Returns:
        The meeting, with its video.

    Raises:
        JobFailed: the bot was not let in, or its recording failed.
        JobUnfinished: it outlived `timeout_s`; it goes on.

    Source: GET /collection/{id}/meeting/{meeting_id}
    """
    call = meetings.get(meeting_id, collection_id=collection_id)
    client = credentials.get_client()
    meeting = wait_until(
        lambda: client.send(call),
        lambda seen: (seen.status or "").lower() in {*_DONE, _FAILED},
        timeout_s=timeout_s,
        interval_s=interval_s,
    )
    if (meeting.status or "").lower() == _FAILED:
        raise JobFailed(f"the recording of meeting {meeting_id} failed: was the bot let in?")
    return meeting
