"""What people read and fill in in Prefect's UI, looked at in a browser of 1,280 pixels."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from playwright.sync_api import Page
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.settings import PREFECT_API_URL, temporary_settings

from prefect_videodb.archiving.models import Archived
from prefect_videodb.flows import record_meeting
from prefect_videodb.following.models import FollowUp, Line
from prefect_videodb.following.report import markdown as follow_up_markdown
from prefect_videodb.recording import archive_report
from prefect_videodb.recording.models import Hit, Links, MeetingRecording, Span, Window
from prefect_videodb.recording.orphan_report import StreamReport, table
from prefect_videodb.recording.orphans import Verdict
from prefect_videodb.recording.ownership import stream_name
from prefect_videodb.recording.report import markdown as meeting_markdown
from prefect_videodb.watching.models import Part, StreamWatch, Trouble, Watch
from prefect_videodb.watching.telling import markdown as watch_markdown
from tests.support.browser import open_page
from tests.support.prefect_server import running_prefect_server, runs_of
from tests.support.processes import wait_for

START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
END = START + timedelta(minutes=95)
TITLE = "Quarterly business review with the customers of the northern region, and what follows from it for the roadmap"
SENTENCE = "Somebody in a yellow vest leaves a parcel in front of the loading bay, looks around, and walks away. "
UNBROKEN = "https://videos.example.com/" + "a0b1c2d3" * 40
RUN_ID, SERVER = "0f9d2c7e-57a1-4a0e-9d55-6d6f1f1c3b52", "9a8b7c6d5e4f"
LINK = Links(player_url="http://127.0.0.1:8765/watch?v=a-1")


def _streams(*, dry_run: bool = False) -> str:
    def report(verdict: Verdict, **more: object) -> StreamReport:
        values: dict[str, object] = {
            "rtstream_id": f"rts-{uuid4()}",
            "name": stream_name(TITLE, RUN_ID, SERVER),
            "account": "customer-success-northern-region",
            "flow_run_id": RUN_ID,
            "flow_run_name": "majestic-hippopotamus-of-the-north",
            "until": END,
            "minutes": 1234.5,
            "cost": 1234.56,
            "verdict": verdict,
            "reason": "",
        }
        return StreamReport.model_validate(values | more)

    return table(
        [
            report(Verdict.STOP, reason="its run is being cancelled, and nobody stopped it", video_id=f"m-z-{uuid4()}"),
            report(Verdict.GO_ON, reason="its run is said to be running, but looks no more"),
            report(Verdict.RECORDING, name=stream_name(TITLE.upper(), RUN_ID, SERVER)),
            report(Verdict.ELSEWHERE, reason=f"of the Prefect server {SERVER}", flow_run_name=None),
            report(Verdict.STOP, trouble=f"ConnectionFailed: {UNBROKEN}", name=stream_name("x" * 200, RUN_ID)),
        ],
        ["account customer-success: AuthenticationError: the key was not accepted", f"account b: {UNBROKEN}"],
        dry_run=dry_run,
    )


def _meeting() -> str:
    hit = Hit(
        query="decisions and next steps",
        start_s=3725,
        end_s=3730,
        text=SENTENCE * 3,
        score=0.87,
        player_url="http://h/w",
    )
    recording = MeetingRecording(
        name=TITLE,
        rtstream_id=f"rts-{uuid4()}",
        video_id=f"m-z-{uuid4()}",
        window=Window(start=START, end=END),
        playback=LINK,
        video=LINK,
        spoken_words="indexed",
        hits=[hit, hit.model_copy(update={"text": UNBROKEN, "query": UNBROKEN})],
        clip=LINK,
        clip_parts=[Span(start_s=60 * n, end_s=60 * n + 9) for n in range(20)],
        earlier_video_ids=[f"m-z-{uuid4()}"],
        missing=[Window(start=START, end=END)],
        archived=[_archived()],
        not_archived=[UNBROKEN],
        steps_s={"connect": 1.25, "record": 1800.0},
    )
    return meeting_markdown(recording)


def _archived() -> Archived:
    return Archived(
        video_id=f"m-z-{uuid4()}",
        name=TITLE,
        bucket="recordings-of-the-northern-region",
        key=f"videodb/{'folder/' * 20}{uuid4()}/video.mp4",
        size_bytes=12_345_678_901,
        sha256="0a" * 32,
        etag='"' + "0a" * 16 + '-1234"',
        archived_at=END,
        took_s=123.4,
    )


def _follow_up() -> str:
    follow_up = FollowUp(
        label="parcel_left_in_front_of_the_loading_bay_" * 5,
        explanation=SENTENCE * 5 + UNBROKEN,
        confidence=0.91,
        told_at=START,
        rtstream_id=f"rts-{uuid4()}",
        window=Window(start=START, end=START + timedelta(seconds=20)),
        clip=LINK,
        file_url=UNBROKEN,
        archived=_archived(),
        said=[Line(at=START, text=SENTENCE * 4), Line(at=START, text=UNBROKEN)],
        seen=[Line(at=START, text=SENTENCE * 4)],
        missing=[f"the transcript: {UNBROKEN}"],
    )
    return follow_up_markdown(follow_up, [f"operations: {UNBROKEN}"])


def _watch() -> str:
    watch = StreamWatch(
        name=TITLE,
        rtstream_id=f"rts-{uuid4()}",
        adopted=True,
        start=START,
        end=END,
        ended_by="end time",
        watches=[
            Watch(label="parcel_left_in_front_of_the_loading_bay_" * 5, prompt=SENTENCE * 10, route="r" * 100),
            Watch(label="door_opened", prompt=UNBROKEN),
        ],
        troubles=[
            Trouble(part=Part.SOURCE, at=END, since=START, found=SENTENCE * 3, done="connected anew"),
            Trouble(part=Part.SERVICE, at=END, since=START, found=UNBROKEN, done=UNBROKEN),
        ],
    )
    return watch_markdown(watch, is_over=True, until="")


REPORTS = {
    "videodb-recordings": _streams,
    "dry-run": partial(_streams, dry_run=True),
    "meeting-recording": _meeting,
    "alert-follow-up": _follow_up,
    "stream-watch": _watch,
    "archived-recording": lambda: archive_report.markdown(_archived()),
}
# Whatever of the report is wider than the box that holds it, which hides the rest.
TOO_WIDE = """() => [...document.querySelectorAll('.artifact-data-markdown, .artifact-data-markdown *')]
    .filter(it => it.scrollWidth > it.clientWidth + 1 && getComputedStyle(it).display !== 'inline')
    .map(it => `${it.tagName} ${it.className} ${it.scrollWidth}>${it.clientWidth} ${it.textContent.slice(0, 60)}`)"""


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of Prefect's UI."""
    with running_prefect_server(tmp_path_factory.mktemp("prefect"), ui=True) as server:
        yield server.url.removesuffix("/api")


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with open_page() as opened:
        yield opened


@pytest.mark.parametrize("key", REPORTS)
def test_report_fits_the_page(key: str, ui: str, page: Page, tmp_path: Path) -> None:
    with temporary_settings({PREFECT_API_URL: f"{ui}/api"}), get_client(sync_client=True) as client:
        made = client.create_artifact(ArtifactCreate(key=key, type="markdown", data=REPORTS[key](), description="Test"))
    page.goto(f"{ui}/artifacts/artifact/{made.id}")
    page.wait_for_selector(".artifact-data-markdown li")
    page.screenshot(path=tmp_path / f"{key}.png", full_page=True)
    assert page.evaluate(TOO_WIDE) == []


def test_form_starts_a_run(ui: str, page: Page) -> None:
    """Prefect checks what the form sends against a schema that admits no unknown names."""
    with temporary_settings({PREFECT_API_URL: f"{ui}/api"}), get_client(sync_client=True) as client:
        deployment = client.create_deployment(
            client.create_flow_from_name("record-meeting"),
            name="form",
            parameter_openapi_schema=record_meeting.parameters.model_dump_for_openapi(),
            enforce_parameter_schema=True,
            parameters={"source": "meeting-room", "options": {"hits_per_query": 7}},
        )
        page.goto(f"{ui}/deployments/deployment/{deployment}/run")
        page.get_by_text("Least score").wait_for()
        page.locator("form textarea").first.fill("board-room")
        page.get_by_role("button", name="Submit").click()
        wait_for("the run is there", lambda: runs_of(deployment))
        [run] = runs_of(deployment)
    assert run.parameters["source"] == "board-room"
    assert run.parameters["options"]["hits_per_query"] == 7
