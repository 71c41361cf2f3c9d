"""Whether the source of a stream delivers, whatever the service calls it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from prefect_videodb.client import Client
from prefect_videodb.client.models import RTStream
from prefect_videodb.recording.liveness import (
    BACK,
    FIRST_SIGN,
    LOST,
    PROBED,
    REASON,
    Ingest,
    Liveness,
    check_ingest,
    is_change,
    look_at_source,
    outage_text,
)
from tests.support.recording_server import CUT, RecordingServer, Reply, Request, envelope

CONNECTED = RTStream.model_validate({"id": "rts-1", "status": "connected", "status_message": "No route to host"})


class Service:
    """A service that answers what it is told to a playback, and to the playlist that it leads to."""

    def __init__(self) -> None:
        self.playback: Reply | None = None
        self.playlist = Reply(b"")
        self.url = ""

    def answer(self, request: Request) -> Reply:
        if request.path.startswith("/manifests/"):
            return self.playlist
        if request.path.endswith("/stream"):
            return self.playback or envelope({"stream_url": f"{self.url}/manifests/rts-1/1-2.m3u8"})
        return envelope({"id": "rts-1", "status": "connected"})


@pytest.fixture
def service() -> Iterator[Service]:
    known = Service()
    with RecordingServer(known.answer) as server:
        known.url = server.url
        yield known


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with Client(api_key="sk-liveness", base_url=service.url) as one:
        yield one


def playlist(ends: datetime | None = None) -> Reply:
    time = f"#EXT-X-PROGRAM-DATE-TIME:{(ends - timedelta(seconds=2)).isoformat()}\n" if ends else ""
    return Reply(f"#EXTM3U\n{time}#EXTINF:2.0,\na.ts\n".encode())


def test_liveness_alive(service: Service, client: Client) -> None:
    service.playlist = playlist()
    assert check_ingest(client, CONNECTED).liveness is Liveness.ALIVE
    service.playlist = playlist(datetime.now(UTC))
    assert look_at_source(client, "rts-1").liveness is Liveness.ALIVE


@pytest.mark.parametrize(
    ("playback", "manifest"),
    [
        (envelope(http_status=404, message="Nothing was recorded"), Reply(b"")),
        (envelope(http_status=400, message="No recordings available"), Reply(b"")),
        (None, Reply(b"", 404)),
        (None, Reply(b"#EXTM3U\n#EXT-X-ENDLIST\n")),
        (None, playlist(datetime.now(UTC) - PROBED - timedelta(seconds=5))),
    ],
)
def test_liveness_dead_though_connected(
    service: Service, client: Client, playback: Reply | None, manifest: Reply
) -> None:
    service.playback, service.playlist = playback, manifest
    found = check_ingest(client, CONNECTED)
    assert found.liveness is Liveness.DEAD
    assert "VideoDB says: No route to host" in found.reason


@pytest.mark.parametrize(
    ("playback", "manifest"),
    [
        (envelope(http_status=500), Reply(b"")),
        (envelope(http_status=401), Reply(b"")),
        (envelope(http_status=429), Reply(b"")),
        (CUT, Reply(b"")),
        (envelope({}), Reply(b"")),
        (envelope({"stream_url": "file:///etc/passwd"}), Reply(b"")),
        (None, Reply(b"<html>Sign in</html>")),
        (None, Reply(b"", 403)),
        (None, CUT),
    ],
)
def test_liveness_unknown(service: Service, client: Client, playback: Reply | None, manifest: Reply) -> None:
    service.playback, service.playlist = playback, manifest
    found = check_ingest(client, CONNECTED)
    assert found.liveness is Liveness.UNKNOWN
    assert found.reason
    assert "sk-liveness" not in found.reason


def test_liveness_of_a_stream_that_records_no_more(client: Client) -> None:
    stopped = RTStream.model_validate({"id": "rts-1", "status": "stopped"})
    assert check_ingest(client, stopped).liveness is Liveness.UNKNOWN


def test_liveness_reason_redacts_urls(service: Service, client: Client) -> None:
    service.playback = envelope(http_status=404)
    told = "rtsp://user:hunter22@camera/room\nis away"
    stream = RTStream.model_validate({"id": "rts-1", "status": "connected", "status_message": told})
    reason = check_ingest(client, stream).reason
    assert "hunter22" not in reason
    assert "\n" not in reason


def test_outage_is_told_once() -> None:
    now = datetime.now(UTC)
    dead, alive, unknown = (
        Ingest("rts-1", now, liveness) for liveness in (Liveness.DEAD, Liveness.ALIVE, Liveness.UNKNOWN)
    )
    began = {"window_start": (now - FIRST_SIGN).isoformat()}
    assert is_change(began, dead)
    assert not is_change({"window_start": now.isoformat()}, dead)  # it has just been connected
    lost = began | {LOST: now.isoformat()}
    assert not is_change(lost, dead)
    assert is_change(lost, alive)
    assert not is_change(began | {LOST: "", BACK: now.isoformat()}, alive)
    assert is_change(began | {LOST: "", BACK: now.isoformat()}, dead)
    assert not any(is_change(known, unknown) for known in (began, lost))


def test_outage_text() -> None:
    at = datetime(2026, 11, 23, 9, 0, tzinfo=UTC).isoformat()
    assert outage_text({}) == ""
    assert "delivers nothing since about 2026-11-23 09:00:00 UTC (why)" in outage_text({LOST: at, REASON: "why"})
    assert "delivers again since 2026-11-23 09:00:00 UTC" in outage_text({LOST: "", BACK: at})
    assert outage_text({LOST: "nonsense"}) == ""
