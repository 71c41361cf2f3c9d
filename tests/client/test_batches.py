"""A batch that the service refuses is refused before it is sent, with the reason."""

import math
from typing import Any

import pytest
from pydantic import ValidationError

from prefect_videodb.client import indexes
from prefect_videodb.client.batches import AudioBatch, VisualBatch, batch
from prefect_videodb.errors import ConfigurationError

NO_NUMBERS = [0, -1, -0.5, math.nan, math.inf, "10", True, None, [10]]


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
def test_a_batch_is_so_many_of_something(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="value"):
        batch(VisualBatch, {"type": "time", "value": value})
    with pytest.raises(ConfigurationError, match="value"):
        batch(AudioBatch, {"type": "time", "value": value})


@pytest.mark.parametrize("count", [0, -1, 1.5, "5", True])
def test_a_count_of_frames_is_a_whole_number(count: Any) -> None:
    with pytest.raises(ConfigurationError, match="frame_count"):
        batch(VisualBatch, {"value": 10, "frame_count": count})


@pytest.mark.parametrize("kind", ["shot", "word", "sentence", "", None])
def test_pictures_are_batched_by_time_only(kind: Any) -> None:
    with pytest.raises(ConfigurationError, match="by time only"):
        indexes.visuals("rts-1", batch_config={"type": kind, "value": 10, "frame_count": 1})


@pytest.mark.parametrize("kind", ["word", "sentence"])
def test_words_and_sentences_are_whole(kind: str) -> None:
    assert batch(AudioBatch, {"type": kind, "value": 5}).value == 5
    with pytest.raises(ConfigurationError, match="whole number"):
        indexes.audio("rts-1", batch_config={"type": kind, "value": 2.5})


def test_a_misspelt_key_is_not_taken_for_none() -> None:
    with pytest.raises(ConfigurationError, match="frames"):
        batch(VisualBatch, {"type": "time", "value": 10, "frames": 3})
    with pytest.raises(ConfigurationError):
        batch(AudioBatch, {"value": 3})


@pytest.mark.parametrize("given", [[], "time", 10])
def test_what_is_no_batch_is_refused_as_such(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="no batch"):
        batch(VisualBatch, given)


def test_a_number_is_sent_as_it_was_given() -> None:
    assert repr(indexes.visuals("r", batch_config={"value": 10}).json["extraction_config"]["time"]) == "10"
    assert repr(indexes.visuals("r", batch_config=VisualBatch(value=2.0)).json["extraction_config"]["time"]) == "2.0"


def test_a_batch_does_not_change() -> None:
    with pytest.raises(ValidationError):
        VisualBatch(value=1).value = 2  # type: ignore[misc]  # that it cannot be set is the point


@pytest.mark.parametrize(("start", "end"), [(1, None), (None, 1), (2, 1)])
def test_a_range_of_scenes_has_two_ends_in_order(start: float | None, end: float | None) -> None:
    with pytest.raises(ConfigurationError):
        indexes.scene_page("rts-1", "i", start=start, end=end)
