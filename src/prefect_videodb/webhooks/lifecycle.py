"""What makes a stage of a capture session or meeting one and the same, however often it is told. Pure."""

from prefect_videodb.webhooks.alert import digest_of
from prefect_videodb.webhooks.decode import LifecycleEvent


def identity_of_stage(told: LifecycleEvent, route: str) -> str:
    """Give what is the same of one stage: the route, what it is a stage of, and which; or else all that it tells."""
    if told.capture_session_id and told.event:
        parts: list[object] = [route, told.capture_session_id, told.event]
    else:  # a meeting's callback has no id of the meeting
        parts = [route, told.model_dump(mode="json", exclude={"route", "flow_run_id"})]
    return digest_of(parts)
