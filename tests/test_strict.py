"""What a person mistypes is refused, with the nearest known name; what a service answers may grow."""

import logging
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.exceptions import ParameterTypeError
from pydantic import BaseModel, SecretStr, ValidationError

from prefect_videodb import flows
from prefect_videodb.blocks import AlertWebhook, RecordingArchive, RTStreamSource, VideoDBCredentials
from prefect_videodb.errors import ConfigurationError
from prefect_videodb.following.models import FollowUpOptions
from prefect_videodb.recording.models import RecordingOptions
from prefect_videodb.strict import StrictModel
from prefect_videodb.watching.models import Watch, WatchOptions
from prefect_videodb.webhooks.alert import Alert
from prefect_videodb.webhooks.rules import AlertRoute

DEPLOYMENTS = yaml.safe_load((Path(__file__).parent.parent / "prefect.yaml").read_text())["deployments"]
SOURCE = {"source": "room"}
WATCHES = {"source": "room", "watches": [{"label": "door", "prompt": "it is open"}]}


@pytest.mark.parametrize(
    ("model", "typed", "meant"),
    [
        (RecordingOptions, {"archve": "default"}, "archive"),
        (RecordingOptions, {"Archive": "default"}, "archive"),
        (RecordingOptions, {"archive ": "default"}, "archive"),
        (RecordingOptions, {"hits_per_qery": 3}, "hits_per_query"),
        (WatchOptions, {"reconnect_after": 3}, "reconnect_after_minutes"),
        (FollowUpOptions, {"pad_befor_s": 3}, "pad_before_s"),
        (Watch, {"label": "a", "prompt": "b", "rout": "c"}, "route"),
        (AlertRoute, {"cooldown": 5}, "cooldown_s"),
        (VideoDBCredentials, {"api_kye": "sk-hunter22"}, "api_key"),
        (RTStreamSource, {"url": "rtsp://camera.example/room", "nmae": "Room"}, "name"),
        (AlertWebhook, {"base_url": "https://x.example", "token": "x" * 20, "route": {}}, "routes"),
        (RecordingArchive, {"bucket": "recordings", "endpoint": "https://x.example"}, "endpoint_url"),
    ],
)
def test_unknown_field_suggestion(model: type[BaseModel], typed: dict[str, Any], meant: str) -> None:
    with pytest.raises(ValidationError, match=f"did you mean `{meant}`") as refusal:
        model(**typed)
    assert "hunter22" not in str(refusal.value)


def test_unknown_field_without_suggestion() -> None:
    with pytest.raises(ValidationError, match="there are `collection_id`"):
        RecordingOptions(zzz=1)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("flow", "parameters", "told"),
    [
        (
            flows.record_meeting,
            {**SOURCE, "options": {"archve": "x"}},
            "options: `archve` is not an option: did you mean",
        ),
        (flows.record_meeting, {**SOURCE, "options": {"score_threshold": float("nan")}}, "finite number"),
        (flows.record_meeting, {**SOURCE, "options": {"search_type": "semantc"}}, "'semantic' or 'keyword'"),
        (flows.record_meeting, {**SOURCE, "options": {"hits_per_query": None}}, "options.hits_per_query"),
        (flows.record_meeting, {**SOURCE, "options": None}, "options"),
        (flows.record_meeting, {**SOURCE, "duration_minutes": "soon"}, "duration_minutes"),
        (flows.watch_stream, {"source": "r", "watches": [{"lable": "a", "prompt": "b"}]}, "watches.0: `lable` is not"),
        (flows.watch_stream, {**WATCHES, "options": {"hold_proces": True}}, "did you mean `hold_process`"),
        (flows.follow_up_alert, {"alert": {}, "options": {"contxt": False}}, "did you mean `context`"),
    ],
)
def test_parameter_refusal(flow: Any, parameters: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        flow.validate_parameters(parameters)
    assert told in str(refusal.value)
    assert isinstance(refusal.value, ParameterTypeError)  # what Prefect raises, for whoever catches that
    assert "\n" not in str(refusal.value)


def test_refused_parameters_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Prefect would log all of them, and somebody may have put the fields of a block into one."""
    with caplog.at_level(logging.DEBUG), pytest.raises(ConfigurationError):
        flows.record_meeting.validate_parameters({**SOURCE, "credentials": {"api_key": "sk-hunter22"}})
    assert "hunter22" not in caplog.text


def test_additional_properties_of_a_deployment() -> None:
    """By these Prefect refuses a run with an unknown option before there is one."""
    strict = {model.__name__ for model in (RecordingOptions, WatchOptions, Watch, FollowUpOptions, AlertRoute)}
    for name in flows.__all__:
        for model, schema in getattr(flows, name).parameters.definitions.items():
            assert (schema.get("additionalProperties") is False) == (model in strict), (name, model)


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_parameters_in_prefect_yaml(deployment: dict[str, Any]) -> None:
    flow = getattr(flows, deployment["name"].replace("-", "_"))
    given = deployment.get("parameters", {})
    assert given.keys() <= flow.parameters.properties.keys()
    for name, model in (("options", None), ("watches", Watch)):
        for one in given.get(name, []):
            assert model is not None
            model(**one)


def test_alerts_stay_tolerant() -> None:
    assert Alert.model_validate({"label": "door", "not_known_yet": 1}).label == "door"
    assert not issubclass(Alert, StrictModel)


def test_a_block_survives_its_own_dump() -> None:
    block = RTStreamSource(url=SecretStr("rtsp://camera.example/room"), name="Room")
    assert RTStreamSource.model_validate(block.model_dump()).name == "Room"
