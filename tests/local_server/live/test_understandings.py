"""The newer API on streams: understandings and their indexes."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.receiver import Receiver

UNDERSTAND = {
    "segmentation": {"type": "time", "window": "2s"},
    "analyzers": [{"type": "vlm", "name": "slides", "sampling": {"frame_count": 1}, "config": {"prompt": "What?"}}],
}


def test_an_understanding_is_indexed_and_its_index_watched(
    api: Any, stream_id: str, receiver: Receiver, wait_until: Callable[..., Any]
) -> None:
    base = f"/rtstream/{stream_id}"
    began = time.time()
    understanding = api.data("POST", f"{base}/understand", json=UNDERSTAND)
    assert understanding["status"] == "running"
    und = understanding["understanding_id"]
    assert und.startswith("und-")

    def records(path: str, **parameters: Any) -> list[dict[str, Any]]:
        window = {"start": began - 60, "end": time.time() + 60}
        return list(api.data("GET", f"{base}/{path}/records", params={**window, **parameters})["records"])

    wait_until(lambda: records(f"understand/{und}", output="slides"))
    index = api.data("POST", f"{base}/indexes", json={"source": understanding["outputs"]["slides"], "name": "slides"})
    assert index["index_id"].startswith("idx-")
    assert index["source_understanding_id"] == und
    assert index["use_for"] == ["semantic"]
    # What was understood before the index was made is in it.
    assert records(f"indexes/{index['index_id']}")
    event_id = api.data("POST", "/rtstream/event", json={"event_prompt": "product meeting", "label": "x"})["event_id"]
    alerts = f"{base}/indexes/{index['index_id']}/alert"
    alert_id = api.data("POST", alerts, json={"event_id": event_id, "callback_url": receiver.url})["alert_id"]
    assert receiver.take()["event_id"] == f"event-{event_id}"
    assert api.data("GET", alerts)["alerts"][0]["alert_id"] == alert_id
    api.data("PATCH", f"{alerts}/{alert_id}/status", json={"action": "disable"})
    assert api.data("GET", alerts)["alerts"][0]["status"] == "disabled"
    for kind, identifier in (("understand", und), ("indexes", index["index_id"])):
        assert api.data("PATCH", f"{base}/{kind}/{identifier}/status", json={"action": "stop"})["status"] == "stopped"
        assert api.data("GET", f"{base}/{kind}/{identifier}")["status"] == "stopped"
    assert [item["understanding_id"] for item in api.data("GET", f"{base}/understand")["understandings"]] == [und]
    assert [item["index_id"] for item in api.data("GET", f"{base}/indexes")["indexes"]] == [index["index_id"]]


@pytest.mark.parametrize(
    "change",
    [
        {"analyzers": []},
        {"analyzers": [{"type": "asr"}]},
        {"segmentation": {"type": "time", "window": "soon"}},
        {"segmentation": {"type": "time", "window": "0s"}},
        {"segmentation": {"type": "shot"}},
    ],
)
def test_what_cannot_be_understood_is_refused(api: Any, stream_id: str, change: dict[str, Any]) -> None:
    assert api.refusal("POST", f"/rtstream/{stream_id}/understand", json=UNDERSTAND | change)[0] == 400


def test_what_is_not_there_is_not_found(api: Any, stream_id: str) -> None:
    assert api.refusal("GET", f"/rtstream/{stream_id}/understand/und-none")[0] == 404
    assert api.refusal("GET", f"/rtstream/{stream_id}/indexes/idx-none/records")[0] == 404
    source = {"understanding_id": "und-none", "output": "scene"}
    assert api.refusal("POST", f"/rtstream/{stream_id}/indexes", json={"source": source})[0] == 404
