"""The artifact that a person reads."""

from datetime import UTC, datetime
from typing import Any

from prefect_videodb.recording.models import Hit, Links, MeetingRecording, Span, Window
from prefect_videodb.recording.report import markdown


def _recording(**more: Any) -> MeetingRecording:
    values: dict[str, Any] = {
        "name": "Stand-up | <b>",
        "rtstream_id": "rts-1",
        "video_id": "m-1",
        "window": Window(start=datetime(2026, 11, 23, 9, 0, tzinfo=UTC), end=datetime(2026, 11, 23, 9, 30, tzinfo=UTC)),
        "playback": Links(player_url="http://h/watch?v=window"),
        "video": Links(player_url="http://h/watch?v=video"),
        "video_length_s": 1801.0,
        "steps_s": {"connect": 1.25, "record": 1800.0},
    }
    return MeetingRecording(**(values | more))


def test_the_report_shows_links_hits_with_time_codes_the_clip_and_what_was_spent() -> None:
    shown = markdown(
        _recording(
            spoken_words="indexed",
            hits=[
                Hit(
                    query="action items",
                    start_s=65,
                    end_s=70,
                    text="Alice | sends it",
                    score=0.876,
                    player_url="http://h/watch?v=hit",
                )
            ],
            clip=Links(player_url="http://h/watch?v=clip"),
            clip_parts=[Span(start_s=63.5, end_s=73)],
        )
    )
    assert shown.startswith("# Stand-up \\| &lt;b&gt;\n")
    assert "2026-11-23 09:00:00 UTC to 2026-11-23 09:30:00 UTC, 30:01 long." in shown
    assert "[▶ Play the recording](<http://h/watch?v=video>)" in shown
    assert "[▶ Play the clip of the hits](<http://h/watch?v=clip>)" in shown
    assert "- [1:05](<http://h/watch?v=hit>) Alice \\| sends it (action items, 0.88)" in shown
    assert "The clip is 0:09 long: 1:03 to 1:13." in shown
    assert "| connect | 1.2 s |" in shown


def test_silence_no_hit_and_no_query_are_told_apart() -> None:
    assert "Nobody spoke" in markdown(_recording(spoken_words="none"))
    assert "None of the queries found anything" in markdown(_recording(spoken_words="indexed"))
    assert "Nothing was searched" in markdown(_recording())


def test_an_early_end_is_said() -> None:
    assert "ended early" in markdown(_recording(ended_early=True))
    assert "ended early" not in markdown(_recording())


def test_what_the_video_lacks_and_where_it_is_is_said() -> None:
    shown = markdown(_recording(missing_s=95.0, earlier_video_ids=["m-0"]))
    assert "1:35 of the window are not in the video" in shown
    assert "An earlier part is the video m-0" in shown
    assert "not in the video" not in markdown(_recording())


def test_late_beginning_and_late_stop_are_said() -> None:
    lost = Window(start=datetime(2026, 11, 23, 9, 0, tzinfo=UTC), end=datetime(2026, 11, 23, 9, 12, tzinfo=UTC))
    shown = markdown(_recording(missing_s=720.0, missing=[lost], overrun_s=600.0, video_length_s=1680.0))
    assert "Not recorded: 2026-11-23 09:00:00 UTC to 2026-11-23 09:12:00 UTC" in shown
    assert "**12:00 of the window are not in the video**: it began late." in shown
    assert "**The video goes on for 10:00 after the planned end**: it was stopped late." in shown


def test_a_hostile_id_stays_text() -> None:
    assert "<img" not in markdown(_recording(video_id="`\n<img src=x>", rtstream_id="<script>"))


def test_report_of_sound_alone() -> None:
    shown = markdown(
        _recording(media="audio", video_id="a-1", video=Links(stream_url="http://h/audio.m3u8"), video_length_s=None)
    )
    assert "[▶ Play the recording](<http://h/audio.m3u8>)" in shown
    assert "Sound alone a-1" in shown
    assert "only sound was recorded" in shown
    assert "09:30:00 UTC.\n" in shown  # how long it is, nobody has told


def test_report_in_the_time_zone_of_the_schedule() -> None:
    gap = Window(start=datetime(2026, 11, 23, 9, 5, tzinfo=UTC), end=datetime(2026, 11, 23, 9, 6, tzinfo=UTC))
    shown = markdown(_recording(time_zone="Europe/Berlin", missing=[gap]))
    assert "Recorded from 2026-11-23 10:00:00 Europe/Berlin (UTC+01:00) to 2026-11-23 10:30:00 Europe/Berlin" in shown
    assert "Not recorded: 2026-11-23 10:05:00 Europe/Berlin (UTC+01:00) to 2026-11-23 10:06:00 Europe/Berlin" in shown
    assert "2026-11-23 09:00:00 UTC" in markdown(_recording(time_zone="Europe/Nowhere"))
