"""What comes after a recording: export, playback, spoken words, search, clips, downloads."""

import io
import time
from pathlib import Path
from typing import Any

import av
import httpx
import pytest

from prefect_videodb.local_server import LocalServer
from tests.support.speech import OneSentence


def media_facts(content: bytes) -> tuple[float, set[str]]:
    """Return length in seconds and kinds of tracks of a media file."""
    with av.open(io.BytesIO(content), "r") as media:
        kinds = {stream.type for stream in media.streams}
        seconds = [
            float((packet.pts + (packet.duration or 0)) * packet.time_base) for packet in media.demux() if packet.pts
        ]
        return max(seconds), kinds


def played(client: httpx.Client, playlist_url: str) -> list[bytes]:
    """Return the segments of a playlist, as a player without a key gets them."""
    playlist = client.get(playlist_url)
    assert playlist.headers["content-type"].startswith("application/vnd.apple.mpegurl")
    assert playlist.headers["access-control-allow-origin"] == "*"
    names = [line for line in playlist.text.splitlines() if line and not line.startswith("#")]
    assert names
    segments = [client.get(httpx.URL(playlist_url).join(name)) for name in names]
    assert {segment.status_code for segment in segments} == {200}
    return [segment.content for segment in segments]


def test_an_export_is_a_video_that_plays(api: Any, meeting: Any, stranger: httpx.Client) -> None:
    assert meeting.video_id.startswith("m-z-")
    assert meeting.export["name"] == "Weekly"
    video = api.data("GET", f"/video/{meeting.video_id}", params={"collection_id": "default"})
    assert float(video["length"]) == pytest.approx(meeting.export["duration"], abs=0.001)
    assert float(video["length"]) >= 22
    assert video["stream_url"] == meeting.export["stream_url"]
    segments = played(stranger, video["stream_url"])
    assert {frozenset(media_facts(segment)[1]) for segment in segments} == {frozenset({"video", "audio"})}
    assert "<h1>Weekly</h1>" in stranger.get(video["player_url"]).text
    assert video["id"] in [one["id"] for one in api.data("GET", "/video")["videos"]]


def test_exporting_again_gives_the_same_video(api: Any, meeting: Any) -> None:
    again = api.data("POST", f"/rtstream/{meeting.stream_id}/export", json={"name": "Another name"})
    assert again["video_id"] == meeting.video_id


def test_the_file_of_a_video_is_served_in_ranges(meeting: Any, stranger: httpx.Client) -> None:
    url = meeting.export["stream_url"].replace("index.m3u8", "video.mp4")
    whole = stranger.get(url)
    assert whole.headers["content-type"] == "video/mp4"
    length_s, kinds = media_facts(whole.content)
    assert kinds == {"video", "audio"}
    assert length_s == pytest.approx(meeting.export["duration"], abs=0.5)
    part = stranger.get(url, headers={"range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, whole.content[100:200])
    beyond = stranger.get(url, headers={"range": f"bytes={len(whole.content)}-"})
    assert beyond.status_code == 416


def test_a_window_of_a_stream_plays(api: Any, meeting: Any, stranger: httpx.Client) -> None:
    window = {"start": meeting.started_at + 8.4, "end": meeting.started_at + 12.2}
    player = {
        "player_title": "<b>Budget</b>",
        "player_description": 'It\'s "done" & more',
        "player_slug_prefix": "q3 / é",
    }
    links = api.data("GET", f"/rtstream/{meeting.stream_id}/stream", params=window | player)
    start, end = int(window["start"]) * 1_000_000, (int(window["end"]) + 1) * 1_000_000
    assert links["stream_url"].endswith(f"/manifests/{meeting.stream_id}/{start}-{end}.m3u8")
    assert len(played(stranger, links["stream_url"])) >= 2
    assert "/watch?v=q3-" in links["player_url"]
    page = stranger.get(links["player_url"])
    assert "<h1>&lt;b&gt;Budget&lt;/b&gt;</h1>" in page.text
    assert "It&#x27;s &quot;done&quot; &amp; more" in page.text


def test_the_player_page_loads_nothing_from_elsewhere(meeting: Any, stranger: httpx.Client) -> None:
    watch = stranger.get(meeting.export["player_url"])
    policy = watch.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "http://" not in watch.text
    assert "https://" not in watch.text
    for asset in ("hls.light.min.js", "player.js", "player.css"):
        assert f'"/player/{asset}"' in watch.text
        assert stranger.get(f"/player/{asset}").status_code == 200
    embed = stranger.get(meeting.export["player_url"].replace("/watch?", "/embed?"))
    assert "frame-ancestors *" in embed.headers["content-security-policy"]


@pytest.mark.parametrize(
    "path",
    [
        "/watch",
        "/watch?v=none",
        "/embed?v=none",
        "/player/server.py",
        "/player/..%2fstate.py",
        "/videos/none/index.m3u8",
        "/videos/none/video.mp4",
        "/clips/none/index.m3u8",
        "/clips/none/0.ts",
        "/clips/..%2f..%2fvideodb.sqlite3/index.m3u8",
        "/downloads/none/video.mp4",
        "/manifests/rts-none/1-2.m3u8",
        "/manifests/rts-none/..%2f1-2.m3u8",
        "/manifests/rts-none/٣-٤.m3u8",
        "/recordings/..%2f..%2fetc/passwd",
        "/recordings/%2e%2e/videodb.sqlite3",
    ],
)
def test_nothing_is_served_that_no_link_names(stranger: httpx.Client, path: str) -> None:
    response = stranger.get(path)
    assert response.status_code == 404
    assert response.json()["success"] is False


def test_a_player_on_another_site_may_ask_for_ranges(meeting: Any, stranger: httpx.Client) -> None:
    answer = stranger.options(meeting.export["stream_url"], headers={"origin": "https://elsewhere.example"})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "range" in answer.headers["access-control-allow-headers"]


@pytest.mark.parametrize(
    ("window", "status"),
    [
        ({"start": 1, "end": 2}, 404),
        ({"start": 20, "end": 10}, 400),
        ({"start": 1_700_000_000_000, "end": 2e12}, 400),
        ({}, 400),
    ],
)
def test_a_window_without_a_recording_is_refused(api: Any, meeting: Any, window: dict[str, float], status: int) -> None:
    assert api.refusal("GET", f"/rtstream/{meeting.stream_id}/stream", params=window)[0] == status


# --- spoken words ---


def test_a_search_finds_what_is_said_and_where_the_best_first(api: Any, indexed: Any, stranger: httpx.Client) -> None:
    body = {"query": "action items and next steps", "search_type": "semantic", "index_type": "spoken_word"}
    [result] = api.data("POST", f"/video/{indexed.video_id}/search", json=body)["results"]
    assert result["video_id"] == indexed.video_id
    assert result["title"] == "Weekly"
    docs = result["docs"]
    assert [doc["score"] for doc in docs] == sorted((doc["score"] for doc in docs), reverse=True)
    assert all(0.2 <= doc["score"] <= 1 for doc in docs)
    assert all(0 <= doc["start"] < doc["end"] <= float(result["length"]) for doc in docs)
    assert any(verb in docs[0]["text"] for verb in (" will ", " must ", " needs to ", " should "))
    assert docs[0]["stream_link"] == docs[0]["stream_url"]
    assert played(stranger, docs[0]["stream_url"])


def test_fewer_and_better_results_can_be_asked_for(api: Any, indexed: Any) -> None:
    def scores(**fields: Any) -> list[float]:
        body = {"query": "action items", **fields}
        [result] = api.data("POST", f"/video/{indexed.video_id}/search", json=body)["results"]
        return [doc["score"] for doc in result["docs"]]

    all_scores = scores(score_threshold=0, result_threshold=1000)
    assert len(all_scores) > 1
    assert scores(result_threshold=1) == all_scores[:1]
    assert scores(score_threshold=all_scores[0]) == [score for score in all_scores if score == all_scores[0]][:5]


@pytest.mark.parametrize("search_type", ["semantic", "keyword"])
@pytest.mark.parametrize("query", ["zebra quantum", '"', "zebra OR NOT", "text:*", "(", "NEAR(a b)", "\x00", "💥"])
def test_nothing_found_is_an_error_that_says_so(api: Any, indexed: Any, query: str, search_type: str) -> None:
    body = {"query": query, "search_type": search_type, "index_type": "spoken_word"}
    assert api.refusal("POST", f"/video/{indexed.video_id}/search", json=body) == (400, "No results found")


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"search_type": "llm"}, 400),
        ({"index_type": "scene"}, 400),
        ({"filter": [{"a": 1}]}, 501),
        ({"query": ""}, 400),
    ],
)
def test_a_search_of_another_kind_is_refused(api: Any, indexed: Any, fields: dict[str, Any], status: int) -> None:
    assert api.refusal("POST", f"/video/{indexed.video_id}/search", json={"query": "budget", **fields})[0] == status


def test_an_index_is_made_again_only_by_force(api: Any, indexed: Any) -> None:
    path = f"/video/{indexed.video_id}/index"
    status, message = api.refusal("POST", path, json={"index_type": "spoken_word", "force": False})
    assert (status, "already exists" in message) == (400, True)
    api.data("POST", path, json={"index_type": "spoken_word", "force": True})
    answer = api.get(path, params={"index_type": "spoken_word"}).json()
    assert (answer["success"], answer["status"]) == (True, "done")


def test_a_language_that_the_engine_does_not_know_is_refused(api: Any, indexed: Any) -> None:
    body = {"index_type": "spoken_word", "language_code": "hi", "force": True}
    assert api.refusal("POST", f"/video/{indexed.video_id}/index", json=body)[0] == 400


def test_a_transcript_comes_in_words_sentences_and_stretches_of_time(api: Any, indexed: Any) -> None:
    path = f"/video/{indexed.video_id}/transcription"
    words = api.data("GET", path)["word_timestamps"]
    sentences = api.data("GET", path, params={"segmenter": "sentence"})["word_timestamps"]
    stretches = api.data("GET", path, params={"segmenter": "time", "length": 10})["word_timestamps"]
    texts = [" ".join(piece["text"] for piece in pieces) for pieces in (words, sentences, stretches)]
    assert texts[0] == texts[1] == texts[2]
    assert len(words) > len(sentences) > 1
    assert {int(stretch["start"] // 10) for stretch in stretches} == {int(word["start"] // 10) for word in words}
    assert all(word["start"] < word["end"] for word in words)
    middle = words[len(words) // 2]
    some = api.data("GET", path, params={"start": middle["start"], "end": middle["end"], "force": "false"})
    assert middle["text"] in some["text"].split()
    assert len(some["word_timestamps"]) < 4


def test_a_video_that_was_not_indexed_cannot_be_searched(api: Any, record: Any) -> None:
    stream_id, _ = record(2)
    video_id = api.data("POST", f"/rtstream/{stream_id}/export", json={})["video_id"]
    assert api.refusal("GET", f"/video/{video_id}/transcription")[0] == 404
    assert api.refusal("GET", f"/video/{video_id}/index", params={"index_type": "spoken_word"})[0] == 404
    status, message = api.refusal("POST", f"/video/{video_id}/search", json={"query": "budget"})
    assert (status, "index" in message) == (400, True)


def test_the_spoken_words_of_a_silent_video_are_an_error_that_says_so(api: Any, record: Any) -> None:
    stream_id, _ = record(2, media_types=["video"])
    video_id = api.data("POST", f"/rtstream/{stream_id}/export", json={})["video_id"]
    path = f"/video/{video_id}/index"
    result = api.result(api.post(path, json={"index_type": "spoken_word"}))
    assert result["success"] is False
    assert result["message"].startswith("No spoken data found in the video: it has no sound; connect")
    answer = api.get(path, params={"index_type": "spoken_word"}).json()
    assert (answer["status"], answer["message"]) == ("failed", result["message"])


def test_an_audio_only_stream_becomes_an_audio_asset(api: Any, record: Any, stranger: httpx.Client) -> None:
    stream_id, _ = record(4, media_types=["audio"])
    export = api.data("POST", f"/rtstream/{stream_id}/export", json={})
    assert export["video_id"].startswith("a-")
    assert "player_url" not in export
    audio = api.data("GET", f"/audio/{export['video_id']}")
    assert float(audio["length"]) == pytest.approx(export["duration"], abs=0.001)
    assert api.refusal("GET", f"/video/{export['video_id']}")[0] == 404
    assert all(media_facts(segment)[1] == {"audio"} for segment in played(stranger, export["stream_url"]))
    transcript = api.data("POST", f"/audio/{export['video_id']}/transcription", json={})
    assert isinstance(transcript["word_timestamps"], list)


# --- clips and downloads ---


def test_shots_are_compiled_in_the_order_given_and_not_merged(api: Any, meeting: Any, stranger: httpx.Client) -> None:
    entries = [
        {"video_id": meeting.video_id, "collection_id": "default", "shots": [[start, end]]}
        for start, end in ((10, 13.5), (2, 4.5), (3, 6))
    ]
    clip = api.data("POST", "/compile", json=entries)
    assert api.data("POST", "/compile", json=entries) == clip
    playlist = stranger.get(clip["stream_url"]).text
    assert playlist.count("#EXT-X-DISCONTINUITY") == 2
    lengths = sum(float(line[8:-1]) for line in playlist.splitlines() if line.startswith("#EXTINF:"))
    # Each shot begins with the keyframe before it, at most a second early in this sample.
    assert 9 <= lengths <= 9 + 3 * 1.1
    assert played(stranger, clip["stream_url"])
    assert "<video" in stranger.get(clip["player_url"]).text


@pytest.mark.parametrize("shot", [[-1, 5], [5, 5], [6, 5], [100_000, 100_001]])
def test_a_shot_outside_its_video_is_refused(api: Any, meeting: Any, shot: list[float]) -> None:
    body = [{"video_id": meeting.video_id, "collection_id": "default", "shots": [shot]}]
    assert api.refusal("POST", "/compile", json=body)[0] == 400


def test_a_shot_that_ends_after_its_video_ends_with_it(api: Any, meeting: Any, stranger: httpx.Client) -> None:
    start = meeting.export["duration"] - 2
    clip = api.data("POST", f"/video/{meeting.video_id}/stream", json={"timeline": [[start, start + 100]]})
    assert len(played(stranger, clip["stream_url"])) >= 1


def test_a_shot_of_a_video_that_does_not_exist_is_not_found(api: Any) -> None:
    assert api.refusal("POST", "/compile", json=[{"video_id": "m-none", "shots": [[0, 1]]}])[0] == 404
    assert api.refusal("POST", "/compile", json=[])[0] == 400


def test_a_stream_without_a_timeline_is_the_whole_video(api: Any, meeting: Any) -> None:
    for body in ({"timeline": None, "length": meeting.export["duration"]}, {"timeline": []}, {}):
        links = api.data("POST", f"/video/{meeting.video_id}/stream", json=body)
        assert links["stream_url"] == meeting.export["stream_url"]
        assert links["player_url"] == meeting.export["player_url"]


def test_every_link_that_plays_can_be_downloaded_as_one_file(api: Any, meeting: Any, stranger: httpx.Client) -> None:
    window = {"start": meeting.started_at + 5, "end": meeting.started_at + 9}
    links = [
        meeting.export["stream_url"],
        api.data("GET", f"/rtstream/{meeting.stream_id}/stream", params=window)["stream_url"],
        api.data("POST", f"/video/{meeting.video_id}/stream", json={"timeline": [[1, 4]]})["stream_url"],
    ]
    for link in links:
        made = api.data("POST", "/download", json={"stream_link": link, "name": "../my / clip.mp4"})
        assert made["status"] == "done"
        assert api.data("GET", f"/download/{made['id']}") == made
        file = stranger.get(made["download_url"])
        assert "attachment" in file.headers["content-disposition"]
        length_s, kinds = media_facts(file.content)
        assert kinds == {"video", "audio"}
        expected_s = sum(
            float(line[8:-1]) for line in stranger.get(link).text.splitlines() if line.startswith("#EXTINF:")
        )
        assert length_s == pytest.approx(expected_s, abs=0.5)


@pytest.mark.parametrize(
    ("link", "status"),
    [
        ("https://example.com/video.m3u8", 400),
        ("file:///etc/passwd", 400),
        ("http://[", 400),
        ("/clips/none/index.m3u8", 404),
        ("/manifests/rts-none/0-1.m3u8", 404),
    ],
)
def test_a_link_of_somebody_else_is_not_downloaded(api: Any, link: str, status: int) -> None:
    assert api.refusal("POST", "/download", json={"stream_link": link, "name": "x"})[0] == status


def test_a_deleted_video_is_gone_and_can_be_exported_again(api: Any, record: Any, stranger: httpx.Client) -> None:
    stream_id, _ = record(2)
    first = api.data("POST", f"/rtstream/{stream_id}/export", json={})
    clip = api.data("POST", f"/video/{first['video_id']}/stream", json={"timeline": [[0, 1]]})
    api.data("DELETE", f"/video/{first['video_id']}")
    assert api.refusal("GET", f"/video/{first['video_id']}")[0] == 404
    assert api.refusal("DELETE", f"/video/{first['video_id']}")[0] == 404
    assert stranger.get(first["stream_url"]).status_code == 404
    assert played(stranger, clip["stream_url"])
    second = api.data("POST", f"/rtstream/{stream_id}/export", json={})
    assert second["video_id"] != first["video_id"]


def test_a_running_window_grows_until_it_is_over(
    server: Any, api: Any, stranger: httpx.Client, wait_until: Any
) -> None:
    started_at = time.time()
    stream_id = api.connect(server.sample_url)
    wait_until(lambda: api.recorded_s(stream_id, started_at) > 0)
    window = {"start": started_at, "end": time.time() + 3600}
    link = api.data("GET", f"/rtstream/{stream_id}/stream", params=window)["stream_url"]
    before = stranger.get(link).text
    assert "#EXT-X-ENDLIST" not in before
    wait_until(lambda: stranger.get(link).text.count("#EXTINF") > before.count("#EXTINF"))
    api.stop(stream_id)
    assert "#EXT-X-ENDLIST" in stranger.get(link).text


def test_unreadable_seconds(tmp_path: Path, make_api: Any, key: str, wait_until: Any) -> None:
    """An export says which seconds it lacks, each time it is asked, and its playlist leaves them out."""
    with LocalServer(tmp_path / "data", api_key=key, speech=OneSentence()) as own, make_api(own.base_url) as api:
        since = time.time()
        stream_id = api.connect(own.sample_url)
        wait_until(lambda: api.recorded_s(stream_id, since) >= 6)
        api.stop(stream_id)
        sorted((tmp_path / "data" / "recordings").glob("*/*.ts"))[1].write_bytes(b"what a dying disk leaves")
        first = api.data("POST", f"/rtstream/{stream_id}/export", json={})
        [hole] = first["missing"]
        assert hole["end"] - hole["start"] == pytest.approx(2.0, abs=0.2)
        assert since < hole["start"] < hole["end"] < time.time()
        assert api.data("POST", f"/rtstream/{stream_id}/export", json={})["missing"] == first["missing"]
        listed_s = sum(
            float(line[8:-1]) for line in api.get(first["stream_url"]).text.splitlines() if line.startswith("#EXTINF:")
        )
        assert listed_s == pytest.approx(first["duration"], abs=0.3)
