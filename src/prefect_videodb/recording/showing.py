"""What the UI shows of a recording that is under way, and of one that has ended: its state's message, its artifacts.

The UI has no tab of artifacts for a run that waits, so the message leads to them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self, cast
from uuid import UUID

from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from prefect.client.schemas.objects import Artifact, FlowRun
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_UI_URL

from prefect_videodb._logging import get_logger
from prefect_videodb._showing import only_showing
from prefect_videodb.errors import ConfigurationError
from prefect_videodb.recording.endings import Requested, is_exported_when_cancelled
from prefect_videodb.recording.liveness import outage_text
from prefect_videodb.recording.memory import Memory, planned_window, remembered
from prefect_videodb.recording.models import Links, MeetingRecording, Window
from prefect_videodb.recording.text import clock, escape, link
from prefect_videodb.recording.time_zones import showing_times_in, zone_of
from prefect_videodb.urls import UI, read

NOW: Final = "recording-now"
PROGRESS: Final = "recording-progress"
REPORT: Final = "meeting-recording"
WATCH: Final = "stream-watch"
# What a run remembers of what it shows.
TITLE, LIVE, SHOWN = "title", "live_url", "shown"
_WHAT = "What is being recorded"
_MOST = 20


def ui_url(path: str) -> str | None:
    """Return the address of a page of Prefect's UI, without what may be a secret; None where the UI's is not known."""
    try:
        url = read((PREFECT_UI_URL.value() or "").partition("?")[0], UI)
    except ConfigurationError:
        return None
    return f"{url.place.removesuffix('/…')}{url.path.rstrip('/')}/{path}"


def artifact_url(artifact_id: UUID | str) -> str | None:
    """Return the address of an artifact in Prefect's UI."""
    return ui_url(f"artifacts/artifact/{artifact_id}")


@dataclass(frozen=True, slots=True)
class Status:
    """What is shown of a recording that is under way."""

    run_id: UUID
    title: str
    window: Window
    known: Mapping[str, str]
    keeps_when_cancelled: bool

    @classmethod
    def of(cls, run: FlowRun) -> Self | None:
        """Read it off a run; None where the run has no planned end yet, or is no recording."""
        known = remembered(run)
        window = planned_window(known)
        return cls(run.id, _title(run), window, known, is_exported_when_cancelled(run)) if window else None

    @classmethod
    def of_this_run(cls, memory: Memory, title: str, window: Window) -> Self:
        """Read it off the memory of the run of this context."""
        return cls(memory.run.id, title, window, memory.known, is_exported_when_cancelled(memory.run))

    def message(self) -> str:
        """Return the message of the state of a run that waits."""
        with showing_times_in(zone_of(self.known)):
            parts = [f"Recording {self.title} until {clock(self.window.end)}.", outage_text(self.known)]
        if self.known.get(LIVE):
            parts.append(f"Live picture: {self.known[LIVE]}")
        if shown := self.known.get(SHOWN):
            parts.append(f"Artifact: {artifact_url(shown) or shown}")
        return " ".join(filter(None, parts))

    def artifact(self) -> ArtifactUpdate:
        """Return the artifact of a run that waits."""
        with showing_times_in(zone_of(self.known)):
            until = clock(self.window.end)
            text = f"**{escape(self.title)}** is recorded from {clock(self.window.start)} until **{until}**."
            outage = outage_text(self.known)
        paragraphs = [text]
        paragraphs += [f"**{escape(outage)}**"] if outage else []
        paragraphs += [link("▶ Live picture", self.known[LIVE])] if self.known.get(LIVE) else []
        paragraphs += [
            (
                "No process waits for it. To end it now, with video, search, clip and report as always, or to move "
                "its end, run the deployment `change-recording` with this run's id:"
            ),
            f"```\nprefect deployment run change-recording/change-recording --param flow_run_id={self.run_id}\n```",
            "Cancelling the run instead stops the stream at once. " + self._of_cancelling(),
        ]
        return ArtifactUpdate(data="\n\n".join(paragraphs), description=f"Recording until {until}")

    def _of_cancelling(self) -> str:
        if not self.keeps_when_cancelled:
            return "Nothing is kept then: its options say so (`export_when_cancelled`)."
        return "Only the video of what was recorded until then is kept: there is no search, no clip and no report."


def show(memory: Memory, window: Window, title: str, live: Links) -> None:
    """Show what is being recorded and until when, in the run that records it, and remember where that is shown.

    Args:
        memory: of the run of this context.
        window: the planned window.
        title: what the recording is called.
        live: where the recording can be watched meanwhile.
    """
    memory.note(**{TITLE: title, LIVE: live.player_url or live.stream_url or memory.recall(LIVE) or ""})
    status = Status.of_this_run(memory, title, window)
    with only_showing(_WHAT):
        artifact = status.artifact()
        if not _update(memory.prefect, memory.recall(SHOWN), artifact):
            made = create_markdown_artifact(str(artifact.data), key=NOW, description=artifact.description)
            # Typed as if it might be a coroutine; called from a synchronous flow it never is.
            memory.remember(**{SHOWN: str(cast("UUID", made))})
    get_logger().info("%s", status.message())


def _update(prefect: SyncPrefectClient, artifact_id: str | None, artifact: ArtifactUpdate) -> bool:
    """Change an artifact. Return whether it is there."""
    try:
        if artifact_id:
            prefect.update_artifact(UUID(artifact_id), artifact)
    except (ObjectNotFound, ValueError):
        return False
    return bool(artifact_id)


def show_change(prefect: SyncPrefectClient, run: FlowRun) -> None:
    """Show that a recording has another end, or that its source was lost or came back, where its end is shown.

    Args:
        prefect: Prefect.
        run: as it is now.
    """
    with only_showing(_WHAT):
        if status := Status.of(run):
            for shown in _artifacts(prefect, run.id, NOW):
                prefect.update_artifact(shown.id, status.artifact())


def show_over(prefect: SyncPrefectClient, run_id: UUID, recording: MeetingRecording) -> None:
    """Show that a recording is over, where it was shown that it is under way.

    Args:
        prefect: Prefect.
        run_id: the recording's run.
        recording: what it left behind.
    """
    window = recording.window
    text = f"**{escape(recording.name)}** is over: recorded from {clock(window.start)} to {clock(window.end)}."
    with only_showing(_WHAT):
        _close(prefect, run_id, [text], "Over")


def show_ended(prefect: SyncPrefectClient, run: FlowRun, reason: str, videos: Sequence[Requested]) -> None:
    """Show that a recording, or a watch, was ended from without: why, and where what it had recorded is.

    Where there is no such video, only what was shown of it before is put right.

    Args:
        prefect: Prefect.
        run: the recording's run.
        reason: as a sentence goes on after "was ended: ".
        videos: what was exported.
    """
    kept = [f"What it had recorded is {_said(one)}." for one in videos]
    text = f"**{escape(_title(run))}** was ended: {escape(reason)}."
    with only_showing(_WHAT):
        is_shown = _close(prefect, run.id, [text, *kept], "Ended")
        if videos and not is_shown:
            data = "\n\n".join([text, *kept])
            made = ArtifactCreate(key=NOW, type="markdown", data=data, description="Ended", flow_run_id=run.id)
            prefect.create_artifact(made)


def _close(prefect: SyncPrefectClient, run_id: UUID, paragraphs: list[str], description: str) -> bool:
    """Let every artifact that shows a recording under way show its end. Return whether there was one to read it in."""
    found = _artifacts(prefect, run_id, NOW, PROGRESS, REPORT, WATCH)
    reports = [link("The report", artifact_url(one.id)) for one in found if one.key == REPORT][:1]
    closed = ArtifactUpdate(data="\n\n".join([*paragraphs, *reports]), description=description)
    for one in found:
        if one.key == NOW:
            prefect.update_artifact(one.id, closed)
        elif one.key == PROGRESS:
            prefect.update_artifact(one.id, ArtifactUpdate(data=100.0, description=description))
        elif one.key == WATCH and one.description != description:
            text = "\n\n".join([*paragraphs, "What it showed last:", str(one.data)])
            prefect.update_artifact(one.id, ArtifactUpdate(data=text, description=description))
    return any(one.key == NOW for one in found)


def _said(video: Requested) -> str:
    if video.video_id is None:
        return "being made into a video of that name"
    return f"the video {link(video.video_id, video.links.player_url or video.links.stream_url)}"


def _artifacts(prefect: SyncPrefectClient, run_id: UUID, *keys: str) -> list[Artifact]:
    wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]), key=ArtifactFilterKey(any_=list(keys)))
    return list(prefect.read_artifacts(artifact_filter=wanted, limit=_MOST))


def _title(run: FlowRun) -> str:
    return str(remembered(run).get(TITLE) or run.parameters.get("name") or run.name)
