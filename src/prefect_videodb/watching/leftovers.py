"""Live indexes that a watch left running on a stream that is not its own: they are billed until somebody stops them."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound

from prefect_videodb.client import Client, indexes
from prefect_videodb.client.models import RTStream
from prefect_videodb.errors import NotFound
from prefect_videodb.recording.orphans import Verdict, judge
from prefect_videodb.recording.ownership import is_elsewhere, owner
from prefect_videodb.tasks.indexes import STOPPED as INDEX_STOPPED
from prefect_videodb.tasks.streams import STOPPED


@dataclass(frozen=True, slots=True)
class Leftover:
    """A stream on which a run that is gone has live indexes, and what is to be done about them."""

    rtstream_id: str
    run_id: UUID
    run: FlowRun | None
    verdict: Verdict
    reason: str


def leftovers(
    client: Client,
    streams: Iterable[RTStream],
    prefect: SyncPrefectClient,
    grace: timedelta,
    server: str | None,
    *,
    abandoned: Collection[UUID] = (),
) -> Iterator[Leftover]:
    """Look at the live indexes of every stream that runs; those of watches that are alive are not given.

    A stream that a watch made itself is judged, and stopped, as a whole. What watches of another Prefect server made is
    not given, either.

    Raises:
        VideoDBError: the service cannot be asked.
        httpx.HTTPError, PrefectException: Prefect cannot be asked: then nobody knows whose they are.
    """
    for stream in streams:
        if stream.status == STOPPED:
            continue
        try:
            listed = client.send(indexes.list_all(stream.id)).indexes
        except NotFound:
            continue
        running = [index.name for index in listed if index.status != INDEX_STOPPED]
        marks = (owner(name) for name in running if not is_elsewhere(name, server))
        for run_id in dict.fromkeys(mark for mark in marks if mark and mark != owner(stream.name)):
            try:
                run = prefect.read_flow_run(run_id)
            except ObjectNotFound:
                run = None
            verdict, reason = judge(run, None, datetime.now(UTC), grace, is_abandoned=run_id in abandoned)
            if verdict is not Verdict.RECORDING:
                yield Leftover(stream.id, run_id, run, verdict, reason)
