"""What looks at and listens to a stream goes on after the server was killed, and says nothing twice."""

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from prefect_videodb.local_server import LocalServer
from prefect_videodb.local_server.speech import Sound, SpeechError, Utterance
from tests.local_server.test_command import run_server
from tests.support.processes import free_port
from tests.support.receiver import Receiver

WaitUntil = Callable[..., Any]


def scenes(api: Any, stream_id: str, index_id: str) -> list[dict[str, Any]]:
    """Return everything that an index says, in the order of time."""
    path = f"/rtstream/{stream_id}/index/scene/{index_id}"
    return list(reversed(api.data("GET", path, params={"page_size": 1000})["scene_index_records"]))


def test_a_kill_loses_no_window_and_no_sentence_that_was_recorded(
    data: Path, key: str, make_api: Any, wait_until: WaitUntil, receiver: Receiver
) -> None:
    # The sample's server dies with the process: the next one serves it elsewhere, so a server beside them serves it.
    with LocalServer(data / "sample", api_key=key) as sample:
        options = ("--key", key, "--no-sample", "--port", str(free_port()))
        with run_server(data / "videodb", *options) as running, make_api(running.base_url) as api:
            stream_id = api.connect(sample.sample_url, enable_transcript=True)
            seen, said = (
                api.data("POST", f"/rtstream/{stream_id}/index/scene", json=body)["rtstream_index_id"]
                for body in (
                    {"extraction_type": "time", "extraction_config": {"time": 2, "frame_count": 1}},
                    {
                        "extraction_type": "transcript",
                        "extraction_config": {"segmenter": "sentence", "segmentation_value": 1},
                    },
                )
            )
            event = {"event_prompt": "product", "label": "shown"}
            event_id = api.data("POST", "/rtstream/event", json=event)["event_id"]
            body = {"event_id": event_id, "callback_url": receiver.url}
            receiver.refusals = 1_000  # until the server is killed
            api.data("POST", f"/rtstream/{stream_id}/index/{seen}/alert", json=body)
            wait_until(lambda: receiver.paths and scenes(api, stream_id, said))
            running.process.kill()
            running.process.wait()
        receiver.refusals = 0
        killed_at = time.time()
        with run_server(data / "videodb", *options) as running, make_api(running.base_url) as api:
            told = receiver.take()
            assert told["label"] == "shown"
            wait_until(lambda: any(scene["start"] > killed_at + 4 for scene in scenes(api, stream_id, said)))
            api.stop(stream_id)
            transcript = api.data("GET", f"/rtstream/{stream_id}/transcription")["transcription_records"]
            for found in (scenes(api, stream_id, seen), scenes(api, stream_id, said), transcript):
                assert found[0]["start"] < killed_at < found[-1]["end"]
                for one, other in itertools.pairwise(found):
                    assert one["end"] <= other["start"] + 0.05
    # On a slow machine it may be shown once more; the first time is told once.
    others = [receiver.bodies.get() for _ in range(receiver.bodies.qsize())]
    assert all(other["start_time"] > told["end_time"] for other in others)


class Failing:
    """A recognizer that never works."""

    name = "failing"

    def transcribe(self, sound: Sound, *, on_progress: Callable[[float], None]) -> Iterator[Utterance]:
        assert sound
        assert on_progress
        raise SpeechError("no model on this machine")
        yield []


def test_a_recognizer_that_fails_says_so_where_it_is_asked_for(
    data: Path, key: str, make_api: Any, wait_until: WaitUntil
) -> None:
    with LocalServer(data, api_key=key, speech=Failing()) as server, make_api(server.base_url) as api:
        stream_id = api.connect(server.sample_url, enable_transcript=True)
        body = {"extraction_type": "transcript", "extraction_config": None}
        index_id = api.data("POST", f"/rtstream/{stream_id}/index/scene", json=body)["rtstream_index_id"]
        wait_until(lambda: api.data("GET", f"/rtstream/{stream_id}/transcription/status")["status"] == "failed")
        wait_until(lambda: api.data("GET", f"/rtstream/{stream_id}/index/{index_id}")["status"] == "failed")
        # The recording does not care.
        wait_until(lambda: api.recorded_s(stream_id, 1) > 2)
        api.stop(stream_id)


@pytest.mark.parametrize("stored", [True, False])
def test_a_stream_that_starts_again_is_looked_at_and_listened_to_again(
    server: LocalServer, api: Any, wait_until: WaitUntil, *, stored: bool
) -> None:
    stream_id = api.connect(server.sample_url, store=stored)
    bodies = (
        {"extraction_type": "time", "extraction_config": {"time": 1, "frame_count": 1}},
        {"extraction_type": "transcript", "extraction_config": {"segmenter": "word", "segmentation_value": 2}},
    )
    indexes = [
        api.data("POST", f"/rtstream/{stream_id}/index/scene", json=body)["rtstream_index_id"] for body in bodies
    ]
    wait_until(lambda: all(scenes(api, stream_id, index) for index in indexes))
    api.stop(stream_id)
    stopped_at = time.time()
    time.sleep(3)
    api.data("PATCH", f"/rtstream/{stream_id}/status", json={"action": "start"})
    started_at = time.time()
    wait_until(lambda: all(scenes(api, stream_id, index)[-1]["start"] > started_at for index in indexes))
    api.stop(stream_id)
    for index in indexes:
        assert not [s for s in scenes(api, stream_id, index) if stopped_at + 1 < s["start"] < started_at - 1]
