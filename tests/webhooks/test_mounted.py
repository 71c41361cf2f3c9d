"""The receiver in an application of the user's own: there the access log is not ours, and still no token is in it."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from prefect_videodb.webhooks.inbox import Inbox
from prefect_videodb.webhooks.receiver import Receiver
from prefect_videodb.webhooks.rules import AlertRoute, Rules, digest
from tests.support.processes import stopped, wait_for
from tests.support.programs import start
from tests.webhooks.conftest import RECORDED, TOKEN

GUESSED = "guessed-token-0123456789"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "uvicorn.log"


@pytest.fixture
def base_url(tmp_path: Path, log: Path) -> Iterator[str]:
    def address() -> str | None:
        found = re.search(r"running on (http://[0-9.:]+)", log.read_text())
        return found[1] if found else None

    log.touch()
    with stopped(start("tests.support.mounted_webhooks", str(tmp_path / "inbox.sqlite"), TOKEN, log=log)):
        wait_for("it listens", address)
        yield str(address())


@pytest.mark.parametrize("place", ["", "/alerts"])
def test_no_token_right_or_wrong_is_in_the_access_log(base_url: str, log: Path, place: str) -> None:
    url = f"{base_url}{place}"
    with httpx.Client() as client:
        assert client.post(f"{url}/videodb/door/{TOKEN}", json=RECORDED).status_code == 200
        assert client.get(f"{url}/healthz/{TOKEN}").status_code == 200
        for path in (
            f"videodb/door/{GUESSED}",
            f"videodb/door/{TOKEN}/more/{GUESSED}",
            f"videodb//{TOKEN}",
            f"videodb/no name/{TOKEN}",
            f"videodb%2Fdoor%2F{TOKEN}",
            f"healthz/{GUESSED}",
            f"healthz/{TOKEN}/more",
        ):
            assert client.post(f"{url}/{path}", json=RECORDED).status_code == (200 if "%2F" in path else 401)
        assert client.get(f"{url}/last").status_code == 401

    def written() -> str:
        return log.read_text()

    wait_for("all is written down", lambda: "/last" in written())
    assert TOKEN not in written()
    assert "guessed-token" not in written()
    assert f'"POST {place}/videodb/door/%2A%2A%2A HTTP/1.1" 200' in written()


class Strict(Rules):
    """Two a minute, for every route."""

    def of(self, route: str) -> AlertRoute:
        return AlertRoute(per_minute=2) if route else AlertRoute()


def test_a_flood_on_one_route_stops_no_other_and_names_of_routes_fill_no_memory(tmp_path: Path) -> None:
    async def statuses(inbox: Inbox) -> None:
        rules = Strict(token_digests=[digest(TOKEN)])
        transport = httpx.ASGITransport(Receiver(inbox, lambda: rules))
        async with httpx.AsyncClient(transport=transport, base_url="http://receiver") as client:

            async def post(route: str) -> int:
                return (await client.post(f"/videodb/{route}/{TOKEN}", content=b"no alert")).status_code

            assert [await post("flooded") for _ in range(3)] == [200, 200, 429]
            assert await post("other") == 200
            for number in range(1000):
                await post(f"n{number}")
            assert await post("flooded") == 200  # what was counted longest ago is not counted any more

    with closing(Inbox(tmp_path / "inbox.sqlite")) as inbox:
        asyncio.run(statuses(inbox))
