"""Read and check URLs: the one place that does, for blocks, parameters, the client, and what may be shown of a URL.

A parser takes apart whatever it gets: of `rtsp://admin:4711#hunter22@camera/room` it makes the host `admin`. Here a URL
that two readers may understand in two ways is refused, with what to write instead. No message holds the value.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import NoReturn
from urllib.parse import unquote

from prefect_videodb.errors import ConfigurationError

# Longer than any that a service hands out (a signed link has about 2,000 characters), and short enough to be looked
# through at once.
MAX_LENGTH = 16_384
_MAX_HOST = 253
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}")
_HOST = re.compile(r"(?!\.)(?:[A-Za-z0-9_-]{1,63}(?:\.|$))+")
_PORT = re.compile(r"[0-9]{1,5}")
_PORTS = range(1, 65536)
_CUT_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_QUOTED_CONTROL = re.compile(r"%(?:[01][0-9A-Fa-f]|7[Ff])")
# RFC 3986 has none of these, and readers disagree about them: a browser takes `\` for `/`.
_NEVER = frozenset('\\"<>`')
_RTMP = "rtmp"
# A part of a path that is as long may be a token, where it is not made of words and numbers as people make them up.
_MIN_TOKEN = 12
_CHUNK = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_MIN_MEAN_CHUNK = 3
_MAX_WORD = 20
_HEX = re.compile(r"(?<![A-Za-z0-9])(?=[a-fA-F]*[0-9])[0-9a-fA-F]{12,}(?![A-Za-z0-9])")
_LONGEST_ENDING = 5


@dataclass(frozen=True, slots=True)
class Field:
    """What one kind of field takes.

    Attributes:
        what: how messages call it.
        looks: an example, as messages show it.
        schemes: the schemes that it takes.
        takes_user: whether user and password may stand in it.
        takes_query: whether a query may.
        takes_fragment: whether a fragment may.
    """

    what: str
    looks: str
    schemes: frozenset[str]
    takes_user: bool = False
    takes_query: bool = False
    takes_fragment: bool = False


_WEB = frozenset({"http", "https"})
STREAM_SCHEMES = frozenset({"rtsp", "rtsps", "rtmp", "rtmps", "srt"})
SOURCE = Field(
    "URL", "it looks like rtsp://host/path", STREAM_SCHEMES | _WEB | {"file"}, takes_user=True, takes_query=True
)
SERVICE = Field("base URL", "it looks like https://api.videodb.io; the API key has a field of its own", _WEB)
ENDPOINT = Field(
    "endpoint URL", "it looks like https://host or https://host:9000; keys belong into their own fields", _WEB
)
WEBHOOK = Field(
    "public base URL", "it looks like https://host or https://host/path; the token has a field of its own", _WEB
)
LINK = Field("link", "it looks like https://host/path", _WEB, takes_query=True, takes_fragment=True)
UI = Field("URL of the UI", "it looks like http://host:4200", _WEB, takes_user=True)
WEBSOCKET = Field("WebSocket's address", "it looks like wss://host/path", frozenset({"ws", "wss"}), takes_query=True)


@dataclass(frozen=True, slots=True, repr=False)
class Url:
    """A URL that was read. Its repr and `place` hold no secret; everything else may.

    Attributes:
        text: the whole URL: without blanks around it, scheme and host in lower case.
        scheme: in lower case.
        host: in lower case and in its ASCII form, an IPv6 address without brackets; empty in a `file` URL.
        port: None where it is the scheme's own.
        user_info: user and password, quoted.
        path: quoted.
        query: without its `?`.
        fragment: without its `#`.
    """

    text: str
    scheme: str
    host: str
    port: int | None
    user_info: str
    path: str
    query: str
    fragment: str

    @property
    def place(self) -> str:
        """Where it leads, for people: scheme, host and port."""
        return _place(self.scheme, self.host, self.port)

    @property
    def may_hold_secret(self) -> bool:
        """Whether a part of it may be a secret: user, query, fragment, RTMP's stream key, a token in the path."""
        if self.user_info or self.query or self.fragment or self.scheme.startswith(_RTMP):
            return True
        return self.scheme != "file" and bool(tokens_in(self.path))

    def __repr__(self) -> str:
        return f"Url({self.place})"


def read(text: object, field: Field) -> Url:
    """Read what stands in a field.

    Args:
        text: the URL, as somebody wrote it.
        field: what the field takes.

    Raises:
        ConfigurationError: it is none that the field takes; the message says what to write instead.
    """
    url = text.strip() if isinstance(text, str) else ""
    if not url or len(url) > MAX_LENGTH:
        _refuse(field, "is too long" if url else "is empty, or no text")
    if not url.isprintable() or " " in url:
        _refuse(field, "has a blank or a character that cannot be seen in it: write a blank as %20")
    if not _NEVER.isdisjoint(url):
        _refuse(field, 'has a \\, ", `, < or > in it: write %5C, %22, %60, %3C, %3E')
    scheme, colon, rest = url.partition(":")
    scheme = scheme.lower()
    if not colon or not _SCHEME.fullmatch(scheme):
        _refuse(field, "has no scheme")
    if scheme not in field.schemes:
        _refuse(field, f"has none of the schemes {', '.join(sorted(field.schemes))}")
    if not rest.startswith("//"):
        _refuse(field, "has no // after its scheme")
    return _read_rest(scheme, rest[2:], field)


def _read_rest(scheme: str, rest: str, field: Field) -> Url:
    authority, rest = _authority(rest)
    user_info, at, host_and_port = authority.rpartition("@")
    if "@" in rest or "@" in user_info:
        _refuse(
            field,
            "has an @ that may be part of a password or of the path: write @ as %40, and in a password # as %23, "
            "/ as %2F, ? as %3F",
        )
    if at and not field.takes_user:
        _refuse(field, "has a user or a password, which do not belong there")
    if _CUT_PERCENT.search(user_info):
        _refuse(field, "has a % in its password that begins no code: write % as %25")
    before, hash_sign, fragment = rest.partition("#")
    path, question_mark, query = before.partition("?")
    if hash_sign and not field.takes_fragment:
        _refuse(field, "has a # in it, after which nothing is sent: write # as %23")
    if question_mark and (not field.takes_query or scheme == "file"):
        _refuse(field, "has a ?, which does not belong there: write ? as %3F in a path")
    if _QUOTED_CONTROL.search(authority + rest):
        _refuse(field, "has a control character in it, as %0A")
    if scheme == "file":
        if authority or not path.startswith("/"):
            _refuse(field, "names no file: write file:///absolute/path")
        return Url(f"file://{path}", scheme, "", None, "", path, "", "")
    host, port = _host_and_port(host_and_port, field)
    text = f"{scheme}://{user_info}{at}{_netloc(host, port)}{rest}"
    return Url(text, scheme, host, port, user_info, path, query, fragment)


def _host_and_port(text: str, field: Field = LINK) -> tuple[str, int | None]:
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        try:
            host = str(IPv6Address(host))
        except ValueError:
            host = ""
        if not host or not bracket or port[:1] not in {"", ":"}:
            _refuse(field, "has no IPv6 address in its brackets: write it like [2001:db8::1]")
        port = port[1:]
    else:
        host, _, port = text.partition(":")
        host = _host(host, field)
    if port and not (_PORT.fullmatch(port) and int(port) in _PORTS):
        _refuse(field, "has no port from 1 to 65535 after its host: an IPv6 address stands in brackets, like [::1]")
    return host, int(port) if port else None


def _host(host: str, field: Field) -> str:
    if not host:
        _refuse(field, "has no host")
    if len(host) <= _MAX_HOST and not host.isascii():
        try:
            ascii_form = host.encode("idna").decode("ascii")
            # Where they differ, readers of different age make different hosts of one name.
            host = ascii_form if ascii_form.encode("ascii").decode("idna") == host.lower() else ""
        except UnicodeError:
            host = ""
    if len(host) > _MAX_HOST or not _HOST.fullmatch(host):
        _refuse(field, "has a host that is no name and no address: write a name in its ASCII form, as xn--…")
    return host.lower()


def _authority(rest: str) -> tuple[str, str]:
    """Split what follows the `//` where a parser ends the host."""
    end = min((at for sign in "/?#" if (at := rest.find(sign)) >= 0), default=len(rest))
    return rest[:end], rest[end:]


def _netloc(host: str, port: int | None) -> str:
    return f"{f'[{host}]' if ':' in host else host}{f':{port}' if port else ''}"


def _place(scheme: str, host: str, port: int | None) -> str:
    return f"{scheme}://{_netloc(host, port)}/…"


def _refuse(field: Field, why: str) -> NoReturn:
    raise ConfigurationError(f"the {field.what} {why}; {field.looks}")


# --- of what nobody has checked ---------------------------------------------------------------------------------------


def place_of(text: str) -> str | None:
    """Return where a URL leads, however it is written: scheme, host and port. None where that is not sure."""
    scheme, found, rest = text.strip().partition("://")
    if not found or not _SCHEME.fullmatch(scheme):
        return None
    authority, rest = _authority(rest)
    if "@" in rest:
        return None  # what looks like the host may be the beginning of a password
    try:
        host, port = _host_and_port(authority.rpartition("@")[2].rstrip(".,;!)'"))
    except ConfigurationError:
        return None
    return _place(scheme.lower(), host, port)


def secrets_of(text: str) -> frozenset[str]:
    """Return what must not be shown of a URL, however it is written: itself, and its parts that may be a secret.

    Each as it is written and unquoted. Of a password that should have been quoted, also the parts into which a parser
    may cut it.
    """
    scheme, _, rest = text.strip().partition("://")
    user_info, _, place = rest.rpartition("@")
    user, colon, password = user_info.partition(":")
    token = password if colon else user
    pieces = {text, text.strip(), user_info, token, *re.split(r"[#/?@]", token)}
    # An `@` may also stand in a path or query: then all of it is one.
    for part in {rest, place}:
        before, _, fragment = part.partition("#")
        path, _, query = before.partition("?")
        path = path.partition("/")[2]
        pieces |= {fragment, query, *(pair.partition("=")[2] for pair in query.split("&")), *tokens_in(path)}
        if scheme.lower().startswith(_RTMP):
            pieces.add(path.rstrip("/").rpartition("/")[2])  # the stream key
    return frozenset(pieces | {unquote(piece) for piece in pieces})


def tokens_in(path: str) -> list[str]:
    """List the parts of a path that may be a token: long, and no words or short numbers."""
    return [part for part in path.split("/") if _may_be_token(unquote(part))]


def _may_be_token(part: str) -> bool:
    name, dot, ending = part.rpartition(".")
    name = name if dot and len(ending) <= _LONGEST_ENDING else part
    if "=" in name or ":" in name:
        return True
    if len(name) < _MIN_TOKEN:
        return False
    chunks = [len(chunk) for chunk in _CHUNK.findall(name)]
    mean = sum(chunks) / len(chunks) if chunks else 0.0
    return mean < _MIN_MEAN_CHUNK or max(chunks) > _MAX_WORD or bool(_HEX.search(name))
