"""Work that takes longer than a request: kept in the database until it is done, and taken up again after a crash."""

import json
import logging
import sqlite3
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

from prefect_videodb.local_server.deliveries import Deliveries
from prefect_videodb.local_server.errors import ApiError, Interrupted, NotFound
from prefect_videodb.local_server.faults import Faults, JobFault
from prefect_videodb.local_server.ids import job_id
from prefect_videodb.local_server.links import absolute
from prefect_videodb.local_server.media.errors import DiskFull, MediaError
from prefect_videodb.local_server.store import Store

logger = logging.getLogger(__name__)

# A job that was running at so many deaths of the server is probably what killed it.
MAX_ATTEMPTS = 3
# How long the outcome of a job can be asked for.
KEPT_S = 7 * 24 * 3600.0

Status = Literal["processing", "done", "failed"]
Arguments = dict[str, Any]
Result = dict[str, Any]
Lane = Literal["media", "speech", "meetings"]


@dataclass(frozen=True, slots=True)
class Job:
    """What is known of a job."""

    id: str
    status: Status
    percentage: float
    result: Result | None
    error: ApiError | None

    def response(self, base_url: str) -> dict[str, Any]:
        """Return the envelope that a synchronous answer would have been."""
        if self.error:
            return {"success": False, "message": self.error.message}
        return {"success": True, "data": absolute(self.result, base_url)}


class JobRun:
    """One attempt at a job, as its handler sees it."""

    def __init__(self, store: Store, job_id: str, closing: threading.Event, failure: str | None = None) -> None:
        self._store = store
        self._job_id = job_id
        self._failure = failure
        self._percentage = 0
        self.closing = closing

    def progress(self, fraction: float) -> None:
        """Note how much is done, from 0 to 1.

        Raises:
            Interrupted: when the server is closing.
            ApiError: when it is to fail.
        """
        if self.closing.is_set():
            raise Interrupted
        if self._failure is not None:
            raise _FailedJob(500, self._failure)
        percentage = max(0, min(99, int(fraction * 100)))
        if percentage > self._percentage:
            self._percentage = percentage
            self._store.execute("UPDATE jobs SET percentage = ? WHERE id = ?", percentage, self._job_id)


Handler = Callable[[JobRun, Arguments], Result]


class _FailedJob(ApiError):
    """A failure read back from the database, with the status it had."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status  # type: ignore[misc]  # of this instance, not of the class


class Jobs:
    """The queue of one server.

    A handler may run more than once for the same job (the server was killed in between), so it must be repeatable.
    Lanes keep an export from waiting behind an hour of speech, or behind a meeting that is recorded.
    """

    def __init__(self, store: Store, deliveries: Deliveries, faults: Faults) -> None:
        self._store = store
        self._deliveries = deliveries
        self._faults = faults
        self._held: dict[str, tuple[str, threading.Timer | None]] = {}
        """Jobs that a fault keeps from running: the kind of each, and what will let it fail."""
        self._holding = threading.Lock()
        self._handlers: dict[str, tuple[Handler, Lane]] = {}
        self._closing = threading.Event()
        self._finished = threading.Condition()
        self._lanes: dict[Lane, ThreadPoolExecutor] = {
            "media": ThreadPoolExecutor(2, thread_name_prefix="videodb-media-job"),
            "speech": ThreadPoolExecutor(1, thread_name_prefix="videodb-speech-job"),
            "meetings": ThreadPoolExecutor(4, thread_name_prefix="videodb-meeting-job"),
        }

    def register(self, kind: str, handler: Handler, lane: Lane = "media") -> None:
        """Say who does jobs of a kind. All kinds are registered before `resume`."""
        self._handlers[kind] = (handler, lane)

    def resume(self) -> None:
        """Take up what an earlier server on this folder left, and forget what nobody will ask for any more."""
        self._store.execute(
            "DELETE FROM jobs WHERE status <> 'processing' AND created_at < ? "
            "AND id NOT IN (SELECT job_id FROM callbacks)",
            time.time() - KEPT_S,
        )
        for row in self._store.all("SELECT id, kind FROM jobs WHERE status = 'processing' ORDER BY created_at"):
            self._enqueue(row["id"], row["kind"])
        done = "SELECT DISTINCT job_id FROM callbacks JOIN jobs ON jobs.id = job_id WHERE status <> 'processing'"
        for row in self._store.all(done):
            self._tell(row["job_id"])

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of jobs that there are."""
        return frozenset(self._handlers)

    def close(self) -> None:
        """Interrupt what runs, and wait for it. What is not done stays in the database."""
        self._closing.set()
        self._let_go()
        for pool in self._lanes.values():
            pool.shutdown(wait=True, cancel_futures=True)

    def submit(self, kind: str, subject: str, arguments: Arguments) -> str:
        """Start a job and return its id, or the id of the job of this kind that runs for this subject already."""
        new_id = job_id()
        try:
            self._store.execute(
                "INSERT INTO jobs (id, kind, subject, arguments, status, percentage, attempts, created_at) "
                "VALUES (?, ?, ?, ?, 'processing', 0, 0, ?)",
                *(new_id, kind, subject, json.dumps(arguments), time.time()),
            )
        except sqlite3.IntegrityError:
            running = self._store.one(
                "SELECT id FROM jobs WHERE kind = ? AND subject = ? AND status = 'processing'", kind, subject
            )
            if running:
                return str(running["id"])
            return self.submit(kind, subject, arguments)  # it ended between the two statements
        if fault := self._faults.of_job(kind):
            self._hold(new_id, kind, fault)
        else:
            self._enqueue(new_id, kind)
        return new_id

    def release(self) -> None:
        """Run the jobs that a fault held."""
        for held_id, kind in self._let_go().items():
            self._enqueue(held_id, kind)

    def is_running(self, kind: str, subject: str) -> bool:
        """Say whether there is work of a kind for a subject that is not done."""
        query = "SELECT 1 FROM jobs WHERE kind = ? AND subject = ? AND status = 'processing'"
        return self._store.one(query, kind, subject) is not None

    def get(self, job_id: str) -> Job:
        """Return a job.

        Raises:
            NotFound: when there is none with this id.
        """
        row = self._store.one("SELECT * FROM jobs WHERE id = ?", job_id)
        if row is None:
            raise NotFound(f"No async response with id {job_id}")
        return Job(
            id=row["id"],
            status=row["status"],
            percentage=row["percentage"],
            result=json.loads(row["result"]) if row["result"] is not None else None,
            error=_FailedJob(row["error_status"], row["message"]) if row["status"] == "failed" else None,
        )

    def wait(self, job_id: str, timeout_s: float) -> Job:
        """Return a job as soon as it is done, or as it is after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        with self._finished:
            while True:
                job = self.get(job_id)
                left_s = deadline - time.monotonic()
                if job.status != "processing" or left_s <= 0:
                    return job
                self._finished.wait(left_s)

    def call_back(self, job_id: str, url: str, base_url: str) -> None:
        """POST the outcome to `url`, an HTTP address, when the job is done (it may be already)."""
        self._store.execute("INSERT INTO callbacks (job_id, url, base_url) VALUES (?, ?, ?)", job_id, url, base_url)
        if self.get(job_id).status != "processing":
            self._tell(job_id)

    def _enqueue(self, job_id: str, kind: str, failure: str | None = None) -> None:
        handler, lane = self._handlers[kind]
        self._lanes[lane].submit(self._run, job_id, handler, failure).add_done_callback(_report)

    def _hold(self, job_id: str, kind: str, fault: JobFault) -> None:
        """Keep a job from running, in no lane, so that others run."""
        timer = None
        if fault.outcome == "fails":
            timer = threading.Timer(fault.after_s, self._fail, (job_id, kind, fault.message))
            timer.daemon = True
        with self._holding:
            self._held[job_id] = kind, timer
        if timer:
            timer.start()

    def _let_go(self) -> dict[str, str]:
        """Return the jobs that are held, with their kinds, and hold none of them any more."""
        with self._holding:
            held, self._held = self._held, {}
        for _, timer in held.values():
            if timer:
                timer.cancel()
        return {job_id: kind for job_id, (kind, _) in held.items()}

    def _fail(self, job_id: str, kind: str, message: str) -> None:
        with self._holding:
            if self._held.pop(job_id, None) is None:
                return  # it was let go
        self._enqueue(job_id, kind, message)

    def _run(self, job_id: str, handler: Handler, failure: str | None) -> None:
        row = self._store.one("SELECT arguments, attempts FROM jobs WHERE id = ? AND status = 'processing'", job_id)
        if row is None or self._closing.is_set():
            return
        try:
            if row["attempts"] >= MAX_ATTEMPTS:
                raise _FailedJob(500, f"The work was interrupted {MAX_ATTEMPTS} times; it is not tried again")  # noqa: TRY301 - ends like any failure
            self._store.execute("UPDATE jobs SET attempts = attempts + 1 WHERE id = ?", job_id)
            job = JobRun(self._store, job_id, self._closing, failure)
            result = handler(job, json.loads(row["arguments"]))
            if failure is not None:  # the work was so short that it told no progress
                raise _FailedJob(500, failure)  # noqa: TRY301 - ends like any failure
        except Interrupted:
            # An orderly stop is no sign that the job is dangerous.
            self._store.execute("UPDATE jobs SET attempts = attempts - 1 WHERE id = ?", job_id)
            return
        except ApiError as error:
            self._finish(job_id, "failed", error_status=error.status, message=error.message)
        except MediaError as error:
            self._finish(job_id, "failed", error_status=media_status(error), message=str(error))
        except Exception as error:  # noqa: BLE001 - a job must end; the caller is told, and the log says where
            log_defect(logger, f"job {job_id}", error)
            self._finish(job_id, "failed", error_status=500, message=f"Internal error ({type(error).__name__})")
        else:
            self._finish(job_id, "done", result=json.dumps(result))

    def _finish(
        self,
        job_id: str,
        status: Status,
        *,
        result: str | None = None,
        error_status: int | None = None,
        message: str | None = None,
    ) -> None:
        self._store.execute(
            "UPDATE jobs SET status = ?, percentage = 100, result = ?, error_status = ?, message = ? WHERE id = ?",
            *(status, result, error_status, message, job_id),
        )
        with self._finished:
            self._finished.notify_all()
        self._tell(job_id)

    def _tell(self, job_id: str) -> None:
        """Turn the callbacks of a job that is done into deliveries."""
        with self._store.transaction():
            job = self.get(job_id)
            for row in self._store.all("SELECT id, url, base_url FROM callbacks WHERE job_id = ?", job_id):
                response = job.response(row["base_url"])
                body = {**response, "status": job.status, "request_type": "async", "response": response}
                self._deliveries.add(f"the callback of job {job_id}", row["url"], body)
                self._store.execute("DELETE FROM callbacks WHERE id = ?", row["id"])
        self._deliveries.send()


def _report(future: Future[None]) -> None:
    """Log what a pool would keep to itself: a job that could not even be ended (the disk is full)."""
    if not future.cancelled() and (error := future.exception()):
        logger.error("a job could not be ended: %s; it is taken up again at the next start", type(error).__name__)


def media_status(error: MediaError) -> int:
    """Return the HTTP status of a failure of media: 507 goes away when somebody frees space, 400 never does."""
    return 507 if isinstance(error, DiskFull) else 400


def log_defect(log: logging.Logger, where: str, error: Exception) -> None:
    """Log where an unforeseen error happened, without its message: that may quote a source's URL, with its password."""
    log.error("%s: %s\n%s", where, type(error).__name__, "".join(traceback.format_tb(error.__traceback__)))
