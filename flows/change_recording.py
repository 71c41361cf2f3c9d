"""Give a recording that is under way another end, or end it now."""

from uuid import UUID

from prefect import flow
from prefect.runtime import flow_run as this_run
from pydantic import AwareDatetime

from prefect_videodb.recording.changing import set_recording_end
from prefect_videodb.recording.models import Window
from prefect_videodb.recording.text import clock
from prefect_videodb.strict_flow import strict_parameters


def _run_name() -> str:
    end = this_run.parameters.get("end_time")
    return f"end recording {str(this_run.parameters.get('flow_run_id'))[:8]} {f'at {clock(end)}' if end else 'now'}"


@strict_parameters
@flow(name="change-recording", flow_run_name=_run_name)
def change_recording(flow_run_id: UUID, end_time: AwareDatetime | None = None) -> Window:
    """Give a recording that is under way another end, later or earlier; or end it now.

    A parked recording is woken shortly before its new end; one that holds a process sees it within a quarter of a
    minute. What was recorded is exported, searched and compiled as always; cancelling the run keeps the video only.

    Args:
        flow_run_id: The run of `record_meeting`.
        end_time: When it is to end, with its time zone; now when left empty.

    Returns:
        The window as it is planned now.

    Raises:
        ConfigurationError: there is no such recording, it is over, or it would be too long.
    """
    return set_recording_end(flow_run_id, end_time)
