"""Segments, the windows they are looked up by, and the playlists they are played from."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_videodb.local_server.media.segments import Listing, Segment, playlist, window


def segment(start: float, duration_s: float = 2.0, run: int = 0) -> Segment:
    return Segment(Path(f"{start}.ts"), start, duration_s, run, has_video=True, has_audio=True)


def name(of: Segment) -> str:
    return of.path.name


THREE = [segment(100.0), segment(102.0), segment(104.0)]


def test_a_segment_ends_where_its_last_frame_does() -> None:
    assert segment(100.0, 1.5).wall_end == 101.5


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (100.0, 106.0, [100.0, 102.0, 104.0]),
        (102.0, 104.0, [102.0]),
        (101.999, 104.001, [100.0, 102.0, 104.0]),
        (102.5, 103.0, [102.0]),
        (106.0, 200.0, []),
        (0.0, 100.0, []),
        (103.0, 103.0, [102.0]),
        (104.0, 103.0, []),
        (float("-inf"), float("inf"), [100.0, 102.0, 104.0]),
    ],
)
def test_a_window_holds_the_segments_that_overlap_it(start: float, end: float, expected: list[float]) -> None:
    assert [found.wall_start for found in window(THREE, start, end)] == expected


@given(st.floats(90, 120), st.floats(0.001, 20))
def test_windows_side_by_side_miss_nothing(start: float, length: float) -> None:
    whole = window(THREE, start, start + 2 * length)
    halves = [*window(THREE, start, start + length), *window(THREE, start + length, start + 2 * length)]
    assert set(whole) == set(halves)


def test_a_finished_playlist_says_all_a_player_needs() -> None:
    assert playlist([segment(1_700_000_000.5, 1.98), segment(1_700_000_002.48)], name).splitlines() == [
        "#EXTM3U",
        "#EXT-X-VERSION:3",
        "#EXT-X-TARGETDURATION:2",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        "#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:20.500Z",
        "#EXTINF:1.980000,",
        "1700000000.5.ts",
        "#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:22.480Z",
        "#EXTINF:2.000000,",
        "1700000002.48.ts",
        "#EXT-X-ENDLIST",
    ]


def test_a_growing_playlist_has_no_end() -> None:
    text = playlist(Listing(THREE, "EVENT", ended=False), name)
    assert "#EXT-X-PLAYLIST-TYPE:EVENT" in text
    assert "#EXT-X-ENDLIST" not in text


def test_a_new_run_is_announced_to_the_player_and_the_first_is_not() -> None:
    lines = playlist([segment(1, run=3), segment(3, run=3), segment(9, run=4)], name).splitlines()
    assert lines.count("#EXT-X-DISCONTINUITY") == 1
    assert lines[lines.index("#EXT-X-DISCONTINUITY") + 3] == "9.ts"


def test_an_empty_recording_has_a_playlist_too() -> None:
    text = playlist([], name)
    assert text.startswith("#EXTM3U\n")
    assert "#EXT-X-TARGETDURATION:1\n" in text


@given(st.lists(st.floats(0.01, 30), min_size=1, max_size=20))
def test_no_segment_is_longer_than_the_target_of_its_playlist(durations: list[float]) -> None:
    text = playlist([segment(1000.0 + i * 50, duration) for i, duration in enumerate(durations)], name)
    target = next(int(line.partition(":")[2]) for line in text.splitlines() if "TARGETDURATION" in line)
    assert all(round(duration) <= target for duration in durations)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_a_player_is_told_of_every_change_of_run(runs: list[int]) -> None:
    text = playlist([segment(10.0 * i, run=run) for i, run in enumerate(runs)], name)
    assert text.count("#EXT-X-DISCONTINUITY\n") == sum(before != after for before, after in pairwise(runs))


@pytest.mark.parametrize("uri", ["", "a\nb.ts", "a\r#EXT-X-KEY:METHOD=NONE", "#EXT-X-ENDLIST", "a\u2028b"])
def test_a_name_cannot_write_lines_into_the_playlist(uri: str) -> None:
    with pytest.raises(ValueError, match="one line"):
        playlist(THREE, lambda _: uri)
