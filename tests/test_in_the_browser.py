"""What the links lead to plays in a browser, and shows the right picture."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page

from prefect_videodb.client import Client, streams, videos
from prefect_videodb.client.models import Playback, Shot, Video
from prefect_videodb.local_server import LocalServer
from prefect_videodb.local_server.media.sample import sample_transcript
from tests.support.browser import Player, open_page

LOOP_S = 64.0
SECONDS = 24
PARTS = ((5.0, 9.0), (14.0, 18.0))


@dataclass
class Recorded:
    window: Playback
    video: Video
    clip: Playback


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    """Record the sample meeting, export it, and compile a clip of two parts of it."""
    with (
        LocalServer(tmp_path_factory.mktemp("videodb"), api_key="k") as server,
        Client(api_key="k", base_url=server.base_url) as client,
    ):
        assert server.sample_url
        start = int(time.time())
        stream = client.send(streams.connect(server.sample_url, "Browser", media_types=["audio", "video"], store=True))
        time.sleep(SECONDS + 4)
        client.send(streams.stop(stream.id))
        window = client.send(streams.playback(stream.id, start, int(time.time()) + 1))
        video = client.send(videos.get(client.send(streams.export(stream.id, name="Browser")).video_id))
        shots = [Shot(video_id=video.id, start=start, end=end) for start, end in PARTS]
        yield Recorded(window, video, client.send(videos.compile_clip(shots)))


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with open_page() as opened:
        yield opened


def _loop_distance(later: float, earlier: float) -> float:
    return (later - earlier) % LOOP_S


def test_the_exported_video_plays_and_shows_the_picture_of_each_moment(recorded: Recorded, page: Page) -> None:
    assert recorded.video.player_url
    player = Player.at(page, recorded.video.player_url)
    assert recorded.video.length is not None
    assert player.duration_s() == pytest.approx(recorded.video.length, abs=0.5)
    assert recorded.video.length >= SECONDS - 4
    first = player.position_at(0.05)
    for seconds in (3.0, 7.5, 12.0, 18.5):
        assert _loop_distance(player.position_at(seconds), first) == pytest.approx(seconds, abs=0.25)
    player.play_to_the_end()


def test_the_window_of_the_live_stream_plays_the_same(recorded: Recorded, page: Page) -> None:
    assert recorded.window.player_url
    player = Player.at(page, recorded.window.player_url)
    first = player.position_at(0.05)
    assert _loop_distance(player.position_at(10.0), first) == pytest.approx(10.0, abs=0.25)
    player.play_to_the_end()


def test_the_compiled_clip_plays_its_parts_one_after_the_other(recorded: Recorded, page: Page) -> None:
    """Each part begins on a keyframe, at most the second before that the sample has between two of them."""
    assert recorded.video.player_url
    assert recorded.clip.player_url
    first = Player.at(page, recorded.video.player_url).position_at(0.05)
    player = Player.at(page, recorded.clip.player_url)
    wanted_s = sum(end - start for start, end in PARTS)
    assert wanted_s - 0.3 <= player.duration_s() <= wanted_s + 2 * 1.1
    begin = _loop_distance(player.position_at(0.05), first)
    assert PARTS[0][0] - 1.1 <= begin <= PARTS[0][0] + 0.15
    end = _loop_distance(player.position_at(player.duration_s() - 0.1), first)
    assert end == pytest.approx(PARTS[1][1], abs=0.4)
    middle = _loop_distance(player.position_at(player.duration_s() - 2.0), first)
    assert middle == pytest.approx(PARTS[1][1] - 2.0, abs=0.4)
    player.play_to_the_end()


def test_the_sample_is_as_long_as_these_tests_take_it_to_be() -> None:
    assert sample_transcript()[-1].end_s < LOOP_S


def test_the_player_page_asks_nobody_else(recorded: Recorded, page: Page) -> None:
    assert recorded.video.player_url
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    Player.at(page, recorded.video.player_url)
    ours = recorded.video.player_url.partition("/watch")[0]
    assert asked
    assert [url for url in asked if not url.startswith((ours, "data:", "blob:"))] == []


def test_a_page_of_a_clip_is_titled_and_readable(recorded: Recorded, page: Page, tmp_path: Path) -> None:
    assert recorded.video.player_url
    Player.at(page, recorded.video.player_url)
    assert page.title() == "Browser"
    assert page.screenshot(path=tmp_path / "player.png")
