"""From search results to a clip."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from prefect_videodb.client.models import SearchResult
from prefect_videodb.recording.models import Hit
from prefect_videodb.recording.shots import as_shots, clip_parts, hits, in_order_of_time


def _hit(start_s: float, end_s: float, query: str = "q", score: float | None = 0.5) -> Hit:
    return Hit(query=query, start_s=start_s, end_s=end_s, text="said", score=score)


def _result(*docs: dict[str, object]) -> SearchResult:
    return SearchResult.model_validate({"results": [{"video_id": "m-1", "docs": list(docs)}]})


def test_a_hit_keeps_what_was_said_on_one_line_with_its_place_and_link() -> None:
    result = _result(
        {"start": "12.5", "end": 14, "text": " Alice  will\nsend it. ", "score": 0.8, "player_url": "http://p/w?v=1"}
    )
    [hit] = hits("action items", result)
    assert hit == Hit(
        query="action items",
        start_s=12.5,
        end_s=14.0,
        text="Alice will send it.",
        score=0.8,
        player_url="http://p/w?v=1",
    )


def test_a_hit_without_a_place_in_the_video_is_left_out() -> None:
    broken = [
        {"text": "x"},
        {"start": 1, "text": "x"},
        {"start": 3, "end": 3},
        {"start": 5, "end": 2},
        {"start": -5, "end": -1},
    ]
    assert hits("q", _result(*broken)) == []


def test_what_two_queries_found_stands_once_with_its_better_score() -> None:
    found = in_order_of_time([_hit(30, 32), _hit(10, 12, "a", 0.4), _hit(10, 12, "b", 0.9), _hit(10, 12, "c", None)])
    assert [(hit.start_s, hit.query, hit.score) for hit in found] == [(10, "b", 0.9), (30, "q", 0.5)]


def test_parts_are_padded_inside_the_video_and_merged_where_they_touch() -> None:
    found = [_hit(1, 3), _hit(5, 6), _hit(11, 12), _hit(20, 21), _hit(58, 59.5)]
    parts = clip_parts(found, pad_before_s=1.5, pad_after_s=3.0, video_length_s=60.0)
    assert [(part.start_s, part.end_s) for part in parts] == [(0.0, 15.0), (18.5, 24.0), (56.5, 60.0)]


def test_a_hit_behind_the_end_of_the_video_makes_no_part() -> None:
    assert clip_parts([_hit(70, 75)], pad_before_s=1.0, pad_after_s=1.0, video_length_s=60.0) == []


@given(
    st.lists(st.tuples(st.floats(0, 500), st.floats(0.01, 30)), max_size=30),
    st.floats(0, 60),
    st.floats(0, 60),
    st.floats(1, 400),
)
def test_a_clip_plays_nothing_twice_in_order_and_inside_the_video(
    places: list[tuple[float, float]], before_s: float, after_s: float, length_s: float
) -> None:
    found = [_hit(start, start + length) for start, length in places]
    parts = clip_parts(found, pad_before_s=before_s, pad_after_s=after_s, video_length_s=length_s)
    for part in parts:
        assert 0 <= part.start_s < part.end_s <= length_s + 0.001
    for earlier, later in pairwise(parts):
        assert earlier.end_s < later.start_s
    for hit in found:  # every hit of which a moment is inside the video is in the clip
        if hit.start_s < length_s - 0.11 and hit.end_s - hit.start_s > 0.11:
            assert any(part.start_s - 0.001 <= hit.start_s <= part.end_s for part in parts)


def test_parts_become_shots_of_their_video() -> None:
    parts = clip_parts([_hit(1, 2)], pad_before_s=0, pad_after_s=0, video_length_s=None)
    [shot] = as_shots(parts, video_id="m-1", collection_id="c-1")
    assert (shot.video_id, shot.collection_id, shot.start, shot.end) == ("m-1", "c-1", 1.0, 2.0)
