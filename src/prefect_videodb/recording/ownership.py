"""Which stream belongs to which flow run: it is written into the stream's name.

The service knows no owner of a stream and does not keep names unique, so the name is the one place that tells, to every
worker and after every kill, that a stream was made by us, by which run, and by a run of which Prefect server. A name
that holds no server was given by an earlier version, or while Prefect could not be asked: it counts as ours.
"""

import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from prefect.exceptions import Pause, TerminationSignal

from prefect_videodb._logging import get_logger
from prefect_videodb.blocks import VideoDBCredentials
from prefect_videodb.client import Client
from prefect_videodb.client.models import RTStream
from prefect_videodb.errors import AuthenticationError, ConfigurationError, ServiceError, VideoDBError
from prefect_videodb.tasks.streams import STOPPED, find_streams, list_all_rtstreams, stop

_MARK = re.compile(
    r"\[prefect-videodb ([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})(?: at ([0-9a-f]{12}))?\]$"
)
_LONGEST_TITLE = 120
# A cancelled run has 30 s before it is killed: the stream is stopped well within.
_STOP_WITHIN_S = 20.0
_ANSWER_WITHIN_S = 5.0
# How long a `connect` whose answer we never saw may take to show its stream.
_SETTLE_S = 5.0


def mark(flow_run_id: str, server: str | None = None) -> str:
    """Give the end of the name of every stream of a flow run: whose it is, and of which Prefect server."""
    return f"[prefect-videodb {flow_run_id} at {server}]" if server else f"[prefect-videodb {flow_run_id}]"


def stream_name(title: str, flow_run_id: str, server: str | None = None) -> str:
    """Give the name of a flow run's stream: its title for people, and the mark."""
    return f"{title[:_LONGEST_TITLE]} {mark(flow_run_id, server)}"


def owner(name: str | None) -> UUID | None:
    """Tell which flow run made the stream of this name; None when it is not ours."""
    found = _MARK.search(name or "")
    return UUID(found[1]) if found else None


def title_in(name: str | None) -> str | None:
    """Tell what the recording is called whose stream has this name."""
    return _MARK.sub("", name or "").rstrip() or None


def server_in(name: str | None) -> str | None:
    """Tell to which Prefect server the run belongs that made the stream of this name; None where it does not say."""
    found = _MARK.search(name or "")
    return found[2] if found else None


def is_elsewhere(name: str | None, server: str | None) -> bool:
    """Say whether the stream of this name belongs to another Prefect server than this one, which may not be known."""
    return server_in(name) not in {None, server}


class Custody:
    """What is known of the stream of a run: whether there may be one, whether it was seen, whether it is stopped."""

    def __init__(self) -> None:
        self.may_run = False
        self.was_seen = False
        self.is_stopped = False


@contextmanager
def stopping(
    credentials: VideoDBCredentials, flow_run_id: str, goes_on: Callable[[], bool] = lambda: False
) -> Iterator[Custody]:
    """Stop every stream of this run when the body ends in any other way than by stopping it itself.

    That is: an error, a time-out, a cancellation, Ctrl-C. A run that parks has not ended; nor has one whose process is
    terminated (a worker that moves, a machine that shuts down) when it will be executed again.

    Args:
        credentials: the account.
        flow_run_id: the run.
        goes_on: asked when the process is terminated: whether the run will be executed again.
    """
    custody = Custody()
    try:
        yield custody
    except Pause:
        raise
    except BaseException as error:
        if isinstance(error, TerminationSignal) and goes_on():
            get_logger().warning("This process is terminated; the stream %s goes on", mark(flow_run_id))
            raise
        # With a key that is refused, or none, nothing was ever connected.
        is_refused = isinstance(error, AuthenticationError) or not credentials.has_key()
        is_shut_out = is_refused and not custody.was_seen
        if custody.may_run and not custody.is_stopped and not is_shut_out:
            # After a plain refusal there is none to wait for; after anything else a `connect` may be on its way.
            refused = isinstance(error, ServiceError | ConfigurationError)
            if custody.was_seen:
                get_logger().warning("Stopping the stream %s: %s", mark(flow_run_id), type(error).__name__)
            with undisturbed():
                stop_streams_of(credentials, flow_run_id, settle_s=0.0 if custody.was_seen or refused else _SETTLE_S)
        raise


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let no second Ctrl-C or SIGTERM cut the stop short. Signals reach the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_streams_of(credentials: VideoDBCredentials, flow_run_id: str, *, settle_s: float = 0.0) -> None:
    """Stop all streams that a flow run made, asking again while the service does not answer.

    Args:
        credentials: the account.
        flow_run_id: the run.
        settle_s: look for this long, in seconds, for a stream that may still be coming into being.
    """
    logger = get_logger()
    began = time.monotonic()
    # A service that is silent must not use up the time on one request.
    hasty = credentials.model_copy(update={"timeout_s": min(credentials.timeout_s, _ANSWER_WITHIN_S)})
    while True:
        trouble = None
        try:
            with hasty.get_client() as client:
                _stop_running(client, flow_run_id)
        except VideoDBError as error:
            trouble = error
        spent = time.monotonic() - began
        hopeless = isinstance(trouble, AuthenticationError | ConfigurationError)
        if trouble and (hopeless or spent >= _STOP_WITHIN_S):
            logger.error(
                "A stream of run %s may still be running, and billed: %s. Stop it in VideoDB's console, or let "
                "stop-orphaned-streams do so",
                *(flow_run_id, trouble),
            )
            return
        if not trouble and spent >= settle_s:
            return
        time.sleep(1.0)


def _stop_running(client: Client, flow_run_id: str) -> None:
    for stream in find_streams_of(client, flow_run_id):
        if stream.status != STOPPED:
            stop(client, stream.id)
            get_logger().info("Stopped stream %s", stream.id)


def streams_of(credentials: VideoDBCredentials, flow_run_id: str) -> list[RTStream]:
    """Give the streams that a flow run made, to the run itself.

    A task, which tries again and is seen in the UI, is made of it only where there is trouble: its run costs Prefect
    more than the start of the flow, and many may begin in this moment.
    """
    try:
        with credentials.get_client() as client:
            return find_streams_of(client, flow_run_id)
    except VideoDBError:
        return _made_by(flow_run_id, list_all_rtstreams(credentials, name=flow_run_id))


def find_streams_of(client: Client, flow_run_id: str) -> list[RTStream]:
    """Give the streams that a flow run made, to somebody who is not that run."""
    # Asked for by the id alone: how the service reads brackets in a name is not known.
    return _made_by(flow_run_id, find_streams(client, flow_run_id))


def _made_by(flow_run_id: str, found: list[RTStream]) -> list[RTStream]:
    return [stream for stream in found if owner(stream.name) == UUID(flow_run_id)]
