"""What is said: in videos, and in live streams."""

from typing import Annotated

from pydantic import AliasChoices, BeforeValidator, Field

from prefect_videodb.client.models.reading import Count, Model, More, Seconds, Text, readable


class TranscriptSegment(Model):
    """A word, a sentence or a span; seconds from the start of the video, or unix seconds of a live stream."""

    start: Seconds = None
    end: Seconds = None
    text: Text = None


class Transcript(Model):
    """What is said in a video, in segments and as one text."""

    segments: Annotated[
        list[TranscriptSegment],
        BeforeValidator(readable(TranscriptSegment)),
        Field(validation_alias=AliasChoices("word_timestamps", "transcript", "segments")),
    ] = []
    text: Text = None


class TranscriptRecord(Model):
    """What was said in a live stream in one go; unix seconds."""

    start: Seconds = None
    end: Seconds = None
    text: Text = None
    words: Annotated[
        list[TranscriptSegment],
        BeforeValidator(readable(TranscriptSegment)),
        Field(validation_alias=AliasChoices("word_timestamps", "words")),
    ] = []


class RTStreamTranscript(Model):
    """One page of the transcript of a live stream."""

    records: Annotated[
        list[TranscriptRecord],
        BeforeValidator(readable(TranscriptRecord)),
        Field(validation_alias=AliasChoices("transcription_records", "records")),
    ] = []
    next_page: More = False
    total_count: Count = None
    page: Count = None
    page_size: Count = None


class TranscriptStatus(Model):
    """Whether a live stream is transcribed: `running`, `stopped` or `not_configured`."""

    status: Text = None
    engine: Text = None
    language: Text = None
    created_at: Text = None
    updated_at: Text = None
