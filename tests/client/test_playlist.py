"""What an HLS playlist says that it plays."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_videodb.client.playlist import Playlist, parse_playlist, read_playlist
from prefect_videodb.errors import NotFound, UnexpectedAnswer
from tests.support.recording_server import CUT, RecordingServer, Reply

TWO = (
    b"#EXTM3U\n#EXT-X-PROGRAM-DATE-TIME:2026-11-23T09:00:00.500Z\n#EXTINF:2.0,\na.ts\n"
    b"#EXT-X-PROGRAM-DATE-TIME:2026-11-23T09:00:02.500Z\r\n#EXTINF:1.5,title, with a comma\r\nb.ts\n"
)


def read(server: RecordingServer, path: str = "/x.m3u8") -> Playlist:
    return read_playlist(server.url + path, base_url=server.url, timeout_s=5.0)


def test_hls_playlist_segments() -> None:
    assert parse_playlist(TWO.decode()) == Playlist(2, datetime(2026, 11, 23, 9, 0, 4, tzinfo=UTC))
    assert parse_playlist("#EXTM3U\n#EXTINF:2,\na.ts") == Playlist(1)
    assert parse_playlist("#EXTM3U\n#EXT-X-ENDLIST") == Playlist(0)


@given(st.text(alphabet="#EXTM3UINF:,-PROGAMDT0129.Z\n\r \ufeff"), st.sampled_from(["#EXTM3U\n", ""]))
def test_hls_playlist_fuzz(text: str, head: str) -> None:
    try:
        found = parse_playlist(head + text)
    except UnexpectedAnswer:
        return
    assert found.segments >= 0


@pytest.mark.parametrize("time", ["yesterday", "2026-11-23", "9999-12-31T23:59:59Z", "2026-13-01T00:00:00Z"])
@pytest.mark.parametrize("duration", ["2", "nan", "inf", "1e300", "", "-5", "a"])
def test_hls_playlist_hostile_numbers(time: str, duration: str) -> None:
    assert parse_playlist(f"#EXTM3U\n#EXT-X-PROGRAM-DATE-TIME:{time}\n#EXTINF:{duration},\na.ts").segments == 1


def test_hls_variant_is_followed_once() -> None:
    with RecordingServer() as server:
        server.tell(Reply(b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n\nlow/x.m3u8\n"), Reply(TWO))
        assert read(server, "/a/master.m3u8?token=1").segments == 2
        assert [request.target for request in server.requests] == ["/a/master.m3u8?token=1", "/a/low/x.m3u8"]
        server.tell(Reply(b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nmaster.m3u8\n"))
        with pytest.raises(UnexpectedAnswer, match="other playlists only"):
            read(server)
        assert not any("x-access-token" in request.headers for request in server.requests)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(b"<html>"),
        Reply(b""),
        Reply(b"\xff\xfe\x00"),
        Reply(b"", 500),
        Reply(b"", 302, {"Location": "http://127.0.0.1:1/elsewhere"}),
        Reply(b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhttp://[\n"),
        CUT,
    ],
)
def test_hls_playlist_that_is_none(reply: Reply) -> None:
    with RecordingServer() as server:
        server.tell(reply)
        with pytest.raises(UnexpectedAnswer):
            read(server)


def test_hls_playlist_not_found() -> None:
    with RecordingServer() as server:
        server.tell(Reply(b"", 404))
        with pytest.raises(NotFound):
            read(server)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "http://169.254.169.254/latest",
        "http://10.0.0.1/x.m3u8",
        "http://[::1]/x",
        "http://localhost/x",
        "http://user:hunter22@h/x",
        "http://",
        "",
        "nonsense",
        "http://h:99999/x",
    ],
)
def test_hls_playlist_link_ssrf(url: str) -> None:
    with pytest.raises(UnexpectedAnswer) as refused:
        read_playlist(url, base_url="https://api.videodb.io", timeout_s=1.0)
    assert "hunter22" not in str(refused.value)
