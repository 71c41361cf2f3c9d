"""A recording's stream: make sure that it ingests, look at it meanwhile, take what it leaves behind."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from prefect_videodb._logging import get_logger
from prefect_videodb.blocks import VideoDBCredentials
from prefect_videodb.client import Client, streams
from prefect_videodb.client.models import Export, RTStream
from prefect_videodb.errors import InvalidRequest, NotFound, SourceError, VideoDBError
from prefect_videodb.recording.liveness import (
    FIRST_SIGN,
    PROBED,
    Ingest,
    Liveness,
    check_ingest,
    look_at_source,
    tell_change,
    why,
)
from prefect_videodb.recording.memory import Memory
from prefect_videodb.recording.models import Links, Window
from prefect_videodb.tasks import export_rtstream, generate_rtstream_stream, start_rtstream
from prefect_videodb.tasks.streams import CONNECTED, ERROR, STOPPED

_LOOK_S = 1.0
_SIGN_LOOK_S = 2.0
# How often a source is tried that the service gave up.
_START_AGAIN_S = 5.0
# How often it is found out whether the source delivers, beside the looks at the stream's status.
_PROBE_EVERY_S = 60.0


def make_sure_it_ingests(credentials: VideoDBCredentials, rtstream_id: str, left_s: Callable[[], float]) -> None:
    """Start the stream if it is stopped, and wait until the service says that it is connected.

    A source that the service gave up, because it is not up yet, is started again until the time is over.

    Args:
        credentials: the account.
        rtstream_id: the stream.
        left_s: asked at each look; gives for how long to wait still, in seconds.

    Raises:
        SourceError: the service gave the source up, or it is still not connected when the time is over.
    """
    stream = start_rtstream(credentials, rtstream_id)
    began = time.monotonic()
    next_start = began + _START_AGAIN_S
    with credentials.get_client() as client:
        while stream.status != CONNECTED:
            now = time.monotonic()
            left = left_s()
            if left <= 0:
                if stream.status == ERROR:
                    raise SourceError(f"VideoDB cannot ingest the source{_why(stream)}")
                raise SourceError(f"the stream is still {stream.status!r} after {now - began:.0f} s{_why(stream)}")
            time.sleep(min(_LOOK_S, left))
            try:
                # At the end it may have been stopped: started again, it would begin another recording.
                if stream.status in {ERROR, STOPPED} and now >= next_start and left > _LOOK_S:
                    next_start = now + _START_AGAIN_S
                    get_logger().info("The source is not there yet, trying again%s", _why(stream))
                    client.send(streams.start(rtstream_id))
                stream = client.send(streams.get(rtstream_id))
            except VideoDBError as error:
                if not error.retry_is_safe and not isinstance(error, InvalidRequest):
                    raise
                get_logger().warning("The stream could not be looked at, looking again: %s", error)


def wait_for_room(credentials: VideoDBCredentials, most_streams: int, timeout_s: float) -> None:
    """Wait until fewer streams of the account are connected.

    Raises:
        VideoDBError: there is no room after `timeout_s` seconds.
    """
    deadline = time.monotonic() + timeout_s
    with credentials.get_client() as client:
        while (connected := client.send(streams.list_page(limit=1, status=CONNECTED)).count or 0) >= most_streams:
            if time.monotonic() >= deadline:
                raise VideoDBError(
                    f"{connected} streams are connected, and at most {most_streams} may be: stop one, or raise "
                    "`most_streams`"
                )
            get_logger().info("%d streams are connected, waiting for one to end", connected)
            time.sleep(_START_AGAIN_S)


def is_audio(video_id: str) -> bool:
    """Whether what was exported is sound alone, which the service knows as no video.

    Source: recorded ids; videos are `m-…`, sound is `a-…`.
    """
    return video_id.startswith("a-")


class SourceMonitor:
    """Find out whether the source of the recording of this context delivers, and tell it once.

    Args:
        memory: of the run.
        title: what the recording is called.
        on_change: called when something was told.
    """

    def __init__(self, memory: Memory, title: str, on_change: Callable[[], None] = lambda: None) -> None:
        self._memory = memory
        self._title = title
        self._on_change = on_change

    def note(self, found: Ingest) -> None:
        """Report what a probe found, where it is news, and remember that it was reported."""
        if found.liveness is Liveness.UNKNOWN:
            get_logger().info("It is not known whether the source of %s delivers: %s", self._title, found.reason)
        if news := tell_change(self._memory.run.id, self._title, self._memory.known, found):
            self._memory.remember(**news)
            self._on_change()

    def wait_for_first_sign(self, credentials: VideoDBCredentials, rtstream_id: str, window: Window) -> Ingest:
        """Wait until the source delivers, has had time to, or the stream records no more; tell what it does.

        Args:
            credentials: the account.
            rtstream_id: the stream.
            window: the planned window. Where it began long ago, the source is looked at once.

        Returns:
            What was found at last.
        """
        until = min(window.start + FIRST_SIGN, window.end - PROBED)
        with credentials.get_client() as client:
            while True:
                found = look_at_source(client, rtstream_id)
                if found.liveness is Liveness.ALIVE or found.at >= until or found.status in {STOPPED, ERROR}:
                    break
                time.sleep(_SIGN_LOOK_S)
        self.note(found)
        return found


class Watch:
    """Look now and then at a stream that should be recording.

    Args:
        credentials: the account.
        rtstream_id: the stream.
        source: who tells whether its source delivers.
        began: when it began to record.
    """

    def __init__(
        self, credentials: VideoDBCredentials, rtstream_id: str, source: SourceMonitor, began: datetime
    ) -> None:
        self._credentials = credentials
        self._id = rtstream_id
        self._source = source
        self._next_probe = began + FIRST_SIGN
        self._said = ""
        self.lost_as: str | None = None

    def is_lost(self) -> bool:
        """Tell whether somebody stopped it or the service gave it up, and log what else the service says of it, once.

        A look that fails is logged, and counts as a stream that runs: the next one is soon.
        """
        try:
            with self._credentials.get_client() as client:
                stream = client.send(streams.get(self._id))
                now = datetime.now(UTC)
                if stream.status not in {STOPPED, ERROR} and now >= self._next_probe:
                    self._next_probe = now + timedelta(seconds=_PROBE_EVERY_S)
                    self._source.note(check_ingest(client, stream))
        except VideoDBError as error:
            get_logger().warning("The stream could not be looked at: %s", error)
            return False
        said = f"{stream.status}{_why(stream)}"
        if said != self._said:
            self._said = said
            get_logger().info("The stream is %s", said)
        self.lost_as = stream.status if stream.status in {STOPPED, ERROR} else None
        return self.lost_as is not None


def playback_links(credentials: VideoDBCredentials, rtstream_id: str, window: Window, title: str) -> Links:
    """Get the links that play the recorded window; none where the service has nothing of it, which is logged."""
    start, end = window.unix
    try:
        playback = generate_rtstream_stream(credentials, rtstream_id, start, end, player_title=title)
    except (InvalidRequest, NotFound) as refusal:
        get_logger().warning("There is no playback link: %s", refusal)
        return Links()
    return Links(stream_url=playback.stream_url, player_url=playback.player_url)


def live_links(client: Client, rtstream_id: str, window: Window, title: str) -> Links:
    """Get the links that play a recording while it goes on; none where the service has none, which is logged."""
    start, end = window.unix
    try:
        playback = client.send(streams.playback(rtstream_id, start, end, player_title=title))
    except VideoDBError as error:
        get_logger().info("There is no live picture of %s: %s", title, error)
        return Links()
    return Links(stream_url=playback.stream_url, player_url=playback.player_url)


def export_recording(credentials: VideoDBCredentials, rtstream_id: str, title: str, timeout_s: float) -> Export:
    """Make the permanent video.

    Raises:
        SourceError: there is nothing to export.
    """
    try:
        return export_rtstream(credentials, rtstream_id, name=title, timeout_s=timeout_s)
    except InvalidRequest as refusal:
        raise SourceError(
            f"nothing was recorded: {refusal}. Is the URL in the RTStreamSource block right, was the source on, and "
            "does the block say `store`?"
        ) from refusal


def _why(stream: RTStream) -> str:
    message = why(stream)
    return f": {message}" if message else ""
