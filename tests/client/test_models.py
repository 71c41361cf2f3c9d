"""What the service answers is read whatever it is, as long as the id is there; and is kept as it came."""

import copy
import inspect
import json
import math
import pickle
import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from prefect_videodb.client import models
from prefect_videodb.client.models import (
    Alert,
    AskResponse,
    CaptureSession,
    Collection,
    Event,
    Export,
    Meeting,
    Model,
    RTStream,
    RTStreamIndex,
    RTStreamPage,
    RTStreamSceneIndex,
    RTStreamUnderstanding,
    SearchResponse,
    SearchResult,
    Shot,
    Video,
)
from prefect_videodb.client.models.reading import knowing

EVERY_MODEL: list[type[Model]] = [
    value
    for value in vars(models).values()
    if inspect.isclass(value) and issubclass(value, Model) and value is not Model
]
# Which name of its id counts first.
IDS = {
    Alert: "alert_id",
    CaptureSession: "session_id",
    Collection: "id",
    Event: "event_id",
    Export: "video_id",
    Meeting: "meeting_id",
    RTStream: "id",
    RTStreamIndex: "index_id",
    RTStreamSceneIndex: "rtstream_index_id",
    RTStreamUnderstanding: "understanding_id",
    Video: "id",
}

offsets = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
iso_times = st.datetimes(timezones=st.none() | offsets | st.just(UTC)).map(datetime.isoformat)
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**300, max_value=10**310)
    | st.floats()
    | st.text(max_size=20)
    | iso_times
    | st.floats().map(lambda number: f"{number:.3f}s")
    | st.integers().map(str)
    | st.sampled_from(["12.500s", " 1 s ", "1e999", "nan", "inf", "-0", "0x10", "P1D", "12:30", "", "9" * 5000])
)
anything = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)
# One that would break a line is refused: ids stand in log lines and names as they are.
ids = st.text(min_size=1, max_size=40).filter(str.isprintable) | st.integers() | st.floats(allow_nan=False)


def _names(model: type[Model]) -> set[str]:
    """Every name under which the model reads a key."""
    names = set(model.model_fields)
    for field in model.model_fields.values():
        choices = getattr(field.validation_alias, "choices", [])
        names |= {choice for choice in choices if isinstance(choice, str)}
    return names


@st.composite
def answers(draw: st.DrawFn, model: type[Model]) -> dict[str, Any]:
    """An answer for a model: its id, some of its keys, some others, and in each whatever comes."""
    keys = draw(st.sets(st.sampled_from(sorted(_names(model))) | st.text(max_size=10)))
    answer = {key: draw(anything) for key in keys}
    if model in IDS:
        answer[IDS[model]] = draw(ids)
    return answer


def test_every_model_that_needs_an_id_is_known_here() -> None:
    needing = {
        model: _first_name(field, name)
        for model in EVERY_MODEL
        for name, field in model.model_fields.items()
        if field.is_required()
    }

    assert needing == IDS
    assert len(EVERY_MODEL) >= 35


def _first_name(field: FieldInfo, name: str) -> str:
    choices = getattr(field.validation_alias, "choices", [name])
    return str(choices[0])


def _id(read: Model) -> str:
    """Give the one value that the model needs."""
    (value,) = (getattr(read, name) for name, field in type(read).model_fields.items() if field.is_required())
    return str(value)


@pytest.mark.parametrize("model", EVERY_MODEL)
@given(data=st.data())
@settings(max_examples=25)  # of each of so many models
def test_no_answer_makes_reading_fail_as_long_as_the_id_is_there(model: type[Model], data: st.DataObject) -> None:
    answer = data.draw(answers(model))
    before = copy.deepcopy(answer)

    read = model.model_validate(answer)

    assert read.raw is answer
    assert repr(answer) == repr(before)  # as text: a NaN is not equal to itself
    if model in IDS:
        assert _id(read) == str(answer[IDS[model]])
    for name in model.model_fields:
        value = getattr(read, name)
        assert not isinstance(value, float) or math.isfinite(value)
    again = pickle.loads(pickle.dumps(read))  # noqa: S301 - our own bytes
    assert again.raw is None  # the whole answer may hold a secret, and a result that is stored does not
    read.model_dump()
    repr(read)


@pytest.mark.parametrize("model", EVERY_MODEL)
@pytest.mark.parametrize("answer", [None, [], "text", 42, True, [{"id": "x"}]], ids=repr)
def test_what_is_no_object_is_not_read_as_one(model: type[Model], answer: Any) -> None:
    with pytest.raises(ValidationError):
        model.model_validate(answer)


@pytest.mark.parametrize("model", IDS)
@pytest.mark.parametrize("bad", [None, "", [], {}, True, ["x"], {"id": "x"}], ids=repr)
def test_an_answer_without_a_usable_id_is_not_read(model: type[Model], bad: Any) -> None:
    for answer in ({}, {IDS[model]: bad}):
        with pytest.raises(ValidationError):
            model.model_validate(answer)


@given(moment=st.datetimes(min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 29), timezones=offsets))  # noqa: DTZ001 - hypothesis wants naive bounds
def test_an_iso_time_of_any_offset_is_read_as_unix_seconds(moment: datetime) -> None:
    shot = Shot.model_validate({"start": moment.isoformat()})

    assert shot.start is not None
    assert math.isclose(shot.start, (moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds(), abs_tol=1e-3)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (12, 12.0),
        (12.5, 12.5),
        ("12", 12.0),
        ("12.5", 12.5),
        ("12.500s", 12.5),
        (" 12.5 s ", 12.5),
        ("-3.25s", -3.25),
        ("+3s", 3.0),
        ("1e3", 1000.0),
        ("0", 0.0),
        (0, 0.0),
        ("1970-01-01T00:01:00+00:00", 60.0),
        ("1970-01-01T05:31:00+05:30", 60.0),
        ("1970-01-01T00:01:00Z", 60.0),
        ("1970-01-01T00:01:00", 60.0),
        ("1970-01-01 00:01:00", 60.0),
        ("2025-05-29T05:06:36.612197+05:30", 1748475396.612197),
        ("", None),
        ("soon", None),
        ("12.5 minutes", None),
        ("nan", None),
        ("inf", None),
        (math.inf, None),
        (math.nan, None),
        (True, None),
        (None, None),
        ([1], None),
        ({"s": 1}, None),
    ],
    ids=repr,
)
def test_seconds_come_in_many_forms(value: Any, seconds: float | None) -> None:
    for model, name in ((Shot, "start"), (Video, "length"), (Export, "duration")):
        read = model.model_validate({"id": "x", "video_id": "x", name: value})
        assert getattr(read, name) == seconds


def test_a_time_without_offset_is_utc_wherever_the_machine_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "Asia/Kolkata")
        time.tzset()
        start = Shot.model_validate({"start": "1970-01-01T00:01:00"}).start
    time.tzset()

    assert start == 60.0


@pytest.mark.parametrize(("value", "count"), [(3, 3), ("3", 3), (3.0, 3), (3.5, None), (True, None), ("x", None)])
def test_a_count_is_a_whole_number_or_unknown(value: Any, count: int | None) -> None:
    assert RTStreamPage.model_validate({"count": value}).count == count


BROKEN = [None, 1, "x", [], {}, {"id": None}, {"id": ""}, {"id": []}, {"id": {}}, {"id": True}, {"name": "no id"}]


@given(places=st.lists(st.integers(0, 20), min_size=len(BROKEN), max_size=len(BROKEN)))
def test_broken_entries_do_not_hide_the_good_ones(places: list[int]) -> None:
    good = [{"id": f"x-{number}", "count": "?"} for number in range(5)]
    mixed: list[Any] = list(good)
    for place, broken in zip(places, BROKEN, strict=True):
        mixed.insert(place, broken)

    page = RTStreamPage.model_validate({"results": mixed})
    collections = models.Collections.model_validate({"collections": mixed})

    assert [stream.id for stream in page.results] == [entry["id"] for entry in good]
    assert [collection.id for collection in collections.collections] == [entry["id"] for entry in good]
    assert [stream.raw for stream in page.results] == good
    assert page.raw == {"results": mixed}


@pytest.mark.parametrize("broken", [None, 1, "x", {}, True])
def test_a_list_that_is_none_is_empty(broken: Any) -> None:
    assert RTStreamPage.model_validate({"results": broken}).results == []
    assert SearchResult.model_validate({"results": broken}).shots == []
    assert SearchResult.model_validate({"results": [{"video_id": "m-1", "docs": broken}]}).shots == []
    assert models.Transcript.model_validate({"word_timestamps": broken}).segments == []
    assert RTStream.model_validate({"id": "x", "media_types": broken}).media_types == []


@pytest.mark.parametrize(
    ("answer", "stream_id"),
    [
        ({"id": "rts-1"}, "rts-1"),
        ({"rtstream_id": "rts-1"}, "rts-1"),
        ({"id": None, "rtstream_id": "rts-1"}, "rts-1"),
        ({"id": "rts-1", "rtstream_id": "other"}, "rts-1"),
        ({"id": 7}, "7"),
    ],
)
def test_of_two_names_for_one_thing_the_one_that_says_something_counts(answer: dict[str, Any], stream_id: str) -> None:
    assert RTStream.model_validate(answer).id == stream_id


def test_a_hit_knows_the_video_it_belongs_to_and_keeps_its_own_raw_answer() -> None:
    doc = {"start": "1.5", "end": 4, "text": "hello", "score": "0.5", "stream_link": None, "stream_url": "u", "new": 1}
    answer = {"results": [{"video_id": "m-1", "collection_id": "c-1", "title": "T", "length": "9.5", "docs": [doc, 7]}]}

    (shot,) = SearchResult.model_validate(answer).shots

    assert (shot.video_id, shot.collection_id, shot.video_title, shot.video_length) == ("m-1", "c-1", "T", 9.5)
    assert (shot.start, shot.end, shot.text, shot.score, shot.stream_url) == (1.5, 4.0, "hello", 0.5, "u")
    assert shot.raw == doc
    assert shot.model_extra == {"new": 1}


@pytest.mark.parametrize("model", EVERY_MODEL)
def test_a_model_written_as_json_is_read_again_as_itself(model: type[Model]) -> None:
    answer = {IDS[model]: "x-1"} if model in IDS else {}
    first = model.model_validate(answer | {"extra": [1, "two"]})

    again = model.model_validate(json.loads(first.model_dump_json()))

    assert again.model_dump() == first.model_dump()


HIDDEN = {
    Alert: ["callback_url"],
    CaptureSession: ["callback_url"],
    Meeting: ["meeting_url", "callback_url"],
    RTStream: ["url"],
    models.ClientToken: ["token"],
    models.WebSocketAddress: ["url"],
}


@pytest.mark.parametrize(("model", "names"), HIDDEN.items())
def test_what_may_be_a_secret_is_shown_to_code_that_asks_and_to_nobody_else(
    model: type[Model], names: list[str]
) -> None:
    secret = "https://me/hook/s3cr3t-t0ken"
    read = model.model_validate({IDS.get(model, "x"): "x-1"} | dict.fromkeys(names, secret))

    for name in names:
        assert getattr(read, name).get_secret_value() == secret
    for shown in (repr(read), str(read), f"{read}", repr(read.model_dump()), read.model_dump_json(), repr([read])):
        assert "s3cr3t" not in shown


def test_every_field_that_is_named_like_a_secret_is_hidden() -> None:
    named = {
        (model, name)
        for model in EVERY_MODEL
        for name in model.model_fields
        if name in {"url", "callback_url", "meeting_url", "token"} and model is not models.Image
    }

    assert named == {(model, name) for model, names in HIDDEN.items() for name in names}


def test_what_is_sent_back_with_a_meetings_callback_is_not_shown() -> None:
    meeting = Meeting.model_validate({"bot_id": "b-1", "callback_data": {"token": "s3cr3t"}})

    assert meeting.callback_data == {"token": "s3cr3t"}
    assert "s3cr3t" not in repr(meeting) + repr(meeting.model_dump()) + meeting.model_dump_json()


def test_what_the_caller_knows_is_added_to_what_came_and_not_to_raw() -> None:
    read = knowing(Meeting, meeting_id="b-1", collection_id="c-1")

    meeting = read({"status": "done", "meeting_id": None})

    assert (meeting.id, meeting.collection_id, meeting.status) == ("b-1", "c-1", "done")
    assert meeting.raw == {"status": "done", "meeting_id": None}
    with pytest.raises(ValidationError):
        read([])


@pytest.mark.parametrize("more", [True, 1, "true", "True", "abc", 2])
def test_a_next_page_is_there_however_it_is_said(more: Any) -> None:
    assert models.ScenePage.model_validate({"next_page": more}).next_page


@pytest.mark.parametrize("none", [False, None, 0, "", "false", "None", [], {}])
def test_no_next_page_is_none_however_it_is_said(none: Any) -> None:
    assert not models.ScenePage.model_validate({"next_page": none}).next_page


@pytest.mark.parametrize("category", ["mic", "Mic", "MIC"])
def test_a_stream_of_a_session_is_picked_by_its_channel(category: str) -> None:
    streams = [
        {"rtstream_id": "rts-1", "channel_id": "mic"},
        {"id": "rts-2", "channel_id": "SCREEN"},
        {"id": "rts-3", "channel_id": "Mic"},
        {"id": "rts-4"},
    ]
    session = CaptureSession.model_validate({"session_id": "cap-1", "rtstreams": streams})

    assert [stream.id for stream in session.get_rtstream(category)] == ["rts-1", "rts-3"]
    assert [stream.id for stream in session.get_rtstream("screen")] == ["rts-2"]
    assert session.get_rtstream("system_audio") == []


def test_a_search_response_has_shots_only_where_they_are_hits() -> None:
    results = [{"video_id": "m-1", "docs": [{"start": 1, "end": 2}]}]

    hits = SearchResponse.model_validate({"response_type": "shots", "results": results})
    counts = SearchResponse.model_validate({"response_type": "aggregate", "results": {"cars": 3}})
    asked = AskResponse.model_validate({"answer": "Yes.", "sources": results})

    assert [(shot.video_id, shot.start) for shot in hits.shots] == [("m-1", 1.0)]
    assert (counts.shots, counts.results) == ([], {"cars": 3})
    assert [shot.video_id for shot in asked.shots] == ["m-1"]
