"""Playlists keep RFC 8216 from one version to the next: a strict reader follows them while they grow."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from prefect_videodb.local_server.errors import NotFound
from prefect_videodb.local_server.library import Library
from prefect_videodb.local_server.media.segments import Segment, playlist
from prefect_videodb.local_server.store import Store
from prefect_videodb.local_server.streams import LIVE_WINDOW_S, Streams
from tests.support import hls

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

BEGAN = 1_700_000_000.0
STREAM = "rts-1"


class Recorded:
    """A stream whose segments are written by the test, at times of its own."""

    def __init__(self, folder: Path, *, stored: bool) -> None:
        self.store = Store(folder)
        Library(self.store)
        self.streams = Streams(self.store)
        self.stored = stored
        self.now = BEGAN
        self.run = 0
        self.count = 0
        insert = "INSERT INTO streams VALUES (?, 'default', 'x', 'rtsp://x', '[\"video\"]', 30, ?, 'connected', '', 0)"
        self.store.execute(insert, STREAM, stored)
        self.recording = self.store.insert("INSERT INTO recordings (stream_id, started_at) VALUES (?, 0)", STREAM)
        self.keep = self.streams.keep(self.recording, stored=stored)

    def add(self, duration_s: float = 2.0, *, gap_s: float = 0.0) -> None:
        """Record a segment, after a gap in a run of its own."""
        self.run += gap_s > 0
        self.now += gap_s
        path = self.store.path(f"recordings/x/{self.count:06d}.ts")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        self.keep(Segment(path, self.now, duration_s, self.run, has_video=True, has_audio=True))
        self.count += 1
        self.now += duration_s

    def stop(self) -> None:
        self.store.execute("UPDATE recordings SET ended_at = ? WHERE id = ?", self.now, self.recording)

    def look(self, start: float, end: float) -> hls.Playlist:
        listing = self.streams.window(STREAM, start, end, now=self.now)
        return hls.parse(playlist(listing, lambda segment: segment.path.name))

    def files(self) -> set[str]:
        return {path.name for path in self.store.path("recordings/x").iterdir()}


@pytest.fixture(params=[True, False], ids=["stored", "not stored"])
def recorded(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Recorded]:
    made = Recorded(tmp_path / "data", stored=request.param)
    yield made
    made.store.close()


def test_rfc8216_updates(recorded: Recorded) -> None:
    """Windows of every kind, followed over an hour with gaps, short and long segments."""
    windows = [
        (BEGAN, BEGAN + 10_000),
        (BEGAN + 300, BEGAN + 1000),
        (BEGAN + 5, BEGAN + 20),
        (BEGAN + 1300, BEGAN + 1e9),
    ]
    seen: dict[tuple[float, float], hls.Playlist] = {}
    listed_at: dict[str, float] = {}
    for number in range(300):
        recorded.add((9.5, 0.4, 10.45, 8.3)[number % 4], gap_s=(0, 0, 7.5, 0, 0)[number % 5])
        for window in windows if number % 3 == 0 or number > 290 else ():
            try:
                now = recorded.look(*window)
            except NotFound:
                if window in seen:
                    assert not recorded.stored
                    assert recorded.now > window[0] + LIVE_WINDOW_S
                continue
            if window in seen:
                hls.check_update(seen[window], now)
            seen[window] = now
            listed_at |= {entry.uri: recorded.now for entry in now.entries if not now.ended}
        # 6.2.2: what is listed no more can be had for as long as the playlist was.
        gone = listed_at.keys() - recorded.files()
        assert all(recorded.now > listed_at[uri] + LIVE_WINDOW_S for uri in gone)
    assert set(seen) == set(windows)
    assert seen[windows[2]].ended
    assert seen[windows[0]].type == ("EVENT" if recorded.stored else None)
    if recorded.stored:
        assert len(seen[windows[0]].entries) == 300
    else:
        assert seen[windows[0]].sequence > 150
        assert seen[windows[0]].discontinuities > 20
        assert len(recorded.files()) < 250


def test_window_end(recorded: Recorded) -> None:
    """A window that is over ends when what was under way is in it, and not before."""
    recorded.add()
    window = (BEGAN, BEGAN + 5)
    recorded.now = BEGAN + 6
    before = recorded.look(*window)
    assert not before.ended
    recorded.now = BEGAN + 2
    recorded.add(2)
    recorded.add(2)
    after = recorded.look(*window)
    hls.check_update(before, after)
    assert after.ended
    assert len(after.entries) == 3
    recorded.stop()
    hls.check_update(after, recorded.look(*window))


def test_grown_playlists(server: Any, api: Any, stranger: httpx.Client, wait_until: Any) -> None:
    """Over HTTP, while a stream is recorded and stopped."""
    started_at = time.time()
    stream_id = api.connect(server.sample_url)
    wait_until(lambda: api.recorded_s(stream_id, started_at) > 0)
    window = {"start": started_at, "end": time.time() + 3600}
    link = api.data("GET", f"/rtstream/{stream_id}/stream", params=window)["stream_url"]
    seen = [hls.parse(stranger.get(link).text)]

    def follow() -> hls.Playlist:
        seen.append(hls.parse(stranger.get(link).text))
        hls.check_update(*seen[-2:])
        return seen[-1]

    wait_until(lambda: len(follow().entries) >= 3)
    api.stop(stream_id)
    assert follow().ended
    video = api.data("POST", f"/rtstream/{stream_id}/export", json={})
    whole = hls.parse(stranger.get(video["stream_url"]).text)
    assert (whole.type, whole.ended) == ("VOD", True)
    assert whole.duration_s == pytest.approx(float(video["duration"]), abs=0.2)
