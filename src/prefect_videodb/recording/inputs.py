"""Make what a person filled in into what can be worked with, or say what to fill in instead."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ParamSpec, Self, TypeVar, cast

from prefect import Flow
from prefect.blocks.core import Block
from prefect.client.orchestration import SyncPrefectClient, get_client
from pydantic import Field, SecretStr, ValidationError

from prefect_videodb.blocks import AlertWebhook, RecordingArchive, RTStreamSource, VideoDBCredentials
from prefect_videodb.client import API_KEY_VARIABLE
from prefect_videodb.errors import ConfigurationError
from prefect_videodb.recording.models import Window
from prefect_videodb.recording.sharing import read_once
from prefect_videodb.recording.text import clock, one_line
from prefect_videodb.strict import faults, suggestion
from prefect_videodb.strict_flow import StrictFlow, strict_parameters
from prefect_videodb.urls import SOURCE, read, tokens_in

_DEFAULT_MINUTES = 60.0
_PAGE = 200
_SHOWN = 100
# A guard: nobody means to pay for more.
LONGEST = timedelta(hours=24)
_B = TypeVar("_B", bound=Block)
_P = ParamSpec("_P")
_R = TypeVar("_R")
# The parameters of our flows that name blocks.
_BLOCKS = ("source", "credentials", "webhook", "archive")
_INLINE = "the fields of a block do not belong into the parameters of a run: give the block, or its name"
# What Prefect takes for the name of a block, and some more; what has a colon or a sign of a URL is meant as one.
_NAME = re.compile(r"(?:[a-z-]+/)?[\w .-]{1,255}")
# A block's name, or a URL without user info, query and fragment, and none of RTMP: Prefect refuses a run with another
# one before it is there, and what the run would hold everybody could read. What Prefect cannot know for a secret,
# `without_secrets` refuses where the flow is called, and `load_source` when the run begins.
SourceName = Annotated[str, Field(json_schema_extra={"pattern": r"^(?!\s*[rR][tT][mM][pP][a-zA-Z]*:)[^@?#]*$"})]


def load_credentials(given: object, rtstream_id: str | None = None) -> VideoDBCredentials:
    """Give the account: a block as it is, or the one of this name.

    Where no block of the name `default` was ever saved, the environment's key is used.

    Args:
        given: the block, or its name.
        rtstream_id: the stream that a run has connected with it; nobody can stop that without its key.

    Raises:
        ConfigurationError: there is no such block, or no more.
    """
    try:
        return _load_account(given)
    except ConfigurationError as missing:
        if rtstream_id is None:
            raise
        raise ConfigurationError(
            f"{missing}. Until then nobody can stop the stream {rtstream_id} of this run, which is billed: save the "
            "block again and retry this run, which finds the stream; or stop it in VideoDB's console"
        ) from None


def _load_account(given: object) -> VideoDBCredentials:
    if given != "default":
        return _load(VideoDBCredentials, given)
    if found := _find(VideoDBCredentials, given):
        return found
    fallback = VideoDBCredentials()
    if not fallback.has_key():
        raise ConfigurationError(f"{_missing(VideoDBCredentials, given)}, or set {API_KEY_VARIABLE}")
    return fallback


def load_source(given: object) -> RTStreamSource:
    """Give the source: a block as it is, the one of this name, or one made of a URL that holds no secret.

    Raises:
        ConfigurationError: there is no such block, or the URL may hold a secret, which the parameters of a flow run
            would show to everybody who may open the UI.
    """
    if url := _url_of_source(given, "and delete this run, whose parameters show the URL"):
        return RTStreamSource(url=SecretStr(url))
    return _load(RTStreamSource, given)


def _url_of_source(given: object, advice: str) -> str | None:
    """Return the URL that is meant where a block may be named instead; None where a block is meant.

    Raises:
        ConfigurationError: it cannot be read, or may hold a secret.
    """
    if not isinstance(given, str) or _NAME.fullmatch(given):
        return None
    how = f"save it as an RTStreamSource block, name the block in the parameter `source`, {advice}"
    try:
        url = read(given, SOURCE)
    except ConfigurationError as unreadable:
        trouble = str(unreadable)
    else:
        if not url.may_hold_secret:
            return url.text
        trouble = f"a URL with a password, a query, a stream key or a token ({url.place}) does not belong there"
    raise ConfigurationError(f"the parameters of a flow run show everybody what is in them, and {trouble}: {how}")


class _WithoutSecrets(StrictFlow[_P, _R]):
    """A flow whose parameters that name blocks are looked at before Prefect makes a run that shows them."""

    def serialize_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return what the run will show: Prefect calls this first when the flow is called from Python.

        Raises:
            ConfigurationError: a parameter holds a secret, or may; there is no run.
        """
        given = {name: parameters[name] for name in _BLOCKS if name in parameters}
        _url_of_source(given.get("source"), "and call the flow again: no run was made")
        for name, value in given.items():
            if isinstance(value, dict) and not can_be_loaded(value):
                raise ConfigurationError(f"the parameter `{name}`: {_INLINE}")
        return super().serialize_parameters(parameters)

    def with_options(self, **options: Any) -> Flow[_P, _R]:
        """Return a copy with other options."""
        return without_secrets(super().with_options(**options))


def without_secrets(flow: Flow[_P, _R]) -> Flow[_P, _R]:
    """Let a flow refuse what a person mistyped, and a secret in a parameter before there is a run that shows it."""
    strict_parameters(flow).__class__ = _WithoutSecrets
    return flow


def label_of_source(given: object) -> str | None:
    """Return what to call a source before it is loaded: its block's name; None for a URL, which is not shown."""
    if isinstance(given, RTStreamSource):
        return given.name
    return given if isinstance(given, str) and "://" not in given else None


def load_webhook(given: object) -> AlertWebhook:
    """Give the place where alerts come in: a block as it is, or the one of this name.

    Raises:
        ConfigurationError: there is no such block.
    """
    return _load(AlertWebhook, given)


def load_archive(given: object) -> RecordingArchive:
    """Give the archive: a block as it is, or the one of this name.

    Raises:
        ConfigurationError: there is no such block.
    """
    return _load(RecordingArchive, given)


def _load(kind: type[_B], given: object) -> _B:
    found = _find(kind, given)
    if found is None:
        raise ConfigurationError(_missing(kind, given))
    return found


def _find(kind: type[_B], given: object) -> _B | None:
    """Return the block that somebody named; None where there is no such block.

    Raises:
        ConfigurationError: there is, and what is saved does not fit it.
    """
    if isinstance(given, kind):
        return given
    slug = kind.get_block_type_slug()
    try:
        # Typed as if they might be coroutines; called from a synchronous flow or hook they never are.
        if isinstance(given, dict):
            return cast("_B", kind.load_from_ref(given.get("$ref") or given["_block_document_id"]))
        name = str(given).removeprefix(f"{slug}/")
        return read_once(kind, name, lambda: cast("_B", kind.load(name)))
    except (ValueError, KeyError):
        return None
    except RuntimeError as error:  # how Prefect says that what is saved does not fit the block, or that it is away
        if not isinstance(error.__cause__, ValidationError):
            raise
        raise ConfigurationError(
            f"the {slug} block {_shown(given)} cannot be used: {faults(error.__cause__)}"
        ) from None


def _missing(kind: type[Block], given: object) -> str:
    """Return the message of a block that does not exist, with the name that was probably meant."""
    slug = kind.get_block_type_slug()
    with get_client(sync_client=True) as prefect:
        hint = suggestion(str(given).removeprefix(f"{slug}/"), saved_names(kind, prefect))
    return f"there is no {slug} block for {_shown(given)}: {f'{hint} Or ' if hint else ''}save one of this name"


def _shown(given: object) -> str:
    """Show a block's name; what is none may be a secret that was put in its place."""
    is_name = isinstance(given, str) and _NAME.fullmatch(given) and not tokens_in(given)
    return f"{str(given)[:_SHOWN]!r}" if is_name else "that was given"


def saved_names(kind: type[Block], prefect: SyncPrefectClient) -> list[str]:
    """Return the names of all saved blocks of a type.

    Raises:
        httpx.HTTPError, PrefectException: Prefect cannot be asked.
    """
    found: list[str] = []
    while True:
        body = {
            "block_types": {"slug": {"any_": [kind.get_block_type_slug()]}},
            "include_secrets": False,
            "limit": _PAGE,
            "offset": len(found),
        }
        page = prefect.request("POST", "/block_documents/filter", json=body).raise_for_status().json()
        found += [document["name"] for document in page]
        if len(page) < _PAGE:
            return found


def can_be_loaded(given: object) -> bool:
    """Tell whether a stored parameter still leads to its block: by name, or by reference."""
    return isinstance(given, str) or (isinstance(given, dict) and bool({"$ref", "_block_document_id"} & set(given)))


def no_inline_block(given: object) -> object:
    """Refuse a block whose fields stand in the parameters: everybody who may open the UI would read its secret.

    Raises:
        ValueError: with what to give instead.
    """
    if isinstance(given, dict):
        raise ValueError(_INLINE)  # noqa: TRY004 - pydantic reads ValueErrors
    return given


@dataclass(frozen=True, slots=True)
class Plan:
    """What to call a recording, and how long it is to be."""

    title: str
    duration: timedelta
    end_time: datetime | None

    @classmethod
    def of(cls, name: str, duration_minutes: float | None, end_time: datetime | None) -> Self:
        """Read the parameters.

        Raises:
            ConfigurationError: the name has no visible character, or the duration is none.
        """
        title = one_line(name)
        if not title:
            raise ConfigurationError("the name of a recording has at least one visible character")
        if duration_minutes is not None and not 0 < duration_minutes < float("inf"):
            raise ConfigurationError(f"a recording lasts longer than 0 minutes; not {duration_minutes:g}")
        return cls(title, timedelta(minutes=duration_minutes or _DEFAULT_MINUTES), end_time)

    def window(self, start: datetime) -> Window:
        """Give the window of a recording that starts now.

        Raises:
            ConfigurationError: its end is past already.
        """
        end = self.end_time.astimezone(UTC) if self.end_time else start + self.duration
        if end <= start:
            raise ConfigurationError(f"the end time {clock(end)} is already past: there is nothing left to record")
        if end - start > LONGEST:
            raise ConfigurationError(f"a recording lasts at most {LONGEST}; until {clock(end)} it would be longer")
        return Window(start=start, end=end)
