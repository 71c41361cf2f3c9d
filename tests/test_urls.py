"""One place reads URLs: what two readers may understand in two ways is refused, and nothing of it is shown."""

import ast
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from prefect_videodb.blocks import AlertWebhook, RecordingArchive, RTStreamSource, VideoDBCredentials
from prefect_videodb.client import Client
from prefect_videodb.errors import ConfigurationError
from prefect_videodb.local_server import urls as server_urls
from prefect_videodb.redact import may_hold_secret, redact_url, redact_urls, scrub, url_secrets
from prefect_videodb.urls import ENDPOINT, LINK, SERVICE, SOURCE, WEBHOOK, WEBSOCKET, place_of, read, tokens_in
from tests.support.urls import SECRET, SOURCES

ROOT = Path(__file__).parents[1]
TOKEN = SecretStr("a-token-that-nobody-can-guess")
URLS = st.builds(
    "{}://{}{}{}".format,
    st.sampled_from(["rtsp", "RTMP", "https", "file", "srt", ""]),
    st.sampled_from(["", "admin:", "admin:4711@", "a@b@"]),
    st.text(st.sampled_from("ab1.:@/?#%[]\\ \n\u202e\u00fc=&"), max_size=20),
    st.sampled_from(["", "@camera/room", "/x", ":99999"]),
)


@pytest.mark.parametrize(("text", "as_read"), SOURCES, ids=lambda value: repr(value)[:60])
def test_ambiguous_url_is_refused_by_both_readers(text: str, as_read: str | None) -> None:
    if as_read is None:
        with pytest.raises(ConfigurationError) as refusal:
            read(text, SOURCE)
        with pytest.raises(server_urls.BadUrl) as refused_by_server:
            server_urls.read(text, server_urls.SOURCES)
        assert SECRET not in str(refusal.value) + str(refused_by_server.value)
        assert may_hold_secret(text)
    else:
        assert read(text, SOURCE).text == as_read
        assert server_urls.read(text, server_urls.SOURCES).geturl() == as_read
    for shown in (redact_url(text), server_urls.shown(text), repr(place_of(text))):
        assert SECRET not in shown
    if not {" ", '"'} & set(text.strip()):  # these end a URL in a text
        assert SECRET not in redact_urls(f"at {text}, say")


@pytest.mark.parametrize("text", [text for text, as_read in SOURCES if as_read is None and len(text) < 1000])
def test_source_block_refuses_a_bad_url_when_saved(text: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        RTStreamSource(url=SecretStr(text))
    shown = str(refusal.value)
    assert "RTStreamSource\nurl\n" in shown
    assert "it looks like rtsp://host/path" in shown
    assert SECRET not in shown


def test_unquoted_password_names_its_code() -> None:
    with pytest.raises(ValidationError, match=r"write @ as %40, and in a password # as %23, / as %2F, . as %3F"):
        RTStreamSource(url=SecretStr("rtsp://admin:4711#hunter22@camera/room"))


def test_blocks_normalize_urls() -> None:
    assert RTStreamSource(url=SecretStr(" RTSP://Cam/Room\n")).url.get_secret_value() == "rtsp://cam/Room"
    assert VideoDBCredentials(base_url=" HTTPS://API.example/v1/\n").base_url == "https://api.example/v1"
    assert AlertWebhook(base_url="HTTP://Hooks.example:8080/ ", token=TOKEN).base_url == "http://hooks.example:8080"
    assert RecordingArchive(bucket="abc", endpoint_url=" HTTPS://s3.example/ ").endpoint_url == "https://s3.example"
    assert RecordingArchive(bucket="abc", endpoint_url=" ").endpoint_url is None
    with Client(api_key="k", base_url=" HTTP://127.0.0.1:1/x/\n") as client:
        assert client.base_url == "http://127.0.0.1:1/x"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.example",
        "ftp://api.example",
        "https://",
        "https://api.example\nx",
        "https://api.exa mple",
        f"https://api.example#{SECRET}",
        f"https://api.example?key={SECRET}",
        f"https://{SECRET}@api.example",
        f"https://user:{SECRET}@api.example",
        f"https://user:{SECRET}/x@api.example",
        f"https://api.example:{SECRET}",
        "https://api.example:99999",
        "https://api.example:0",
        "https://[::1",
        "https:\\\\api.example",
        "https:/api.example",
    ],
)
def test_base_urls_are_checked_when_saved(url: str) -> None:
    for make, field in (
        (lambda: VideoDBCredentials(base_url=url), "VideoDBCredentials\nbase_url"),
        (lambda: AlertWebhook(base_url=url, token=TOKEN), "AlertWebhook\nbase_url"),
        (lambda: RecordingArchive(bucket="abc", endpoint_url=url or "x"), "RecordingArchive\nendpoint_url"),
    ):
        with pytest.raises(ValidationError) as refusal:
            make()
        assert field in str(refusal.value)
        assert SECRET not in str(refusal.value)
    with pytest.raises(ConfigurationError, match="base URL") as client_refusal:
        Client(api_key="k", base_url=url)
    assert SECRET not in str(client_refusal.value)


@pytest.mark.parametrize(
    ("url", "answer"),
    [
        ("rtsp://camera/meeting-room-2", False),
        ("rtsp://camera/Streaming/Channels/101", False),
        ("rtsp://camera/h264Preview_01_main", False),
        ("https://h.example/live/conference-room-building-a/index.m3u8", False),
        ("file:///tmp/3f2b8c1e4d5a6978/a.mp4", False),
        ("https://h.example/hls/3f2b8c1e4d5a6978/index.m3u8", True),
        ("https://h.example/hls/s3cr3t-t0ken-1234/index.m3u8", True),
        ("https://h.example/hls/%733cr3t-t0ken-1234/index.m3u8", True),
        ("rtsps://nvr:7441/AbCdEfGhIjKlMnOp", True),
        ("rtsp://camera/user=admin_password=x_channel=1.sdp", True),
        ("rtsp://camera/123456789012", True),
        ("rtmp://live.example/app/key", True),
        ("srt://h.example:9000?passphrase=x", True),
    ],
)
def test_token_in_a_path_is_a_secret(url: str, *, answer: bool) -> None:
    assert may_hold_secret(url) is answer


def test_a_token_of_a_path_is_masked_on_its_own() -> None:
    assert "s3cr3t-t0ken-1234" in url_secrets("https://h.example/hls/s3cr3t-t0ken-1234/index.m3u8")
    assert tokens_in("/hls/live/index.m3u8") == []


@settings(max_examples=200)
@given(URLS | st.text(max_size=60))
def test_url_fuzz(text: str) -> None:
    for field in (SOURCE, SERVICE, ENDPOINT, WEBHOOK, LINK, WEBSOCKET):
        try:
            url = read(text, field)
        except ConfigurationError:
            continue
        assert read(url.text, field) == url
        parts = urlsplit(url.text)  # whoever reads it with another parser reads the same
        assert (parts.scheme, parts.hostname or "", parts.port) == (url.scheme, url.host, url.port)
        assert parts.path == url.path
    shown = redact_url(text)
    assert redact_url(shown) == shown
    assert server_urls.shown(server_urls.shown(text)) == server_urls.shown(text)
    for mask in (scrub, redact_urls):
        assert mask(mask(text)) == mask(text)


@settings(max_examples=200)
@given(
    st.sampled_from(["rtsp://admin:{}@camera.example/x", "rtmp://h.example/app/{}", "srt://h:1?passphrase={}"]),
    st.text(st.sampled_from("abcXYZ019#/?@%:'&=+-_."), min_size=3, max_size=10),
)
def test_secret_of_a_url_never_shows(form: str, noise: str) -> None:
    url = form.format(f"s3cr3t{noise}s3cr3t")
    assert "s3cr3t" not in redact_url(url)
    assert "s3cr3t" not in server_urls.shown(url)
    assert "s3cr3t" not in redact_urls(f"cannot open {url}: refused")
    assert f"s3cr3t{noise}s3cr3t" not in scrub(f"cannot open '{url}': refused, {url}", url_secrets(url))


def test_urls_are_parsed_in_one_place() -> None:
    parsers = {"urlsplit", "urlparse", "urllib3", "furl", "yarl"}
    found: set[str] = set()
    for folder in ("src/prefect_videodb", "blocks", "tasks", "flows"):
        for file in (ROOT / folder).rglob("*.py"):
            names = {
                name
                for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
                if isinstance(node, ast.ImportFrom)
                for name in [alias.name for alias in node.names]
            }
            if names & parsers:
                found.add(file.relative_to(ROOT).as_posix())
    assert found <= {"src/prefect_videodb/local_server/urls.py"}
