"""An alert is followed up whatever shape it has: written up, and people are told."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock

from prefect_videodb.flows import follow_up_alert
from prefect_videodb.following.clip import clip_of
from prefect_videodb.following.models import FollowUpOptions
from prefect_videodb.following.notifying import NotNotified
from prefect_videodb.webhooks.alert import Alert
from tests.flows.conftest import Account, Run
from tests.support.processes import wait_for
from tests.support.receiver import Receiver, running_receiver
from tests.webhooks.conftest import RECORDED

QUICK = FollowUpOptions(pad_after_s=0, settle_s=0)
NOW = datetime(2025, 5, 28, 23, 37, tzinfo=UTC)


def notify_at(receiver: Receiver) -> str:
    text = {"subject": "{{subject}}", "body": "{{body}}"}
    block = CustomWebhookNotificationBlock(name="people", url=receiver.url, json_data=text, headers=None, cookies=None)
    block.save("people", overwrite=True)
    return "custom-webhook/people"


@pytest.mark.parametrize(
    ("told", "missing"),
    [
        (RECORDED, "VideoDB has nothing of the clip's window"),
        (RECORDED | {"start_time": 1234.5, "end_time": 1240.5}, "VideoDB has nothing of the clip's window"),
        (RECORDED | {"start_time": "12.500s", "end_time": None, "stream_url": None}, "does not tell its stream"),
        ({"event_label": "door_opened", "text": "open"}, "no times that can be read"),
        (RECORDED | {"end_time": "2999-01-01T00:00:00Z"}, "lie in the future"),
        ({}, "does not tell its stream"),
    ],
)
def test_every_shape_ends_in_a_report_that_says_what_is_missing(
    account: Account, told: dict[str, Any], missing: str
) -> None:
    assert account
    with running_receiver() as receiver:
        done = follow_up_alert.with_options(persist_result=False)(
            Alert.model_validate(told), [notify_at(receiver)], account.block, QUICK
        )
        sent = receiver.take()
    assert any(missing in text for text in done.missing), done.missing
    assert done.notified == ["custom-webhook/people"]
    assert sent["subject"] == f"VideoDB alert: {done.label}"


def test_the_clip_of_what_was_recorded_plays(account: Account, deployed: str) -> None:
    assert deployed
    rtstream_id = account.connect("Followed up")
    began = datetime.now(UTC)
    wait_for("something is recorded", lambda: datetime.now(UTC) - began > timedelta(seconds=15))
    times = {"start_time": (began + timedelta(seconds=4)).isoformat(), "end_time": datetime.now(UTC).isoformat()}
    hostile = {"label": "a|b <script> [x](http://evil)", "explanation": "<!channel> @everyone"}
    run = Run.of(
        "follow-up-alert/follow-up-alert",
        alert={"rtstream_id": rtstream_id, **times, **hostile},
        options={"settle_s": 5},
    )
    finished = run.finish()
    assert finished.state is not None
    assert finished.state.is_completed(), f"{finished.state}\n{run.logs()}"
    report = run.artifacts()["alert-follow-up"]["data"]
    assert "▶ Play the clip" in report
    assert "<script>" not in report
    assert "[x](http" not in report


def test_a_notification_that_is_not_taken_is_told_after_everything_else_is_done(account: Account) -> None:
    assert account
    flow = follow_up_alert.with_options(persist_result=False)
    with pytest.raises(NotNotified, match="there is no block 'slack-webhook/none'"), running_receiver() as receiver:
        flow(Alert(label="door"), ["slack-webhook/none", notify_at(receiver)], account.block, QUICK)
    assert receiver.take()["subject"] == "VideoDB alert: door"


def test_the_clip_is_the_batch_with_its_padding() -> None:
    clip = clip_of(Alert.model_validate(RECORDED), FollowUpOptions(), NOW)
    assert clip.window is not None
    assert (clip.window.end - clip.window.start).total_seconds() == 20
    assert clip.ready_at == clip.window.end + timedelta(seconds=15)
