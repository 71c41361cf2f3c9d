"""Errors that a user can mend: the log of the run is short, has each cause once, and ends with what to do."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun
from pydantic import SecretStr

from prefect_videodb.blocks import AlertWebhook, RTStreamSource, VideoDBCredentials
from prefect_videodb.errors import AuthenticationError, ConfigurationError, VideoDBError
from prefect_videodb.flows import record_meeting
from prefect_videodb.local_server import LocalServer
from prefect_videodb.tasks import check_usage
from tests.flows.conftest import KEY, deploy_to
from tests.support.faulty_proxy import FaultyProxy, Rule
from tests.support.prefect_server import is_final, read_flow_run
from tests.support.processes import wait_for
from tests.support.programs import running_worker

MOST_LINES = 40
WRONG_KEY = "sk-wrong-0123456789"
ROOM = {"source": "ue-room", "duration_minutes": 0.1}


@dataclass
class Case:
    """A run, and what its log must end with."""

    ends_with: str
    parameters: dict[str, Any] = field(default_factory=dict)
    flow_name: str = "record-meeting"


CASES = {
    "wrong key": Case(
        "check the API key of the VideoDBCredentials block 'ue-wrong'", {**ROOM, "credentials": "ue-wrong"}
    ),
    "no key": Case(
        "the VideoDBCredentials block 'ue-no-key' cannot be used: it has no API key",
        {**ROOM, "credentials": "ue-no-key"},
    ),
    "bad URL": Case(
        "check the base URL of the VideoDBCredentials block 'ue-other'", {**ROOM, "credentials": "ue-other"}
    ),
    "dead source": Case("source", {"source": "ue-dead", "duration_minutes": 0.05, "options": {"start_timeout_s": 5}}),
    "no credits": Case(
        "top up the credits of the VideoDBCredentials block 'ue-broke'", {**ROOM, "credentials": "ue-broke"}
    ),
    "unknown block": Case("did you mean `ue-room`?", {"source": "ue-rom"}),
    "wrong field": Case(
        "the rtstream-source block 'ue-misfit' cannot be used: `media_types.0`", {"source": "ue-misfit"}
    ),
    "unknown option": Case("did you mean `archive`?", {**ROOM, "options": {"archve": "default"}}),
    "deleted block": Case("the block that `source` refers to was deleted", {"source": {"$ref": str(uuid4())}}),
    "no such recording": Case("there is no flow run", {"flow_run_id": str(uuid4())}, "change-recording"),
    "no such archive": Case(
        "there is no videodb-recording-archive block", {"video_id": "m-1", "archive": "ue-nowhere"}, "archive-recording"
    ),
    "wrong key of a watch": Case(
        "check the API key of the VideoDBCredentials block 'ue-wrong'",
        {"rtstream_id": "rts-1", "watches": [{"label": "a", "prompt": "b"}], "credentials": "ue-wrong"},
        "watch-stream",
    ),
    "wrong key of a new watch": Case(
        "check the API key of the VideoDBCredentials block 'ue-wrong'",
        {"source": "ue-room", "watches": [{"label": "a", "prompt": "b"}], "credentials": "ue-wrong"},
        "watch-stream",
    ),
    "wrong key of the net": Case(
        "check the API key of the VideoDBCredentials block 'ue-wrong'",
        {"credentials": "ue-wrong"},
        "stop-orphaned-streams",
    ),
    "no notification": Case(
        "there is no block 'slack-webhook/nobody'",
        {"alert": {"label": "x"}, "notification_blocks": ["slack-webhook/nobody"]},
        "follow-up-alert",
    ),
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    with LocalServer(tmp_path_factory.mktemp("videodb"), api_key=KEY) as server:
        yield server


@pytest.fixture
def accounts(prefect_api: str, service: LocalServer) -> Iterator[None]:
    """Save the blocks of the cases: each but the first of an account has one thing wrong with it."""
    assert service.sample_url
    with FaultyProxy(service.base_url).running() as proxy:
        proxy.rules = [Rule("POST", r"/rtstream$", 402, times=100)]
        for name, key, url in (
            ("default", KEY, service.base_url),
            ("ue-wrong", WRONG_KEY, service.base_url),
            ("ue-no-key", None, service.base_url),
            ("ue-other", KEY, prefect_api),
            ("ue-broke", KEY, proxy.url),
        ):
            VideoDBCredentials(api_key=SecretStr(key) if key else None, base_url=url).save(name, overwrite=True)
        RTStreamSource(url=SecretStr(service.sample_url)).save("ue-room", overwrite=True)
        RTStreamSource(url=SecretStr("rtsp://127.0.0.1:9/none")).save("ue-dead", overwrite=True)
        AlertWebhook(base_url="https://hooks.example", token=SecretStr("x" * 20)).save("default", overwrite=True)
        misfit = RTStreamSource(url=SecretStr(service.sample_url)).save("ue-misfit", overwrite=True)
        spoil(cast("UUID", misfit), media_types=["vdeo"])
        yield


def spoil(document_id: UUID, **fields: Any) -> None:
    """Save what the block would refuse, as an older version of it may have."""
    with get_client(sync_client=True) as client:
        body = {"data": fields, "merge_existing_data": True}
        client.request("PATCH", "/block_documents/{id}", path_params={"id": document_id}, json=body).raise_for_status()


def log_of(run_id: UUID | None) -> list[str]:
    """Return the lines of a run's log, in order."""
    body = {"logs": {"flow_run_id": {"any_": [str(run_id)]}}, "limit": 200, "sort": "TIMESTAMP_ASC"}
    with get_client(sync_client=True) as client:
        messages = [line["message"] for line in client.request("POST", "/logs/filter", json=body).json()]
    return [line.replace("\\'", "'") for message in messages for line in message.splitlines()]


def is_logged(run_id: UUID) -> bool:
    # Where parameters are refused, Prefect logs no state.
    ends = ("Finished in state", "Validation of flow parameters failed", "Engine execution exited")
    return any(line.startswith(ends) for line in log_of(run_id))


def check(name: str, run: FlowRun) -> None:
    case, log = CASES[name], log_of(run.id)
    shown = "\n".join(log)
    assert run.state is not None
    assert run.state.is_failed(), (name, run.state)
    assert len(log) <= MOST_LINES, (name, shown)
    assert case.ends_with in log[-1], (name, shown)
    assert shown.count(case.ends_with) == 1 or name == "dead source", (name, shown)
    assert "Traceback" not in shown, (name, shown)
    assert "may still be running" not in shown, (name, shown)
    assert WRONG_KEY not in shown


@pytest.mark.parametrize("pool_type", ["process", "videodb-in-process"])
@pytest.mark.timeout(600)
def test_log_length_of_user_errors(accounts: None, tmp_path: Path, pool_type: str) -> None:
    assert accounts is None
    pool = f"ue-{pool_type}"
    deployments: dict[str, UUID] = {}
    ids: dict[str, UUID] = {}
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=pool, type=pool_type))
    for name in {case.flow_name for case in CASES.values()}:
        module = name.replace("-", "_")
        deployments[name] = deploy_to(pool, f"prefect_videodb.flows.{module}.{module}", name)
    # A process costs seconds: the flows that share everything but their parameters are tried in one worker's only.
    tried = [name for name, case in CASES.items() if pool_type != "process" or case.flow_name == "record-meeting"]
    with ExitStack() as stack, get_client(sync_client=True) as client:
        for name in tried:
            case = CASES[name]
            run = client.create_flow_run_from_deployment(deployments[case.flow_name], parameters=case.parameters)
            ids[name] = run.id
        stack.enter_context(running_worker(tmp_path, pool))
        wait_for("all have ended", lambda: all(is_final(read_flow_run(run_id)) for run_id in ids.values()), 500)
        for name, run_id in ids.items():
            wait_for(f"{name} is logged", partial(is_logged, run_id), 60)
        time.sleep(3)  # what Prefect logs after that would be the last line
    for name, run_id in ids.items():
        check(name, read_flow_run(run_id))


def test_error_class_for_the_caller(accounts: None) -> None:
    """Called as a function, the flow raises the error itself, of its own class."""
    assert accounts is None
    with pytest.raises(AuthenticationError, match="check the API key of the VideoDBCredentials block 'ue-wrong'"):
        record_meeting("ue-room", credentials="ue-wrong")
    with pytest.raises(ConfigurationError, match="did you mean `archive`"):
        record_meeting("ue-room", options={"archve": "default"})  # type: ignore[arg-type]


def test_log_of_a_plain_call(accounts: None) -> None:
    assert accounts is None
    state = record_meeting("ue-room", credentials="ue-wrong", return_state=True)
    run_id = state.state_details.flow_run_id
    assert run_id is not None
    wait_for("it is logged", lambda: is_logged(run_id))
    check("wrong key", read_flow_run(run_id))


def test_traceback_of_an_unforeseen_error(prefect_api: str, caplog: pytest.LogCaptureFixture) -> None:
    assert prefect_api

    @flow
    def broken() -> None:
        raise ZeroDivisionError

    broken(return_state=True)
    assert "Traceback" in caplog.text


def test_traceback_of_a_users_own_flow(accounts: None, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever writes a flow wants to know which line of it ran into the error."""
    assert accounts is None

    @flow
    def of_the_user() -> None:
        check_usage(VideoDBCredentials.load("ue-wrong"))  # type: ignore[arg-type]

    with pytest.raises(VideoDBError):
        of_the_user()
    assert Path(__file__).name in caplog.text
