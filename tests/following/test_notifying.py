"""What an alert or a service says is plain text in a notification, a report and a log line."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_videodb.following.models import FollowUp
from prefect_videodb.following.notifying import body, subject
from prefect_videodb.following.report import markdown
from prefect_videodb.recording.models import Links
from prefect_videodb.recording.text import escape, plain, web_link
from prefect_videodb.redact import foreign

HOSTILE = [
    "<!channel> <https://evil.example|Sign in>",
    "https://evil.example|Sign in",
    "[Sign in](https://evil.example)",
    "@here @everyone @channel <@U123>",
    "two\nlines\r\nFrom: me",
    "\x1b[31mred\x1b]8;;https://evil.example\x07link",
    "\u202egnp.exe \u200b\u2060\u00ad\u061c\U000e0041 hidden",
    "www.evil.example/sign-in",
    "mailto:me@evil.example",
    "`code` <script>alert(1)</script>",
    "HTTPS://evil.example",
]
MARKUP = re.compile(
    r"[<>@\[\]`\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]|://|www\\.", re.IGNORECASE
)


@pytest.mark.parametrize("text", HOSTILE)
def test_notification_neutralizes_hostile_text(text: str) -> None:
    follow_up = FollowUp(label=text, explanation=text, missing=[f"Not everything: {text}"], clip=Links(player_url=text))
    lines = [subject(follow_up), *body(follow_up).split("\n")]
    assert len(lines) == 4  # subject, explanation, clip, what is missing
    for line in lines:
        if line != web_link(text):
            assert not MARKUP.search(line), line
    report = markdown(follow_up, [text])
    assert "](https://evil" not in report
    assert "](<https://evil.example|" not in report
    assert "<script>" not in report
    assert "https://evil" not in report.replace("](<https://evil.example>)", "")
    assert foreign(text).isprintable()


@pytest.mark.parametrize(
    ("url", "link"),
    [
        ("https://play.example/w?v=1", "https://play.example/w?v=1"),
        (" HTTPS://Play.example/w ", "https://play.example/w"),
        ("https://play.example/w?a=%40#t=1", "https://play.example/w?a=%40#t=1"),
        ("https://good.example@evil.example/", None),
        ("https://user:password@evil.example/", None),
        ("https://good.example\\@evil.example/", None),
        ("https://evil.example|Sign in", None),
        ("https://evil.example/x>|<https://y", None),
        ("https://evil.example/\u202ex", None),
        ("https://play.example/\n<!channel>", None),
        ("javascript:alert(1)", None),
        ("//evil.example", None),
        ("rtsp://camera/x", None),
        ("", None),
        (None, None),
    ],
)
def test_only_a_whole_web_url_is_a_link(url: str | None, link: str | None) -> None:
    assert web_link(url) == link


@settings(max_examples=200)
@given(st.text(max_size=60) | st.text(st.sampled_from("<>@[]|!:/wW.\n`\u202e htps"), max_size=40))
def test_plain_text_fuzz(text: str) -> None:
    shown = plain(text, 50)
    assert not MARKUP.search(shown)
    assert plain(shown, 60) == shown
    assert "://" not in escape(text)
    if link := web_link(text):
        assert re.fullmatch(r"https?://[!-;=?-~]+", link)
        assert web_link(link) == link
