"""The vendor's own SDK, unmodified, in both versions, runs the whole workflow against the local server."""

import json
import re
import time
from collections.abc import Iterator

import httpx
import pytest

from prefect_videodb.local_server import LocalServer
from prefect_videodb.local_server.media.sample import sample_meeting
from tests.support.sdk import VERSIONS, Sdk, SdkError

KEY = "sk-workflow"

CONNECT = """
stream = conn.get_collection().connect_rtstream(
    url=args["url"], name="Workflow", media_types=["audio", "video"], store=True
)
result = stream.id
"""

STOP_AND_PLAY = """
import time
stream = conn.get_collection().get_rtstream(args["id"])
stream.stop()
player_url = stream.generate_stream(start=args["start"], end=int(time.time()))
result = {"player_url": player_url, "stream_url": stream.stream_url, "embed": stream.get_embed_code()}
"""

EXPORT = """
exported = conn.get_collection().get_rtstream(args["id"]).export(name="The meeting")
again = conn.get_collection().get_rtstream(args["id"]).export(name="The meeting")
video = conn.get_collection().get_video(exported.video_id)
result = {
    "video_id": exported.video_id, "again": again.video_id, "name": video.name, "length": video.length,
    "player_url": video.player_url,
}
"""

SEARCH = """
video = conn.get_collection().get_video(args["video_id"])
video.index_spoken_words()
found = video.search("action items", search_type="semantic")
result = {
    "shots": [[shot.start, shot.end, shot.text, shot.search_score] for shot in found.get_shots()],
    "clip": found.compile(), "player_url": found.player_url, "transcript": video.get_transcript_text(),
}
"""

NOTHING = """
conn.get_collection().get_video(args["video_id"]).search("zebra crossing giraffe", search_type="keyword")
"""


@pytest.fixture(scope="module")
def videodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    with LocalServer(tmp_path_factory.mktemp("videodb"), api_key=KEY) as server:
        yield server


@pytest.fixture(scope="module", params=VERSIONS)
def sdk(request: pytest.FixtureRequest) -> Iterator[Sdk]:
    with Sdk(request.param) as running:
        yield running


def _is_an_action_item(heard: str) -> bool:
    """Tell whether most of the words of one of the sample's action items were heard."""
    words = set(re.findall(r"[a-z]+", heard.lower()))
    sentences = json.loads(sample_meeting().with_suffix(".json").read_text(encoding="utf-8"))["sentences"]
    items = [set(re.findall(r"[a-z]+", said["text"].lower())) for said in sentences if said["action_item"]]
    return any(len(words & item) >= 0.6 * len(item) for item in items)


def test_connect_record_stop_play_export_index_search_and_compile(sdk: Sdk, videodb: LocalServer) -> None:
    server = {"base_url": videodb.base_url, "api_key": KEY}
    start = int(time.time())
    stream_id = sdk.run(CONNECT, **server, url=videodb.sample_url)
    time.sleep(32)  # any half minute of the sample meeting holds an action item

    played = sdk.run(STOP_AND_PLAY, **server, id=stream_id, start=start)
    assert f"/manifests/{stream_id}/" in played["stream_url"]
    assert "/embed?v=" in played["embed"]
    assert httpx.get(played["player_url"]).is_success
    assert httpx.get(played["stream_url"]).text.startswith("#EXTM3U")

    exported = sdk.run(EXPORT, **server, id=stream_id)
    assert exported["video_id"] == exported["again"]
    assert exported["name"] == "The meeting"
    assert exported["length"] > 25

    searched = sdk.run(SEARCH, **server, video_id=exported["video_id"])
    assert searched["shots"], searched["transcript"]
    scores = [score for *_, score in searched["shots"]]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= start < end <= exported["length"] + 1 for start, end, *_ in searched["shots"])
    found = [text for _, _, text, _ in searched["shots"]]
    assert any(map(_is_an_action_item, found)), found
    assert httpx.get(searched["clip"]).text.startswith("#EXTM3U")
    assert httpx.get(searched["player_url"]).is_success

    with pytest.raises(SdkError, match="No results found") as nothing:
        sdk.run(NOTHING, **server, video_id=exported["video_id"])
    assert nothing.value.kind == "InvalidRequestError"


def test_a_wrong_key_and_an_unknown_stream_are_refused_as_the_sdk_expects(sdk: Sdk, videodb: LocalServer) -> None:
    with pytest.raises(SdkError) as refused:
        sdk.run("conn.get_collection()", base_url=videodb.base_url, api_key="sk-wrong")
    assert refused.value.kind == "AuthenticationError"
    with pytest.raises(SdkError, match="Invalid request") as unknown:
        sdk.run('conn.get_collection().get_rtstream("rts-nowhere")', base_url=videodb.base_url, api_key=KEY)
    assert unknown.value.kind == "InvalidRequestError"
