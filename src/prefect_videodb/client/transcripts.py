"""Transcripts of live streams: start, stop, read, follow."""

from prefect_videodb.client.call import Call, path, present
from prefect_videodb.client.models import RTStreamTranscript, TranscriptRecord, TranscriptStatus
from prefect_videodb.client.paging import NumberedPages
from prefect_videodb.errors import ConfigurationError

_PAGE = 100
LARGEST_PAGE = 1000
# By which of its times the service compares a record with `since` is not known, and a record may come later than one
# that was said after it: so much is asked for again each time.
_OVERLAP_S = 60.0


def start(
    rtstream_id: str, *, engine: str | None = None, ws_connection_id: str | None = None
) -> Call[TranscriptStatus]:
    """Transcribe a stream from now on.   POST /rtstream/{id}/transcription.

    Args:
        rtstream_id: the stream; connected with audio.
        engine: which transcriber; the service has a default, under changing names.
        ws_connection_id: where what is said is sent as it comes.
    """
    body = {"action": "start"} | present(engine=engine, ws_connection_id=ws_connection_id)
    where = path("rtstream", rtstream_id, "transcription")
    return Call("POST", where, TranscriptStatus.model_validate, json=body, repeatable=True)


def stop(rtstream_id: str, *, engine: str | None = None) -> Call[TranscriptStatus]:
    """Transcribe no more.   POST /rtstream/{id}/transcription."""
    body = {"action": "stop"} | present(engine=engine)
    where = path("rtstream", rtstream_id, "transcription")
    return Call("POST", where, TranscriptStatus.model_validate, json=body, repeatable=True)


def status(rtstream_id: str, *, engine: str | None = None) -> Call[TranscriptStatus]:
    """Tell whether a stream is transcribed.   GET /rtstream/{id}/transcription/status."""
    where = path("rtstream", rtstream_id, "transcription", "status")
    return Call("GET", where, TranscriptStatus.model_validate, params=present(engine=engine), repeatable=True)


def page(
    rtstream_id: str,
    *,
    page: int = 1,
    page_size: int = _PAGE,
    start: float | None = None,
    end: float | None = None,
    since: float | None = None,
    engine: str | None = None,
) -> Call[RTStreamTranscript]:
    """Read one page of what was said.   GET /rtstream/{id}/transcription.

    Args:
        rtstream_id: the stream.
        page: which page, counted from 1.
        page_size: how many records a page has, 1000 at most.
        start: from here, in unix seconds.
        end: to here, in unix seconds.
        since: only what is newer than this, in unix seconds.
        engine: of which transcriber.

    Raises:
        ConfigurationError: the page or the range cannot be.
    """
    if page < 1 or not 1 <= page_size <= LARGEST_PAGE:
        raise ConfigurationError(f"pages count from 1 and hold 1 to {LARGEST_PAGE} records, not {page} of {page_size}")
    if start is not None and end is not None and end < start:
        raise ConfigurationError(f"the range ends ({end}) before it has begun ({start}), in unix seconds")
    params = present(engine=engine, page=page, page_size=page_size, start=start, end=end, since=since)
    where = path("rtstream", rtstream_id, "transcription")
    return Call("GET", where, RTStreamTranscript.model_validate, params=params, repeatable=True)


def every_page(
    rtstream_id: str,
    *,
    start: float | None = None,
    end: float | None = None,
    since: float | None = None,
    engine: str | None = None,
) -> NumberedPages[RTStreamTranscript]:
    """Read all pages of what was said: `client.follow(pages.first, pages.following)`."""
    return NumberedPages(
        lambda number: page(
            rtstream_id, page=number, page_size=LARGEST_PAGE, start=start, end=end, since=since, engine=engine
        ),
        lambda page: page.records,
    )


class FollowUp:
    """Follow what is said: each look reads what may be new, and tells what is.

    `pages()` is one look, for `client.follow`; `new(page)` takes each of its pages.

    Args:
        rtstream_id: the stream.
        since: only what was said after this, in unix seconds; all that there is when None.
        engine: of which transcriber.
    """

    def __init__(self, rtstream_id: str, *, since: float | None = None, engine: str | None = None) -> None:
        self._rtstream_id = rtstream_id
        self._engine = engine
        self._start = since
        self._latest = since
        self._told: dict[tuple[float | None, float | None, str | None], None] = {}

    def pages(self) -> NumberedPages[RTStreamTranscript]:
        """Make one look: all that came after the latest that was told, and some before it."""
        since = None if self._latest is None else self._latest - _OVERLAP_S
        if since is not None and self._start is not None:
            since = max(since, self._start)
        self._forget_before(since)
        return every_page(self._rtstream_id, since=since, engine=self._engine)

    def new(self, page: RTStreamTranscript) -> list[TranscriptRecord]:
        """Give what was not told before, in the order in which it was said."""
        fresh = []
        for record in page.records:
            key = (record.start, record.end, record.text)
            if key in self._told:
                continue
            self._told[key] = None
            fresh.append(record)
            ended = record.end if record.end is not None else record.start
            if ended is not None:
                self._latest = ended if self._latest is None else max(self._latest, ended)
        return sorted(fresh, key=lambda record: (record.start is None, record.start or 0.0))

    def _forget_before(self, since: float | None) -> None:
        """Keep only what may come again: twice the overlap, as it is not known which time the service compares."""
        if since is None:
            return
        self._told = {
            key: None
            for key in self._told
            if key[1] is None or key[1] >= since - _OVERLAP_S or (key[0] or 0.0) >= since - _OVERLAP_S
        }
