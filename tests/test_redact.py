"""What people and logs read holds no secret."""

import json
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_videodb.redact import (
    BLOT,
    may_hold_secret,
    redact_url,
    redact_urls,
    scrub,
    scrub_answer,
    url_secrets,
    webhook_secrets,
)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://user:pass@camera.example:8554/live?token=t", "rtsp://camera.example:8554/…"),
        ("rtmp://a.example/live/stream-key", "rtmp://a.example/…"),
        ("https://a.example", "https://a.example/…"),
        ("https://a.example/path#fragment", "https://a.example/…"),
        ("srt://[::1]:9000?passphrase=p", "srt://[::1]:9000/…"),
        ("HTTPS://A.Example", "https://a.example/…"),
        ("rtsp://user:pa@ss@a.example/live", "rtsp://a.example/…"),
        ("no url but a password", BLOT),
        ("/a/path", BLOT),
        ("http://[::1", BLOT),
        ("http://a.example:port/", BLOT),
        ("file:///etc/passwd", BLOT),
        ("", BLOT),
    ],
)
def test_of_a_url_only_where_it_leads_is_shown(url: str, shown: str) -> None:
    assert redact_url(url) == shown


@pytest.mark.parametrize(
    ("url", "secrets"),
    [
        ("rtsp://user:p%40ss@a.example/live", {"p%40ss", "p@ss"}),
        ("rtsp://just-a-token@a.example/live", {"just-a-token"}),
        ("srt://a.example:9000?passphrase=a%20phrase&mode=caller", {"a%20phrase", "a phrase", "caller"}),
        ("rtmp://a.example/live/stream-key", {"stream-key"}),
        ("rtmps://a.example/live/stream-key?x=yyyy", {"stream-key", "yyyy"}),
        ("rtsp://user:pass/word@a.example/live", {"pass/word"}),
        ("rtsp://a.example/live", set()),
    ],
)
def test_the_secrets_of_a_url_are_itself_and_its_parts_longest_first(url: str, secrets: set[str]) -> None:
    found = url_secrets(url)

    assert secrets | {url} <= set(found)
    assert list(found) == sorted(found, key=len, reverse=True)


def test_short_parts_are_not_blotted_out_on_their_own() -> None:
    assert scrub("a call to example", url_secrets("rtsp://a:b@a.example/live?x=1")) == "a call to example"


def test_a_url_that_cannot_be_read_is_a_secret_as_a_whole() -> None:
    assert url_secrets("rtsp://[::1/secret") == ("rtsp://[::1/secret",)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at rtsp://user:pass@a.example/live", "at rtsp://a.example/…"),
        ("rtsp://user:pa@ss@a.example/live", "rtsp://a.example/…"),
        ('"rtsp://u:p@a.example", mail me@example.com', '"rtsp://a.example/…", mail me@example.com'),
        ("https://a.example/ and me@example.com", "https://a.example/ and me@example.com"),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_user_info_is_blotted_out_of_any_url_in_a_text(text: str, shown: str) -> None:
    assert scrub(text) == shown


@given(st.text(st.characters(codec="utf-8"), min_size=4, max_size=40), st.text(max_size=20), st.text(max_size=20))
def test_a_secret_is_blotted_out_in_every_spelling(secret: str, before: str, after: str) -> None:
    for spelling in (
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        json.dumps(secret)[1:-1].replace("/", "\\/"),
        quote(secret, safe=""),
    ):
        rest = scrub(f"{before}\0{spelling}\0{after}", [secret])

        assert f"\0{spelling}\0" not in rest or set(spelling) <= set(BLOT)


@given(st.text(max_size=60))
def test_no_text_whatever_makes_a_url_reader_fail(text: str) -> None:
    for url in (text, f"rtsp://{text}", f"rtmp://host/{text}", f"https://u:{text}@host/?{text}"):
        redact_url(url)
        assert url in {url, *url_secrets(url)}
        scrub(text, url_secrets(url))
        assert isinstance(may_hold_secret(url), bool)


@given(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=8, max_size=30))
def test_a_password_never_shows(password: str) -> None:
    url = f"rtsp://someone:{password}@host.example:8554/{'x' * 5}"

    assert urlsplit(url).password == password
    assert password not in redact_url(url).replace("host.example", "")
    assert password not in scrub(f"cannot open {url}; tried {password}", url_secrets(url))


@pytest.mark.parametrize(
    ("url", "answer"),
    [
        ("rtsp://a.example/live", False),
        ("https://a.example/x.m3u8", False),
        ("rtsp://user@a.example/live", True),
        ("rtsp://:pass@a.example/live", True),
        ("https://a.example/x.m3u8?sig=1", True),
        ("rtmp://a.example/live/key", True),
        ("http://[::1", True),
    ],
)
def test_whether_a_url_may_hold_a_secret_is_told(url: str, *, answer: bool) -> None:
    assert may_hold_secret(url) is answer


KEPT_BACK: list[dict[str, object]] = [
    {"callback_url": 'https://me/h?x="s3cr3t'},
    {"alerts": [{"alert_id": "a-1", "callback_url": "https://me/s3cr3t"}]},
    {"callback_data": {"deep": [{"x": "s3cr3t"}], "more": "s3cr3t"}, "after": 1},
    {"data": {"token": "s3cr3t", "meeting_url": "https://zoom/j/1?pwd=s3cr3t"}},
]


@pytest.mark.parametrize("answer", KEPT_BACK, ids=str)
@pytest.mark.parametrize("missing", [0, 1, 3, 8])
def test_a_secret_of_an_answer_is_blotted_out_also_where_the_answer_is_cut_off(
    answer: dict[str, object], missing: int
) -> None:
    whole = json.dumps({"success": True, "id": "m-1"} | answer)

    shown = scrub_answer(whole[: len(whole) - missing])

    assert "s3cr3t" not in shown
    assert '"id": "m-1"' in shown


def test_an_answer_without_such_a_secret_is_shown_as_it_came() -> None:
    for text in ('{"a":  1}', "<html>token</html>", '{"callback_url"', ""):
        assert scrub_answer(text) == text
    assert scrub_answer('{"callback_url": null}') == '{"callback_url": null}'


@pytest.mark.parametrize(
    "url",
    [
        "https://me.example/alerts/s3cr3t-t0ken-1234",
        "https://me.example/s3cr3t%2Dt0ken-1234/alerts",
        "https://me.example/alerts?token=s3cr3t-t0ken-1234",
        "https://user:s3cr3t-t0ken-1234@me.example/alerts",
    ],
)
def test_the_token_of_a_webhook_is_blotted_out_on_its_own(url: str) -> None:
    secrets = webhook_secrets(url)

    assert "s3cr3t" not in scrub(f"cannot call {url}: s3cr3t-t0ken-1234 is unknown to /alerts", secrets)
    assert "/alerts" in scrub("is unknown to /alerts", secrets)


def test_of_every_url_in_a_text_only_where_it_leads_is_shown() -> None:
    told = "cannot open 'rtsp://u:p@camera:554/key/abc', nor (https://a.example/live/KEY/index.m3u8)"
    assert redact_urls(told) == "cannot open 'rtsp://camera:554/…', nor (https://a.example/…"
