"""What the UI shows of a recording that is parked, and of one that somebody else has ended: one artifact of its run."""

from collections.abc import Sequence

from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from prefect.client.schemas.objects import Artifact, FlowRun

from prefect_videodb._showing import only_showing
from prefect_videodb.recording.endings import Requested
from prefect_videodb.recording.models import Window
from prefect_videodb.recording.text import clock, escape

_KEY = "recording-now"
_WHAT = "What is being recorded"


def show(window: Window, title: str) -> None:
    """Show what is being recorded and until when, in the run that records it."""
    with only_showing(_WHAT):
        text, description = _planned(window, title)
        create_markdown_artifact(text, key=_KEY, description=description)


def show_new_end(prefect: SyncPrefectClient, run: FlowRun, window: Window) -> None:
    """Show that a recording has another end, where its end is shown."""
    with only_showing(_WHAT):
        if shown := _shown(prefect, run):
            text, description = _planned(window, _title(run))
            prefect.update_artifact(shown.id, ArtifactUpdate(data=text, description=description))


def show_ended(prefect: SyncPrefectClient, run: FlowRun, why: str, videos: Sequence[Requested]) -> None:
    """Show that a recording was ended from without: why, and where what it had recorded is.

    Where there is no such video, only what was shown of it before is put right.

    Args:
        prefect: Prefect.
        run: the recording's run.
        why: as a sentence goes on after "was ended: ".
        videos: what was exported.
    """
    kept = [f"What it had recorded is {_said(one)}." for one in videos]
    text = "\n\n".join([f"**{escape(_title(run))}** was ended: {escape(why)}.", *kept])
    with only_showing(_WHAT):
        if shown := _shown(prefect, run):
            prefect.update_artifact(shown.id, ArtifactUpdate(data=text, description="Ended"))
        elif videos:
            made = ArtifactCreate(key=_KEY, type="markdown", data=text, description="Ended", flow_run_id=run.id)
            prefect.create_artifact(made)


def _planned(window: Window, title: str) -> tuple[str, str]:
    until = clock(window.end)
    text = f"**{escape(title)}** is recorded from {clock(window.start)} until **{until}**."
    later = "No process waits for it. Cancel the run to end the recording at once; the report follows its end."
    return f"{text}\n\n{later}", f"Recording until {until}"


def _said(video: Requested) -> str:
    return f"the video {escape(video.video_id)}" if video.video_id else "being made into a video of that name"


def _shown(prefect: SyncPrefectClient, run: FlowRun) -> Artifact | None:
    wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]), key=ArtifactFilterKey(any_=[_KEY]))
    return next(iter(prefect.read_artifacts(artifact_filter=wanted, limit=1)), None)


def _title(run: FlowRun) -> str:
    return str(run.parameters.get("name") or run.name)
