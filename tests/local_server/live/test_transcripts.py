"""The transcript of a live stream."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from prefect_videodb.local_server import LocalServer

WaitUntil = Callable[..., Any]


def records(api: Any, stream_id: str, **parameters: Any) -> dict[str, Any]:
    return dict(api.data("GET", f"/rtstream/{stream_id}/transcription", params=parameters))


def test_what_is_said_is_written_down_with_the_time_of_every_word(
    api: Any, stream_id: str, wait_until: WaitUntil
) -> None:
    assert api.data("GET", f"/rtstream/{stream_id}/transcription/status")["status"] == "not_configured"
    began = time.time()
    assert api.data("POST", f"/rtstream/{stream_id}/transcription", json={"action": "start"})["status"] == "running"
    wait_until(lambda: records(api, stream_id)["total_count"] >= 3)
    page = records(api, stream_id)
    assert page["page"] == 1
    for record in page["transcription_records"]:
        assert began - 5 < record["start"] < record["end"] < time.time()
        words = record["word_timestamps"]
        assert " ".join(word["text"] for word in words) == record["text"]
        assert words[0]["start"] == record["start"]
        assert words[-1]["end"] == record["end"]
    starts = [record["start"] for record in page["transcription_records"]]
    assert starts == sorted(starts)
    assert api.data("POST", f"/rtstream/{stream_id}/transcription", json={"action": "stop"})["status"] == "stopped"
    kept = records(api, stream_id, page_size=1000)
    first, second = kept["transcription_records"][:2]
    assert records(api, stream_id, page=2, page_size=1)["transcription_records"] == [second]
    assert records(api, stream_id, page=1, page_size=1)["next_page"] is True
    assert records(api, stream_id, start=first["start"], end=first["end"])["transcription_records"] == [first]
    since = records(api, stream_id, since=first["end"])["transcription_records"]
    assert since == kept["transcription_records"][1:]


def test_a_stream_can_be_connected_with_its_transcript(api: Any, server: LocalServer, wait_until: WaitUntil) -> None:
    stream_id = api.connect(server.sample_url, enable_transcript=True)
    wait_until(lambda: records(api, stream_id)["total_count"])
    api.stop(stream_id)
    pictures = {"url": server.sample_url, "name": "x", "media_types": ["video"], "enable_transcript": True}
    silent_id = api.data("POST", "/rtstream", json=pictures)["id"]  # as in the vendor's reference
    assert api.data("GET", f"/rtstream/{silent_id}/transcription/status")["status"] == "not_configured"
    api.stop(silent_id)


def test_what_was_said_before_the_stop_is_still_understood(
    api: Any, server: LocalServer, wait_until: WaitUntil
) -> None:
    stream_id = api.connect(server.sample_url, enable_transcript=True)
    since = time.time()
    wait_until(lambda: api.recorded_s(stream_id, since) > 8)
    api.stop(stream_id)
    stopped = time.time()

    def heard_to_the_end() -> bool:
        found = records(api, stream_id)["transcription_records"]
        # Nobody in the sample pauses for longer than a few seconds.
        return bool(found) and found[-1]["end"] > stopped - 6

    wait_until(heard_to_the_end)


def test_a_silent_stream_has_no_transcript_to_start(api: Any, server: LocalServer) -> None:
    stream_id = api.connect(server.sample_url, media_types=["video"])
    body = {"action": "start"}
    assert "without audio" in api.refusal("POST", f"/rtstream/{stream_id}/transcription", json=body)[1]
    api.stop(stream_id)


@pytest.mark.parametrize("action", ["", "pause", None])
def test_an_action_that_is_none_is_refused(api: Any, stream_id: str, action: str | None) -> None:
    assert api.refusal("POST", f"/rtstream/{stream_id}/transcription", json={"action": action})[0] == 400
