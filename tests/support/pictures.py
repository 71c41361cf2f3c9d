"""The pictures of README.md: what Prefect's UI shows of the demo's run."""

import os
from pathlib import Path

import httpx
from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parents[2]
# `make pictures` sets it; a test that only looks keeps none.
_FOLDER = "VIDEODB_PICTURES"


class Pictures:
    """Looks at pages of a run, and keeps a picture of each where the environment names a folder for them.

    Args:
        page: of the browser.
        run_url: the run's page in Prefect's UI.
    """

    def __init__(self, page: Page, run_url: str) -> None:
        self._page = page
        self._run_url = run_url

    def run(self, state: str, name: str) -> None:
        """Look at the run's page, which must show its state."""
        self._page.goto(self._run_url)
        self._page.get_by_text(state, exact=True).first.wait_for()
        self._page.wait_for_timeout(2000)  # until the graph has been drawn
        self._keep(name)

    def report(self, heading: str, name: str) -> None:
        """Look at the report, which must have this heading."""
        ui, _, run_id = self._run_url.partition("/runs/flow-run/")
        wanted = {"artifacts": {"key": {"any_": ["meeting-recording"]}, "flow_run_id": {"any_": [run_id]}}}
        [artifact] = httpx.post(f"{ui}/api/artifacts/filter", json=wanted).raise_for_status().json()
        self._page.goto(f"{ui}/artifacts/artifact/{artifact['id']}")
        self._page.locator("h1", has_text=heading).wait_for()
        self._keep(name)

    def _keep(self, name: str) -> None:
        if folder := os.environ.get(_FOLDER):
            self._page.screenshot(path=ROOT / folder / f"{name}.png")
