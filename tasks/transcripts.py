"""Transcripts of live streams: start, stop, read, follow."""

import time

from prefect import task

from prefect_videodb.blocks import VideoDBCredentials
from prefect_videodb.client import streams, transcripts
from prefect_videodb.client.models import RTStreamTranscript, TranscriptRecord, TranscriptStatus
from prefect_videodb.errors import ConfigurationError
from prefect_videodb.tasks._options import OPERATION, RunName
from prefect_videodb.tasks.streams import CONNECTED


@task(task_run_name=RunName("start-transcript-{rtstream_id}"), **OPERATION)
def start_rtstream_transcript(
    credentials: VideoDBCredentials,
    rtstream_id: str,
    ws_connection_id: str | None = None,
    engine: str | None = None,
) -> TranscriptStatus:
    """Transcribe a stream from now on.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`; connected with audio.
        ws_connection_id: where what is said is sent as it comes.
        engine: which transcriber; best left to the service.

    Source: POST /rtstream/{id}/transcription
    """
    return credentials.get_client().send(
        transcripts.start(rtstream_id, engine=engine, ws_connection_id=ws_connection_id)
    )


@task(task_run_name=RunName("stop-transcript-{rtstream_id}"), **OPERATION)
def stop_rtstream_transcript(
    credentials: VideoDBCredentials, rtstream_id: str, engine: str | None = None
) -> TranscriptStatus:
    """Transcribe no more.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`.
        engine: which transcriber; as at the start.

    Source: POST /rtstream/{id}/transcription
    """
    return credentials.get_client().send(transcripts.stop(rtstream_id, engine=engine))


@task(task_run_name=RunName("get-transcript-status-{rtstream_id}"), **OPERATION)
def get_rtstream_transcript_status(
    credentials: VideoDBCredentials, rtstream_id: str, engine: str | None = None
) -> TranscriptStatus:
    """Tell whether a stream is transcribed.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`.
        engine: which transcriber; as at the start.

    Source: GET /rtstream/{id}/transcription/status
    """
    return credentials.get_client().send(transcripts.status(rtstream_id, engine=engine))


@task(task_run_name=RunName("get-transcript-{rtstream_id}"), **OPERATION)
def get_rtstream_transcript(
    credentials: VideoDBCredentials,
    rtstream_id: str,
    page: int = 1,
    page_size: int = 100,
    start: float | None = None,
    end: float | None = None,
    since: float | None = None,
    engine: str | None = None,
) -> RTStreamTranscript:
    """Read one page of what was said in a stream.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`; transcribed.
        page: which page, counted from 1.
        page_size: how many records a page has, 1000 at most.
        start: from here, in unix seconds.
        end: to here, in unix seconds.
        since: only what is newer than this, in unix seconds.
        engine: of which transcriber.

    Source: GET /rtstream/{id}/transcription
    """
    call = transcripts.page(
        rtstream_id, page=page, page_size=page_size, start=start, end=end, since=since, engine=engine
    )
    return credentials.get_client().send(call)


@task(task_run_name=RunName("follow-transcript-{rtstream_id}"), **OPERATION)
def follow_rtstream_transcript(
    credentials: VideoDBCredentials,
    rtstream_id: str,
    since: float | None = None,
    engine: str | None = None,
    duration_s: float = 3600.0,
    interval_s: float = 5.0,
) -> list[TranscriptRecord]:
    """Collect what is said in a stream, each record once, until the stream is no longer connected or the time is over.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`; transcribed.
        since: only what is said after this, in unix seconds; all from its beginning when None.
        engine: of which transcriber.
        duration_s: how long to follow it, in seconds; 0 collects what is there now.
        interval_s: the pause between two looks, in seconds.

    Source: GET /rtstream/{id}/transcription, GET /rtstream/{id}
    """
    if duration_s < 0 or interval_s <= 0:
        raise ConfigurationError("duration_s and interval_s are seconds: 0 or more, and more than 0")
    deadline = time.monotonic() + duration_s
    following = transcripts.FollowUp(rtstream_id, since=since, engine=engine)
    said: list[TranscriptRecord] = []
    client = credentials.get_client()
    while True:
        # Asked before the look: what is said until the stream ends is in the last one.
        over = time.monotonic() >= deadline or client.send(streams.get(rtstream_id)).status != CONNECTED
        pages = following.pages()
        for page in client.follow(pages.first, pages.following):
            said += following.new(page)
        if over:
            return sorted(said, key=lambda record: (record.start is None, record.start or 0.0))
        time.sleep(min(interval_s, max(0.0, deadline - time.monotonic())))
