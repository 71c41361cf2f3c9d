"""The server's page: what it shows, to whom, and that nothing on it is a secret or is executed."""

import base64
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page

from prefect_videodb.local_server import DEFAULT_KEY, LocalServer
from tests.local_server.conftest import KEY, Api, wait_until
from tests.support.browser import open_page
from tests.support.processes import free_port
from tests.support.receiver import Receiver

HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
NASTY = "<script>document.title='executed'</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with open_page() as opened:
        yield opened


@pytest.mark.parametrize("accept", ["*/*", "application/json", "application/json, text/html", None])
def test_content_negotiation_for_programs(stranger: httpx.Client, accept: str | None) -> None:
    request = stranger.build_request("GET", "/", headers={"accept": accept or ""})
    if accept is None:
        del request.headers["accept"]
    answer = stranger.send(request)
    assert answer.json() == {"success": True, "data": {"service": "prefect-videodb local server"}}
    assert answer.headers["vary"] == "accept"


@pytest.mark.usefixtures("meeting")
def test_page_for_people(server: LocalServer, stranger: httpx.Client, api: Api) -> None:
    live = api.connect(server.sample_url, name=f"Live {NASTY}")
    sound = api.connect(server.sample_url, name="Sound", media_types=["audio"])
    since = time.time() - 60
    wait_until(lambda: all(api.recorded_s(stream, since) > 0 for stream in (live, sound)))
    answer = stranger.get("/", headers=HTML)
    assert answer.headers["content-type"].startswith("text/html")
    assert "script-src" not in answer.headers["content-security-policy"]
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    text = answer.text
    assert server.base_url in text
    assert server.sample_url in text
    assert "Weekly" in text
    assert KEY not in text
    assert "<script" not in text
    assert "<img src=x" not in text
    assert f"/pictures/{live}.jpg" in text
    assert f"/pictures/{sound}.jpg" not in text
    picture = stranger.get(f"/pictures/{live}.jpg")
    assert picture.content.startswith(b"\xff\xd8")
    assert picture.headers["content-type"] == "image/jpeg"
    assert stranger.get("/pictures/rts-none.jpg").status_code == 404
    assert "Where the local server is not VideoDB" in stranger.get("/differences").text
    api.stop(live)
    api.stop(sound)
    assert f"/pictures/{live}.jpg" not in stranger.get("/", headers=HTML).text


def test_page_holds_no_secret(stranger: httpx.Client, api: Api, receiver: Receiver) -> None:
    """Passwords of sources and tokens of webhooks are left out; the host and the answer are shown."""
    stream = api.connect(f"rtsp://user:hunter2@127.0.0.1:{free_port()}/cam?token=abc123", name="Camera")
    receiver.refusals = 1
    session = {"end_user_id": "u", "callback_url": receiver.url}
    session_id = api.data("POST", "/collection/default/capture/session", json=session)["session_id"]
    channels = [{"channel_id": "mic", "type": "audio"}]
    api.data("POST", "/capture/session/start", json={"session_id": session_id, "channels": channels})
    receiver.take()

    def shown() -> str | None:
        text = stranger.get("/", headers=HTML).text
        return text if f"capture session {session_id}" in text and "204, accepted" in text else None

    text = wait_until(shown)
    api.data("POST", f"/capture/session/{session_id}/stop", json={})
    api.stop(stream)
    assert f"http://127.0.0.1:{receiver.server_port}/…" in text
    assert "Camera" in text
    for secret in ("hunter2", "abc123", "token=secret", receiver.url):
        assert secret not in text


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiving:
        threading.Thread(target=receiving.serve_forever).start()
        yield receiving
        receiving.shutdown()


def test_delivery_outcomes_are_bounded(data: Path, receiver: Receiver) -> None:
    with LocalServer(data) as server, Api(server.base_url) as api:
        api.headers["x-access-token"] = server.api_key
        page = httpx.get(server.base_url, headers=HTML).text
        assert f"<code>{DEFAULT_KEY}</code>" in page
        assert "None was sent." in page
        for _ in range(30):
            body = {"end_user_id": "u", "callback_url": receiver.url}
            session = api.data("POST", "/collection/default/capture/session", json=body)["session_id"]
            api.data(
                "POST",
                "/capture/session/start",
                json={"session_id": session, "channels": [{"channel_id": "c", "type": "audio"}]},
            )
            api.data("POST", f"/capture/session/{session}/stop", json={})
        for _ in range(60):
            receiver.take()
        wait_until(lambda: httpx.get(server.base_url, headers=HTML).text.count(", accepted") == 50)


@pytest.mark.parametrize(
    ("options", "headers"),
    [
        ({"host": "0.0.0.0"}, {}),  # noqa: S104 - what others can reach
        ({"allow_hosts": ["videodb.example"]}, {"host": "videodb.example"}),
        ({}, {"x-forwarded-for": "192.0.2.1"}),
        ({}, {"forwarded": "for=192.0.2.1"}),
    ],
    ids=["all addresses", "another name", "proxy", "proxy by the standard"],
)
def test_page_needs_the_key_where_others_reach_it(data: Path, options: dict[str, Any], headers: dict[str, str]) -> None:
    with LocalServer(data, api_key=KEY, **options) as server:
        url = f"http://127.0.0.1:{server.base_url.rpartition(':')[2]}"

        def get(path: str, **more: str) -> httpx.Response:
            return httpx.get(url + path, headers={**HTML, **headers, **more})

        for path in ("/", "/pictures/x.jpg"):
            refused = get(path)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"].startswith("Basic ")
            assert "--key" in refused.text
            assert server.sample_url not in refused.text
        for wrong in ("Basic !", "Basic " + base64.b64encode(b"\xff:\xff").decode(), "Bearer x", "Basic eDp3cm9uZw=="):
            assert get("/", authorization=wrong).status_code == 401
        right = base64.b64encode(f"anybody:{KEY}".encode()).decode()
        assert server.sample_url in get("/", authorization=f"Basic {right}").text
        assert server.sample_url in get("/", **{"x-access-token": KEY}).text


def test_page_is_served_to_its_hosts_only(stranger: httpx.Client) -> None:
    """DNS rebinding: a page elsewhere whose name leads to this machine reads nothing."""
    assert stranger.get("/", headers={**HTML, "host": "evil.example"}).status_code == 421


@pytest.mark.parametrize("width", [1280, 360], ids=["desktop", "phone"])
@pytest.mark.usefixtures("meeting")
def test_page_in_the_browser(server: LocalServer, api: Api, page: Page, width: int) -> None:
    live = api.connect(server.sample_url, name=NASTY + " a name as long as names of streams may be" * 4)
    since = time.time() - 60
    wait_until(lambda: api.recorded_s(live, since) > 0)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(server.base_url)
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= width
    assert page.title() == "VideoDB local server"
    page.wait_for_function("document.images.length && [...document.images].every(image => image.naturalWidth)")
    assert complaints == []
    page.get_by_role("link", name="Weekly").first.click()
    assert "/watch?v=" in page.url
    api.stop(live)
