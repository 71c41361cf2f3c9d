"""Give a recording that is under way another end."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect import task
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound

from prefect_videodb._logging import get_logger
from prefect_videodb.errors import ConfigurationError
from prefect_videodb.recording.inputs import LONGEST
from prefect_videodb.recording.memory import label, planned_window, remembered
from prefect_videodb.recording.models import Window
from prefect_videodb.recording.parking import is_parked, schedule, wake_at
from prefect_videodb.recording.showing import Status, show_change
from prefect_videodb.recording.text import clock
from prefect_videodb.recording.time_zones import zone_of
from prefect_videodb.tasks._options import RunName

# A recording looks every four seconds, and a look takes its time.
_LAST_LOOK = timedelta(seconds=6)


@task(task_run_name=RunName("change-end-of-{flow_run_id}"))
def set_recording_end(flow_run_id: UUID, end_time: datetime | None = None) -> Window:
    """Give a recording that is under way another end, later or earlier; or end it now.

    A parked recording is woken shortly before its new end; one that holds a process sees it within a quarter of a
    minute, and within four seconds shortly before its end.

    Args:
        flow_run_id: The run of `record_meeting`.
        end_time: When it is to end, with its time zone; now when None.

    Returns:
        The window as it is planned now.

    Raises:
        ConfigurationError: there is no such recording, it is over, or about to be, or it would be too long.
    """
    if end_time and end_time.tzinfo is None:
        raise ConfigurationError(f"{end_time.isoformat()} has no time zone")
    now = datetime.now(UTC)
    with get_client(sync_client=True) as client:
        try:
            run = client.read_flow_run(flow_run_id)
        except ObjectNotFound:
            raise ConfigurationError(f"there is no flow run {flow_run_id}") from None
        window = planned_window(remembered(run))
        if window is None:
            raise ConfigurationError(f"{run.name} is not recording: it has no planned end yet, or is no recording")
        if window.end <= now or run.state is None or run.state.is_final():
            end_text = clock(window.end, zone_of(remembered(run)))
            raise ConfigurationError(f"{run.name} is over since {end_text}")
        end = max(now, end_time.astimezone(UTC)) if end_time else now
        if end > window.end and window.end - now < _LAST_LOOK and not is_parked(run):
            raise ConfigurationError(f"{run.name} ends in a few seconds, and looks no more whether its end was moved")
        if end - window.start > LONGEST:
            raise ConfigurationError(f"a recording lasts at most {LONGEST}")
        # Written down first: whoever executes the run from now on reads it.
        client.update_flow_run_labels(run.id, label(window_end=end.isoformat()))
        # One that a worker has taken meanwhile would be executed twice.
        run = client.read_flow_run(run.id)
        if is_parked(run):
            status = Status.of(run)
            schedule(client, run.id, wake_at(end), status.message() if status else "")
        show_change(client, run)
        get_logger().info("%s records until %s", run.name, clock(end, zone_of(remembered(run))))
    return Window(start=window.start, end=end)
