"""What nobody looks after is looked after: on every account, after every crash, and nothing of anybody else's."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Crashed, Pending, Running, Scheduled
from prefect.variables import Variable
from pydantic import SecretStr

from prefect_videodb.blocks import VideoDBCredentials
from prefect_videodb.durable import recovery
from prefect_videodb.durable.recovery import (
    MAX_CRASHES,
    Death,
    Recovery,
    StaleRun,
    crash_count,
    recover,
    recover_crashed,
)
from prefect_videodb.errors import VideoDBError
from prefect_videodb.flows import change_recording, record_meeting, recover_dead_runs, stop_orphaned_streams
from prefect_videodb.local_server import LocalServer
from prefect_videodb.recording import inputs
from prefect_videodb.recording.memory import label
from prefect_videodb.recording.orphan_report import StreamReport
from prefect_videodb.recording.orphans import Verdict
from prefect_videodb.recording.ownership import server_in, stream_name
from prefect_videodb.recording.servers import VARIABLE
from prefect_videodb.tasks import ensure_scene_index, list_rtstream_scene_indexes
from tests.flows.conftest import KEY, SHORT, Account, Run, look_after_only, result_of, the_one_stopped_stream
from tests.support.faulty_proxy import FaultyProxy, Rule
from tests.support.processes import free_port, wait_for

FOLLOW_UP = "follow-up-alert/follow-up-alert"
NET = "stop-orphaned-streams/stop-orphaned-streams"
ANOTHER_SERVER = "0123456789ab"


def status(account: Account, rtstream_id: str) -> str:
    [found] = [stream["status"] for stream in account.streams("") if stream["id"] == rtstream_id]
    return str(found)


def put(run: Run, state: State[Any], **known: str) -> None:
    """Bring a run into a state, with what it has written down."""
    with get_client(sync_client=True) as client:
        client.update_flow_run_labels(run.id, label(**known))
        client.set_flow_run_state(run.id, state, force=True)


def connected(account: Account, run: Run, server: str | None = None) -> str:
    """Connect a stream as a recording does. Gives its id."""
    return account.connect(stream_name("Of a run", str(run.id), server))


def parked(account: Account, deployed: str) -> tuple[Run, str]:
    """Make a recording that waits for its end without a process. Gives it and its stream's id."""
    run = Run.of(deployed)
    rtstream_id = connected(account, run)
    now, end = datetime.now(UTC), datetime.now(UTC) + timedelta(minutes=20)
    put(
        run,
        Scheduled(name="Recording", scheduled_time=end),
        rtstream_id=rtstream_id,
        window_start=now.isoformat(),
        window_end=end.isoformat(),
    )
    return run, rtstream_id


def by_id(reports: list[StreamReport]) -> dict[str, StreamReport]:
    return {report.rtstream_id: report for report in reports}


def shown() -> str:
    """Give the table that was made last."""
    with get_client(sync_client=True) as client:
        answer = client.request(
            "POST",
            "/artifacts/filter",
            json={"artifacts": {"key": {"any_": ["videodb-recordings"]}}, "sort": "UPDATED_DESC", "limit": 1},
        )
    return str(answer.json()[0]["data"])


@contextmanager
def prefect_through(proxy: FaultyProxy) -> Iterator[None]:
    with proxy.running(), temporary_settings({PREFECT_API_URL: f"{proxy.url}/api"}):
        yield


def prefect_proxy(prefect_url: str, named: Callable[[str, bytes], str] | None = None) -> FaultyProxy:
    return FaultyProxy(prefect_url.removesuffix("/api"), named=named)


# --- whose it is ------------------------------------------------------------------------------------------------------


def test_a_recording_names_the_prefect_server_that_it_belongs_to(account: Account, deployed: str) -> None:
    run = Run.of(deployed, queries=[], **SHORT)
    result_of(run.finish())
    stream = the_one_stopped_stream(account, run)
    assert server_in(stream["name"]) == Variable.get(VARIABLE)
    assert Variable.get(VARIABLE)


def test_a_recording_whose_server_cannot_tell_its_identity_begins_all_the_same(account: Account, deployed: str) -> None:
    stop_orphaned_streams("default")  # makes the identity, where there is none yet
    mine = Variable.get(VARIABLE)
    Variable.set(VARIABLE, "a person's", overwrite=True)
    try:
        run = Run.of(deployed, queries=[], **SHORT)
        result_of(run.finish())
    finally:
        Variable.set(VARIABLE, mine, overwrite=True)
    assert server_in(the_one_stopped_stream(account, run)["name"]) is None


def test_what_another_prefect_server_records_is_told_and_left_alone(account: Account, deployed: str) -> None:
    assert deployed
    unknown = str(uuid4())  # to this server
    theirs = account.connect(stream_name("Theirs", unknown, ANOTHER_SERVER))
    ours_of_old = account.connect(stream_name("Ours", str(uuid4())))
    stop_orphaned_streams("default", dry_run=True)
    ours = account.connect(stream_name("Ours", str(uuid4()), str(Variable.get(VARIABLE))))
    index = {
        "kind": "visuals",
        "prompt": "What is seen",
        "batch_config": {"type": "time", "value": 2, "frame_count": 1},
    }
    name = f"visual {stream_name('x', unknown, ANOTHER_SERVER)}"
    adopted = account.connect("Somebody's camera, which they watch")
    ensure_scene_index(account.block, adopted, name, **index)

    reports = by_id(stop_orphaned_streams("default"))
    assert reports[theirs].verdict is Verdict.ELSEWHERE
    assert ANOTHER_SERVER in reports[theirs].reason
    assert status(account, theirs) == "connected"
    [line] = [line for line in shown().splitlines() if theirs in line]
    assert "Theirs: elsewhere, of the Prefect server" in line
    for mine in (ours, ours_of_old):
        assert "deleted" in reports[mine].reason
        assert status(account, mine) == "stopped"
    [watched] = list_rtstream_scene_indexes(account.block, adopted)
    assert watched.status != "stopped"


# --- on which account -------------------------------------------------------------------------------------------------


@pytest.fixture
def second(tmp_path_factory: pytest.TempPathFactory, account: Account) -> Iterator[Account]:
    """Give an account of another service, beside one that cannot be reached and one whose block leads to the first."""
    secret = "sk-secret-of-nobody"
    VideoDBCredentials(api_key=SecretStr(secret), base_url=f"http://127.0.0.1:{free_port()}").save(
        "away", overwrite=True
    )
    account.block.model_copy().save("same-as-default", overwrite=True)
    with LocalServer(tmp_path_factory.mktemp("second"), api_key=KEY) as server:
        block = VideoDBCredentials(api_key=SecretStr(KEY), base_url=server.base_url)
        block.save("second", overwrite=True)
        known = Account(block, server.base_url)
        yield known
        known.stop_all()
    for name in ("away", "second", "same-as-default"):
        VideoDBCredentials.delete(name)


def test_all_accounts_are_looked_after_though_one_of_them_cannot_be_asked(
    account: Account, second: Account, deployed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert deployed
    monkeypatch.setattr(inputs, "_PAGE", 1)
    run = str(uuid4())
    first_id, second_id = (one.connect(stream_name("Orphan", run)) for one in (account, second))
    with pytest.raises(VideoDBError, match="account away: NotConnected") as told:
        stop_orphaned_streams()
    assert "sk-secret" not in str(told.value)
    assert status(account, first_id) == status(second, second_id) == "stopped"
    assert "account default" in next(line for line in shown().splitlines() if first_id in line)
    assert "account second" in next(line for line in shown().splitlines() if second_id in line)
    assert "account away" in shown()


# --- after a crash ----------------------------------------------------------------------------------------------------


def run_hook(run: FlowRun) -> None:
    """Do what whoever sees the process die does."""
    assert run.state is not None
    for hook in record_meeting.on_crashed_hooks:
        hook(record_meeting, run, run.state)


def test_a_crashed_recording_is_stopped_only_where_it_may_not_go_on(
    account: Account, deployed: str, prefect_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "_RETRY_AFTER_S", (0.1, 0.1))
    unasked, unlucky, often = (Run.of(deployed) for _ in range(3))
    streams = [connected(account, run) for run in (unasked, unlucky, often)]
    put(unasked, Crashed())
    put(unlucky, Crashed())
    put(often, Crashed(), crashes=str(MAX_CRASHES))
    proxy = prefect_proxy(prefect_url)
    proxy.rules = [
        Rule("GET", str(unasked.id), 500, times=100),
        Rule("GET", str(unlucky.id), 500),
        Rule("POST", rf"{unlucky.id}/set_state", 500),  # after its crash was counted
    ]
    found = [run.read() for run in (unasked, unlucky, often)]
    with prefect_through(proxy):
        for run in found:
            run_hook(run)
    assert [status(account, rtstream_id) for rtstream_id in streams] == ["connected", "connected", "stopped"]
    assert unasked.state().is_crashed()
    assert unlucky.state().is_scheduled()
    assert crash_count(unlucky.read()) == 1
    assert often.state().is_crashed()


def test_a_run_that_was_deleted_does_not_go_on(account: Account, deployed: str) -> None:
    run = Run.of(deployed)
    rtstream_id = connected(account, run)
    put(run, Crashed())
    found = run.read()
    with get_client(sync_client=True) as client:
        client.delete_flow_run(run.id)
    run_hook(found)
    assert status(account, rtstream_id) == "stopped"


def test_what_crashed_and_has_no_stream_goes_on(
    account: Account, deployed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert account
    monkeypatch.setattr(recovery, "_ABANDONED_AFTER", timedelta(seconds=-2))  # the server tells whole seconds
    follow_up = Run.of(FOLLOW_UP, alert={"label": "door"})
    archived = Run.of("archive-recording/archive-recording", video_id="m-1")
    exporting, often = Run.of(deployed), Run.of(deployed)
    for run in (follow_up, archived, exporting):
        put(run, Crashed())
    put(often, Crashed(), crashes=str(MAX_CRASHES))
    recover_dead_runs()
    names = [run.state().name for run in (follow_up, archived, exporting, often)]
    assert names == ["AwaitingRetry"] * 3 + ["Crashed"]


def test_a_recording_that_crashed_too_often_is_stopped_told_and_shown(account: Account, deployed: str) -> None:
    run = Run.of(deployed)
    rtstream_id = connected(account, run)
    put(run, Crashed(), crashes=str(MAX_CRASHES))
    began = datetime.now(UTC)
    report = by_id(stop_orphaned_streams("default", cost_per_minute=2.0))[rtstream_id]
    assert report.verdict is Verdict.STOP
    assert status(account, rtstream_id) == "stopped"
    row = next(line for line in shown().splitlines() if str(run.id) in line)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[0].endswith(f"/runs/flow-run/{run.id}>)")
    assert cells[1] == "**stopped**"
    assert cells[4] == f"{report.cost:.2f}"
    details = next(line for line in shown().splitlines() if rtstream_id in line)
    assert "**stopped**, its run crashed too often (run " in details
    assert f"account {report.account}" in details
    [event] = events_about(f"videodb.rtstream.{rtstream_id}", began)
    assert event["event"] == "videodb.stream.orphaned"
    assert event["payload"] == {"reason": "its run crashed too often"}
    assert [one["prefect.resource.id"] for one in event["related"] if one["prefect.resource.role"] == "recording"] == [
        f"prefect.flow-run.{run.id}"
    ]


def events_about(resource: str, since: datetime) -> list[dict[str, Any]]:
    """Wait for the events about something."""
    found: list[dict[str, Any]] = []

    def are_there() -> bool:
        wanted = {"occurred": {"since": since.isoformat()}, "resource": {"id": [resource]}}
        with get_client(sync_client=True) as client:
            found[:] = client.request("POST", "/events/filter", json={"filter": wanted, "limit": 10}).json()["events"]
        return bool(found)

    wait_for("it is told", are_there)
    return found


# --- nobody twice -----------------------------------------------------------------------------------------------------


def test_a_run_that_somebody_else_has_scheduled_meanwhile_is_left_alone(account: Account, deployed: str) -> None:
    assert account
    run = Run.of(deployed)
    put(run, Crashed())
    stale = run.read()
    put(run, Running())
    with get_client(sync_client=True) as client, pytest.raises(StaleRun):
        recover(client, stale, Death("its process died"))
    assert run.state().is_running()
    assert "videodb.crashes" not in run.read().labels
    assert recover_crashed(run.id) is Recovery.RESCHEDULED
    assert run.state().is_running()


def test_a_crash_that_somebody_else_has_counted_already_is_not_counted_again(account: Account, deployed: str) -> None:
    assert account
    run = Run.of(deployed)
    put(run, Crashed())
    with get_client(sync_client=True) as client:
        counted = f"1 {run.state().timestamp.isoformat()} {run.state().id} 0"
        client.update_flow_run_labels(run.id, {"videodb.crashes": counted})
    assert recover_crashed(run.id) is Recovery.RESCHEDULED
    assert crash_count(run.read()) == 1
    put(run, Running())
    put(run, Crashed())
    assert recover_crashed(run.id) is Recovery.RESCHEDULED
    assert crash_count(run.read()) == 2


def test_a_crash_that_is_told_once_more_is_scheduled_once_more_and_counted_once(
    account: Account, deployed: str
) -> None:
    assert account
    run = Run.of(deployed)
    put(run, Running())
    put(run, Crashed())
    assert recover_crashed(run.id) is Recovery.RESCHEDULED
    put(run, Crashed())  # as Prefect's process worker does
    wait_for("it goes on", lambda: run.state().is_scheduled())
    assert crash_count(run.read()) == 1


def test_a_recording_that_a_worker_takes_while_its_end_is_moved_is_not_scheduled_beside_it(
    account: Account, deployed: str, prefect_url: str
) -> None:
    run, _ = parked(account, deployed)

    def take(path: str, _: bytes) -> str:
        if path.endswith(f"{run.id}/labels"):
            put_directly(run, Pending())
        return path

    def put_directly(run: Run, state: State[Any]) -> None:
        with temporary_settings({PREFECT_API_URL: prefect_url}), get_client(sync_client=True) as client:
            client.set_flow_run_state(run.id, state, force=True)

    later = datetime.now(UTC) + timedelta(minutes=30)
    with prefect_through(prefect_proxy(prefect_url, take)):
        assert change_recording.with_options(persist_result=False)(run.id, later).end == later
    assert run.state().is_pending()
    assert run.read().labels["videodb.window_end"] == later.isoformat()


def test_one_that_cannot_be_woken_keeps_no_other_from_it(account: Account, deployed: str, prefect_url: str) -> None:
    first, second = parked(account, deployed), parked(account, deployed)
    orphan = account.connect(stream_name("Orphan", str(uuid4())))
    for _, rtstream_id in (first, second):
        account.stop(rtstream_id)
    proxy = prefect_proxy(prefect_url)
    proxy.rules = [Rule("PATCH", rf"{first[0].id}/labels", 500)]
    with prefect_through(proxy), pytest.raises(VideoDBError, match=first[0].read().name):
        stop_orphaned_streams("default")
    now = datetime.now(UTC)
    due = [run.state().state_details.scheduled_time for run, _ in (first, second)]
    assert due[0] is not None
    assert due[1] is not None
    assert due[0] > now > due[1]
    assert second[0].read().labels["videodb.ended_early"] == "yes"
    assert status(account, orphan) == "stopped"


def test_bad_block_isolation(account: Account, deployed: str) -> None:
    """One block that cannot be used fails the net once, not every five minutes; the good accounts are served."""
    assert deployed
    orphan = account.connect(stream_name("Orphan", str(uuid4())))
    VideoDBCredentials(api_key=SecretStr("sk-wrong-0123456789"), base_url=account.base_url).save(
        "wrong", overwrite=True
    )
    look_after_only(None)
    try:
        first, second = Run.of(NET), Run.of(NET)
        state = first.finish().state
        assert state is not None
        assert state.is_failed()
        assert "check the API key of the VideoDBCredentials block 'wrong'" in str(state.message)
        assert first.read().name.startswith("look after streams at ")
        again = second.finish().state
        assert again is not None
        assert (again.type.value, again.name) == ("COMPLETED", "Incomplete")
        assert "check the API key of the VideoDBCredentials block 'wrong'" in str(again.message)
        assert status(account, orphan) == "stopped"
    finally:
        VideoDBCredentials.delete("wrong")
