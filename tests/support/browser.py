"""A real browser: plays what a link leads to, and tells which picture it shows."""

import base64
import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import av
import pytest
from playwright.sync_api import Page, sync_playwright

from tests.support.processes import wait_for
from tools import timecode

_NAMES = ("chromium", "chromium-browser", "google-chrome")
# Without these Chromium looks for its vendor's hosts at every start.
_QUIET = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--autoplay-policy=no-user-gesture-required",
]
_PATIENCE_MS = 120_000


@contextmanager
def open_page() -> Iterator[Page]:
    """Give an empty page of a headless Chromium; skip the test where none is installed."""
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*_QUIET, *sandbox])
        try:
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.set_default_timeout(_PATIENCE_MS)
            yield page
        finally:
            browser.close()


@dataclass
class Player:
    """A player page, open in the browser."""

    page: Page

    @classmethod
    def at(cls, page: Page, url: str) -> "Player":
        page.goto(url)
        # Looked at from outside: the page's own policy forbids what `wait_for_function` does, and is kept in force.
        wait_for("the video has a picture", lambda: page.evaluate("document.querySelector('video').readyState >= 2"))
        return cls(page)

    def duration_s(self) -> float:
        return float(self.page.evaluate("document.querySelector('video').duration"))

    def position_at(self, seconds: float) -> float:
        """Seek, and tell which position of the sample meeting the picture shows."""
        self.page.evaluate(
            """seconds => new Promise(done => {
                const video = document.querySelector('video');
                video.addEventListener('seeked', () => video.requestVideoFrameCallback(() => done()), {once: true});
                video.pause();
                video.currentTime = seconds;
                // A paused video that is seeked to where it is shows no new frame: the promise ends all the same.
                setTimeout(done, 3000);
            })""",
            seconds,
        )
        picture = self.page.evaluate(
            """() => {
                const video = document.querySelector('video');
                const canvas = document.createElement('canvas');
                [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
                canvas.getContext('2d').drawImage(video, 0, 0);
                return canvas.toDataURL('image/png').split(',')[1];
            }"""
        )
        with av.open(io.BytesIO(base64.b64decode(picture)), mode="r") as png:
            return timecode.read(next(png.decode(video=0)))

    def play_to_the_end(self) -> None:
        """Play, fast, until the video says that it has ended; an error of the player fails."""
        self.page.evaluate(
            """() => {
                const video = document.querySelector('video');
                video.muted = true;
                video.currentTime = Math.max(0, video.duration - 4);
                return video.play();
            }"""
        )
        wait_for("the video has ended", lambda: self.page.evaluate("document.querySelector('video').ended"))
        assert self.page.evaluate("document.querySelector('video').error") is None
