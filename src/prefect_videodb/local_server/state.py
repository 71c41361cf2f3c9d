"""Everything one server knows and does, without HTTP. Survives SIGKILL: what was running goes on at the next start."""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from prefect_videodb.local_server.captures import Captures
from prefect_videodb.local_server.clips import Clips
from prefect_videodb.local_server.deliveries import Deliveries
from prefect_videodb.local_server.faults import Faults
from prefect_videodb.local_server.jobs import Jobs
from prefect_videodb.local_server.library import Library
from prefect_videodb.local_server.live.alerts import Alerts
from prefect_videodb.local_server.live.analyses import Analyses
from prefect_videodb.local_server.live.analyst import Analyst
from prefect_videodb.local_server.live.hub import Hub
from prefect_videodb.local_server.live.records import Records
from prefect_videodb.local_server.live.transcription import Transcriptions
from prefect_videodb.local_server.meetings import Meetings
from prefect_videodb.local_server.pages import Pages
from prefect_videodb.local_server.scenes import Scenes
from prefect_videodb.local_server.speech import PocketsphinxEngine, SpeechEngine
from prefect_videodb.local_server.store import Store
from prefect_videodb.local_server.streams import Streams
from prefect_videodb.local_server.transcripts import Transcripts
from prefect_videodb.local_server.videos import Videos


class State:
    """The parts of one server on one data folder, working from `__enter__` to `__exit__`.

    `sample_url` is where the sample meeting is to be had, for what is recorded of nobody's screen and of no meeting.

    Raises:
        FolderInUse: when another server works in the folder.
        ServerError: when the folder cannot be used.
    """

    def __init__(self, folder: Path, *, speech: SpeechEngine | None = None, sample_url: str | None = None) -> None:
        self.store = Store(folder)
        self.sample_url = sample_url
        # In the folder, so that links given out before a restart work after it.
        secret = self.store.setting("secret", os.urandom(32))
        self.library = Library(self.store)
        self.deliveries = Deliveries(self.store)
        self.faults = Faults()
        self.jobs = Jobs(self.store, self.deliveries, self.faults)
        self.streams = Streams(self.store)
        self.pages = Pages(self.store, secret)
        self.videos = Videos(self.store, jobs=self.jobs, streams=self.streams, pages=self.pages, secret=secret)
        engine = speech or PocketsphinxEngine()
        self.transcripts = Transcripts(self.store, self.jobs, self.videos, engine)
        self.clips = Clips(
            self.store, jobs=self.jobs, streams=self.streams, videos=self.videos, pages=self.pages, secret=secret
        )
        self.hub = Hub(secret)
        self.alerts = Alerts(self.store, deliveries=self.deliveries, pages=self.pages, hub=self.hub)
        self.records = Records(self.store, self.alerts)
        self.analyses = Analyses(self.store, self.streams, self.records)
        self.transcriptions = Transcriptions(self.store, self.streams, self.hub, engine.name)
        self._analyst = Analyst(
            self.store,
            streams=self.streams,
            analyses=self.analyses,
            transcriptions=self.transcriptions,
            records=self.records,
            hub=self.hub,
            engine=engine,
        )
        self.scenes = Scenes(self.store, jobs=self.jobs, videos=self.videos, secret=secret)
        self.captures = Captures(
            self.store,
            streams=self.streams,
            videos=self.videos,
            jobs=self.jobs,
            deliveries=self.deliveries,
            hub=self.hub,
            secret=secret,
            sample_url=sample_url,
        )
        self.meetings = Meetings(
            self.store,
            streams=self.streams,
            videos=self.videos,
            jobs=self.jobs,
            deliveries=self.deliveries,
            sample_url=sample_url,
        )
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self.store.close)
            stack.callback(self.deliveries.close)
            stack.callback(self.jobs.close)
            stack.callback(self._analyst.close)
            # First: what else is closed may hang, and a segment that is not closed is lost.
            stack.callback(self.streams.close)
            self.videos.resume()
            self.clips.resume()
            self.streams.resume()
            self.jobs.resume()
            self.deliveries.resume()
            self._analyst.resume()
            self._closing = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def usage(self) -> dict[str, Any]:
        """Return what was used, which costs nothing here."""
        recorded = self.store.all("SELECT coalesce(sum(duration_s), 0) / 60 AS minutes FROM segments")[0]["minutes"]
        return {
            "credit_balance": 0.0,
            "usage_this_month": 0.0,
            "breakdown": {"rtstream_minutes_stored": round(recorded, 2)},
        }
