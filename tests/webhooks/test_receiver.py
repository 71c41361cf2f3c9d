"""The receiver, as a process: who may post, what is refused and how, what is kept."""

import asyncio
import contextlib
import gzip
import json
import os
import select
import signal
import socket
import sqlite3
import time
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prefect.settings import PREFECT_API_URL, temporary_settings

from prefect_videodb.webhooks.inbox import Inbox
from prefect_videodb.webhooks.mail import Backlog
from prefect_videodb.webhooks.receiver import Receiver
from prefect_videodb.webhooks.rules import Rules, digest
from tests.support.processes import free_port, wait_for
from tests.webhooks.conftest import OLD_TOKEN, RECORDED, TOKEN, Service, firing, running_service, save_webhook


@pytest.fixture(scope="module")
def service(prefect_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Give one service to all tests: they ask different things of it."""
    with _shared(prefect_url, tmp_path_factory.mktemp("receiver"), is_bare=False) as running:
        yield running


@pytest.fixture(scope="module")
def bare_service(prefect_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Give one without the extra: what reads HTTP is another program then."""
    with _shared(prefect_url, tmp_path_factory.mktemp("bare"), is_bare=True) as running:
        yield running


@contextlib.contextmanager
def _shared(prefect_url: str, folder: Path, *, is_bare: bool) -> Iterator[Service]:
    with (
        pytest.MonkeyPatch.context() as environment,
        temporary_settings({PREFECT_API_URL: prefect_url}),
    ):
        environment.setenv("PREFECT_API_URL", prefect_url)
        save_webhook()
        with running_service(folder / "inbox.sqlite", folder / "service.log", is_bare=is_bare) as running:
            yield running


def test_an_alert_is_accepted_and_once_more_it_is_no_new_one(service: Service) -> None:
    alert = firing(1000)
    assert service.post(alert).json() == {"accepted": True, "new": True}
    assert service.post(alert).json() == {"accepted": True, "new": False}
    assert service.post(alert, route="other").json()["new"] is True


def test_both_tokens_are_valid_while_they_are_rotated(service: Service) -> None:
    assert service.post(firing(1), token=TOKEN).status_code == 200
    assert service.post(firing(2), token=OLD_TOKEN).status_code == 200


@pytest.mark.parametrize("path", ["/", "/videodb", "/videodb/door", "/videodb/door/wrong", "/videodb/door/", "/docs"])
def test_without_a_valid_token_nothing_is_told(service: Service, path: str) -> None:
    for method in ("GET", "POST"):
        answer = httpx.request(method, service.base_url + path, content=b"{")
        assert (answer.status_code, answer.json()) == (401, {"detail": "unauthorized"})


def test_a_body_without_a_token_is_not_read(service: Service) -> None:
    """The answer comes before the body has been sent."""
    with _connection(service) as connection:
        connection.sendall(b"POST /videodb/door/wrong HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n")
        assert b" 401 " in connection.recv(1000)


def packed_raw(body: bytes) -> bytes:
    packing = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packing.compress(body) + packing.flush()


UMLAUTS = {"explanation": "Die T\u00fcr ist offen.", "label": "T\u00fcr"}


def written(number: int, encoding: str = "utf-8") -> bytes:
    return json.dumps(firing(number) | UMLAUTS, ensure_ascii=False).encode(encoding)


def nonstandard(number: int, value: str, key: str = "confidence") -> bytes:
    return json.dumps(firing(number) | {key: "?"}).replace('"?"', value).encode()


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        pytest.param(nonstandard(2000, "NaN"), {}, id="NaN"),
        pytest.param(nonstandard(2001, "-Infinity"), {}, id="Infinity"),
        pytest.param(nonstandard(2002, "1e999", "more"), {}, id="a float that is infinite"),
        pytest.param(nonstandard(2003, "9" * 5000, "more"), {}, id="an integer of 5000 digits"),
        pytest.param(nonstandard(2004, '"a\nb\tc"'), {}, id="a line end in a text"),
        pytest.param(nonstandard(2005, '"\\ud800"', "label"), {}, id="a lone surrogate"),
        pytest.param(nonstandard(2006, '"a", "label": "b"', "label"), {}, id="duplicate keys"),
        pytest.param(b"\xef\xbb\xbf" + written(2007), {}, id="a BOM"),
        pytest.param(written(2008, "utf-16"), {}, id="UTF-16 with a BOM"),
        pytest.param(written(2009, "utf-16-le"), {"content-type": "application/json; charset=utf-16"}, id="UTF-16"),
        pytest.param(written(2010, "latin-1"), {"content-type": "application/json;charset=iso-8859-1"}, id="latin-1"),
        pytest.param(written(2011, "cp1252"), {"content-type": 'text/json; charset="windows-1252"'}, id="cp1252"),
        pytest.param(written(2012, "latin-1"), {}, id="latin-1 that says nothing"),
        pytest.param(written(2013), {"content-type": "application/json; charset=punycode"}, id="no charset"),
        pytest.param(written(2014), {"content-type": "application/json; charset=utf-16"}, id="another charset"),
        pytest.param(gzip.compress(written(2015)), {"content-encoding": "gzip"}, id="gzip"),
        pytest.param(gzip.compress(written(2016)), {"content-encoding": "X-GZIP"}, id="x-gzip"),
        pytest.param(gzip.compress(written(2017)), {}, id="gzip that says nothing"),
        pytest.param(zlib.compress(written(2018)), {"content-encoding": "deflate"}, id="zlib"),
        pytest.param(packed_raw(written(2019)), {"content-encoding": "deflate"}, id="deflate"),
        pytest.param(
            gzip.compress(zlib.compress(written(2020))), {"content-encoding": "deflate, gzip"}, id="packed twice"
        ),
        pytest.param(written(2021), {"content-encoding": "gzip"}, id="gzip that is none"),
        pytest.param(written(2022), {"content-encoding": "br"}, id="brotli that is none"),
        pytest.param(written(2023), {"content-encoding": "identity"}, id="identity"),
        pytest.param(written(2024), {"content-type": "text/plain"}, id="text"),
        pytest.param(written(2025), {"content-type": ""}, id="an empty content type"),
        pytest.param(written(2026), {"content-type": "application/x-www-form-urlencoded"}, id="JSON as a form"),
        pytest.param(
            urlencode({"payload": written(2027)}).encode(),
            {"content-type": "application/x-www-form-urlencoded"},
            id="JSON in a form",
        ),
        pytest.param(urlencode(firing(2028)).encode(), {"content-type": "multipart/mixed"}, id="a form"),
        pytest.param(json.dumps(json.dumps(firing(2029))).encode(), {}, id="JSON in JSON"),
        pytest.param(b"[" + written(2030) + b"]", {}, id="an array of one"),
        pytest.param(b" \r\n" + written(2031) + b"\n", {}, id="blanks"),
    ],
)
def test_lenient_parsing(service: Service, body: bytes, headers: dict[str, str]) -> None:
    """With a valid token, what can be read is accepted: VideoDB may never send again what was refused."""
    before = service.health()
    answer = service.post(body, headers=headers)
    assert (answer.status_code, answer.json()) == (200, {"accepted": True, "new": True})
    after = service.health()
    assert (after["waiting"], after["dead_letters"]) == (before["waiting"] + 1, before["dead_letters"])


@pytest.mark.parametrize(
    ("body", "headers", "reason"),
    [
        (b"{", {}, "no JSON"),
        (b"[1]", {}, "no object"),
        (b"[]", {}, "array is empty"),
        (b"\xff", {}, "no JSON"),
        (b"", {}, "the body is empty"),
        (b" \r\n", {}, "the body is empty"),
        (b"null", {}, "no JSON"),
        (b"[" * 50_000, {}, "nested too deeply"),
        (b'{"hello": ' + b"[" * 50_000, {}, "nested too deeply"),
        (b"\x0b\x02\x80brotli\x03", {"content-encoding": "br"}, "content encoding 'br' is not known"),
        (b"x", {"content-encoding": "gzip, gzip, gzip"}, "too many content encodings"),
        (gzip.compress(b"x" * 10_000, mtime=0)[:-9], {"content-encoding": "gzip"}, "no whole gzip"),
        (gzip.compress(b" " * 10_000_000, mtime=0), {"content-encoding": "gzip"}, "longer than 262144"),
        (b"a=1&b=2", {"content-type": "application/x-www-form-urlencoded"}, "neither like an alert"),
        (b'{"hello": "world"}', {}, "neither like an alert"),
        (b'{"label": "x"} and more', {}, "no JSON"),
    ],
)
def test_dead_letter_of_unreadable_bodies(service: Service, body: bytes, headers: dict[str, str], reason: str) -> None:
    """It is kept, once, and answered 200: who takes nothing else for success would send it for ever."""
    before = service.health()["dead_letters"]
    assert service.post(body, headers=headers).json() == {"accepted": True, "new": True}
    assert service.post(body, headers=headers).json() == {"accepted": True, "new": False}
    assert service.health()["dead_letters"] == before + 1
    with closing(sqlite3.connect(service.log.with_name("inbox.sqlite"))) as database:
        kept, why, copies = database.execute(
            "SELECT body, reason, copies FROM dead_letters ORDER BY seq DESC"
        ).fetchone()
    assert (kept, copies) == (body, 2)
    assert reason in why


def test_batch_of_alerts(service: Service) -> None:
    """Each of an array is an alert of its own; what cannot be read of it is one dead letter."""
    before = service.health()
    batch = [firing(2100), firing(2101), {"hello": 1}, 5, firing(2100)]
    assert service.post(batch).json() == {"accepted": True, "new": True}
    assert service.post(batch).json() == {"accepted": True, "new": False}
    lines = b"\n".join(json.dumps(firing(number)).encode() for number in (2101, 2102))
    assert service.post(lines, headers={"content-type": "application/x-ndjson"}).json()["new"] is True
    after = service.health()
    assert (after["waiting"], after["dead_letters"]) == (before["waiting"] + 3, before["dead_letters"] + 1)


def test_batch_counts_against_the_rate(service: Service) -> None:
    route = "slow-too"  # two a minute, and no other test's
    service.post([firing(number) for number in range(40)], route=route)
    answer = service.post(firing(50), route=route)
    assert answer.status_code == 429


def test_payload_too_large(service: Service) -> None:
    answer = service.post(b" " * 300_000)
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")


@pytest.mark.parametrize("length", ["-1", "x", "5, 6", "99999999999999999999999"])
def test_invalid_content_length(service: Service, length: str) -> None:
    with _connection(service) as connection:
        path = service.url().removeprefix(service.base_url)
        connection.sendall(f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{{}}".encode())
        assert connection.recv(1000).split()[1] in {b"400", b"413"}
    assert service.post(firing(2200)).is_success


def test_body_shorter_than_its_length(service: Service) -> None:
    """Nobody can say what was cut off: it is not kept, and not answered either."""
    before = service.health()
    with _connection(service) as connection:
        path = service.url().removeprefix(service.base_url)
        connection.sendall(f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 999\r\n\r\n{{}}".encode())
        connection.shutdown(socket.SHUT_WR)
        wait_for("it is closed", lambda: _is_closed(connection))
    assert service.health() == before


def test_trailing_slash(service: Service) -> None:
    content = json.dumps(firing(2300)).encode()
    assert service.http.post(service.url() + "/", content=content).json()["new"] is True


def test_a_body_that_is_longer_than_it_says_is_cut_off(service: Service) -> None:
    def chunks() -> Any:
        for _ in range(400):
            yield b" " * 1000

    with contextlib.suppress(httpx.WriteError):  # the connection is closed under it
        answer = service.http.post(service.url(), content=chunks(), headers={"content-type": "application/json"})
        assert answer.status_code == 413


def test_dead_letter_flood_in_the_log(service: Service) -> None:
    before = service.log.read_text().count("dead letter")
    for number in range(50):
        assert service.post({"flood": number}).is_success
    assert service.log.read_text().count("dead letter") <= before + 1


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_health_check_is_cached(service: Service, method: str) -> None:
    """However many ask without a token, and hang up, the inbox is counted once."""
    with httpx.Client(base_url=service.base_url) as client:
        service.post(firing(2400))
        first = client.request(method, "/healthz")
        service.post(firing(2401))
        for _ in range(20):
            with _connection(service) as connection:
                connection.sendall(f"{method} /healthz HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        answers = [client.request(method, "/healthz") for _ in range(5)]
        assert {answer.status_code for answer in [first, *answers]} == {200}
    if method == "HEAD":
        assert first.content == b""


def test_health_check_flood_leaves_the_dispatcher_alone(tmp_path: Path) -> None:
    """Two thousand ask at once: the inbox is asked once."""

    class Counted(Inbox):
        asked = 0

        def backlog(self) -> Backlog:
            self.asked += 1
            return super().backlog()

    async def flood(inbox: Counted) -> None:
        rules = Rules(token_digests=[digest(TOKEN)])
        transport = httpx.ASGITransport(Receiver(inbox, lambda: rules))
        async with httpx.AsyncClient(transport=transport, base_url="http://receiver") as client:
            asking = [asyncio.create_task(client.get("/healthz")) for _ in range(2000)]
            await asyncio.sleep(0.01)
            for gone in asking[::2]:
                gone.cancel()
            answers = await asyncio.gather(*asking[1::2])
            assert {answer.status_code for answer in answers} == {200}
            assert inbox.asked == 1
            unauthorized = await asyncio.gather(*[client.get(f"/healthz/guess-{n}") for n in range(100)])
            assert {answer.status_code for answer in unauthorized} == {401}
            assert inbox.asked == 1
            assert (await client.get(f"/healthz/{TOKEN}")).json()["troubles"] == []
            assert inbox.asked == 2

    with closing(Counted(tmp_path / "inbox.sqlite")) as inbox:
        asyncio.run(flood(inbox))


def test_a_route_that_is_flooded_is_told_when_to_come_again(service: Service) -> None:
    statuses = [service.post(firing(number), route="slow") for number in range(4)]
    assert [answer.status_code for answer in statuses] == [200, 200, 429, 429]
    assert 1 <= int(statuses[-1].headers["retry-after"]) <= 60
    assert service.post(firing(9)).status_code == 200  # the other routes go on


def test_no_secret_is_in_the_log(service: Service) -> None:
    service.post(RECORDED)
    service.post(b"{")
    service.post({"hello": 1})
    httpx.post(f"{service.base_url}/videodb/door/guessed-token-0123456789")
    assert TOKEN not in service.log.read_text()
    assert "guessed-token" not in service.log.read_text()


@pytest.mark.parametrize("kind", ["service", "bare_service"])
def test_a_thousand_slow_senders_do_not_stop_it(kind: str, request: pytest.FixtureRequest) -> None:
    """Each sends a byte a second; alerts come in beside them, and in the end they are cut off."""
    service: Service = request.getfixturevalue(kind)
    slow: list[socket.socket] = []
    try:
        for number in range(1000):
            connection = _connection(service)
            head = f"POST {service.url().removeprefix(service.base_url)} HTTP/1.1\r\nhost: x\r\n"
            # Half of them are slow with the head, half with the body.
            connection.sendall(head.encode() + (b"" if number % 2 else b"content-length: 1000\r\n\r\n"))
            slow.append(connection)
        for second in range(6):
            next_at = time.monotonic() + 1.0
            for connection in slow:
                with contextlib.suppress(OSError):  # on a slow machine the first are cut off by now
                    connection.sendall(b"x")
            for number in range(20):
                assert service.post(firing(100 * second + number)).status_code == 200
            time.sleep(max(0.0, next_at - time.monotonic()))
        wait_for("they are cut off", lambda: all(map(_is_closed, slow[:4] + slow[-4:])), 60)
    finally:
        for connection in slow:
            connection.close()


@pytest.mark.parametrize("begin", [b"POST /videodb/x HTTP/1.1\r\nx: ", b"POST /videodb/"])
@pytest.mark.parametrize(("kind", "refusals"), [("service", [b" 431 "]), ("bare_service", [b" 431 ", b" 400 "])])
def test_a_head_without_an_end_is_refused(
    kind: str, refusals: list[bytes], begin: bytes, request: pytest.FixtureRequest
) -> None:
    service: Service = request.getfixturevalue(kind)
    with _connection(service) as connection:
        connection.sendall(begin)
        for _ in range(100):
            if not select.select([connection], [], [], 0)[0]:
                with contextlib.suppress(ConnectionError):
                    connection.sendall(b"x" * 1000)
        answer = connection.recv(1000)
        assert any(status in answer for status in refusals)
        wait_for("it is closed", lambda: _is_closed(connection))
    assert service.post(firing(3000)).status_code == 200


def test_a_head_that_is_long_and_ends_is_read_on_a_connection_that_was_used_before(service: Service) -> None:
    for number in range(3):
        assert service.post(firing(number), headers={"x-long": "x" * 60_000}).status_code == 200
    assert service.post(firing(9), headers={"x-long": "x" * 70_000}).status_code == 431


def test_a_second_process_at_the_same_port_is_told_so(service: Service, tmp_path: Path) -> None:
    port = int(service.base_url.rpartition(":")[2])
    with (
        pytest.raises(RuntimeError, match="nothing can listen at"),
        running_service(tmp_path / "other.sqlite", tmp_path / "other.log", port=port),
    ):
        pass


def test_receivers_that_share_a_port_share_what_is_known(service: Service, tmp_path: Path) -> None:
    assert service
    inbox, port = tmp_path / "inbox.sqlite", free_port()
    options: dict[str, Any] = {"port": port, "only": "receiver", "shares_port": True}
    with (
        running_service(inbox, tmp_path / "one.log", **options) as one,
        running_service(inbox, tmp_path / "other.log", **options),
    ):
        headers = {"content-type": "application/json"}
        for is_new in (True, False):
            for number in range(40):  # a connection each: the system gives some to one, some to the other
                answer = httpx.post(one.url(), content=json.dumps(firing(number)), headers=headers)
                assert answer.json() == {"accepted": True, "new": is_new}
        os.kill(one.process.pid, signal.SIGKILL)
        one.process.wait(30)
        assert httpx.post(one.url(), content=json.dumps(firing(0)), headers=headers).json()["new"] is False


def test_a_block_that_is_not_there_is_named(service: Service, tmp_path: Path) -> None:
    assert service
    with (
        pytest.raises(RuntimeError, match="no AlertWebhook block 'nobody'"),
        running_service(tmp_path / "other.sqlite", tmp_path / "other.log", webhook="nobody"),
    ):
        pass


BODIES = st.one_of(
    st.binary(max_size=300),
    st.dictionaries(
        st.sampled_from([*RECORDED, "event", "capture_session_id", "data", "status", "video_id", "x"]),
        st.recursive(st.none() | st.booleans() | st.integers() | st.text() | st.floats(), st.lists, max_leaves=5),
        max_size=8,
    ).map(lambda told: json.dumps(told).encode()),
)


@settings(max_examples=150)
@given(BODIES, st.sampled_from(["application/json", "application/json; charset=utf-8", "text/html", "", "\u00e9"]))
def test_nothing_that_is_posted_makes_it_fail(service: Service, body: bytes, kind: str) -> None:
    answer = service.post(body, headers={"content-type": kind.encode("latin-1")})
    assert answer.status_code in {200, 429}
    assert service.process.poll() is None


def _hostile(service: Service, random: Random) -> None:
    """Send one request that means harm, each time another one."""
    deep = b'{"label": "x", "event_id": ' + b"[" * random.randrange(1, 30_000)
    bodies = [
        random.randbytes(random.randrange(2000)),
        deep + b"]" * random.randrange(30_000) + b"}",
        b'{"label": "' + b"x" * random.randrange(1, 300_000) + b'", "event_id": "%d"}' % random.getrandbits(60),
        json.dumps({f"k{random.getrandbits(60)}": random.getrandbits(5000) for _ in range(50)}).encode(),
        json.dumps(firing(random.getrandbits(30), more={"x": ["y"] * 1000})).encode(),
    ]
    body = random.choice(bodies)
    match random.randrange(4):
        case 0:
            answer = service.post(body, route=f"r{random.getrandbits(60)}")
        case 1:
            answer = service.post(body, token=f"{random.getrandbits(200):x}")
        case 2:
            answer = service.http.post(f"{service.base_url}/{random.getrandbits(2000):x}", content=body)
        case _:
            with _connection(service) as connection, contextlib.suppress(OSError):
                connection.sendall(b"POST /videodb/x/y HTTP/1.1\r\n" + body)
            return
    assert answer.status_code < 500


def test_however_much_is_posted_its_memory_does_not_grow(service: Service, tmp_path: Path) -> None:
    assert service
    random = Random(5)  # noqa: S311 - the same requests each time, no secret
    with running_service(tmp_path / "inbox.sqlite", tmp_path / "log", only="receiver") as receiver:

        def resident() -> int:
            pages = Path(f"/proc/{receiver.process.pid}/statm").read_text().split()[1]
            return int(pages) * os.sysconf("SC_PAGE_SIZE")

        for _ in range(400):
            _hostile(receiver, random)
        before = resident()
        for _ in range(1200):
            _hostile(receiver, random)
        assert resident() - before < 12_000_000
        assert receiver.post(RECORDED).status_code == 200


def _connection(service: Service) -> socket.socket:
    host, _, port = service.base_url.removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=30)


def _is_closed(connection: socket.socket) -> bool:
    connection.settimeout(0.1)
    try:
        while True:
            if not connection.recv(1000):
                return True
    except TimeoutError:
        return False
    except OSError:
        return True
