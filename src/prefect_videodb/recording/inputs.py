"""Make what a person filled in into what can be worked with, or say what to fill in instead."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Self, TypeVar, cast

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from prefect_videodb.blocks import AlertWebhook, RecordingArchive, RTStreamSource, VideoDBCredentials
from prefect_videodb.client import API_KEY_VARIABLE
from prefect_videodb.errors import ConfigurationError
from prefect_videodb.recording.models import Window
from prefect_videodb.recording.sharing import read_once
from prefect_videodb.recording.text import clock, one_line
from prefect_videodb.redact import may_hold_secret, redact_url

_DEFAULT_MINUTES = 60.0
# A guard: nobody means to pay for more.
LONGEST = timedelta(hours=24)
_B = TypeVar("_B", bound=Block)
# A block's name, or a URL without user info and query: Prefect refuses a run with another one before it is there, and
# what the run would hold everybody could read. What only looks like a stream key is refused when the run begins.
SourceName = Annotated[str, Field(json_schema_extra={"pattern": r"^(?!.*://.*[@?])"})]


def load_credentials(given: object) -> VideoDBCredentials:
    """Give the account: a block as it is, or the one of this name.

    Where no block of the name `default` was ever saved, the environment's key is used.

    Raises:
        ConfigurationError: there is no such block.
    """
    if given == "default":
        try:
            return _load(VideoDBCredentials, given)
        except ConfigurationError as missing:
            fallback = VideoDBCredentials()
            if not fallback.has_key():
                raise ConfigurationError(f"{missing}, or set {API_KEY_VARIABLE}") from None
            return fallback
    return _load(VideoDBCredentials, given)


def load_source(given: object) -> RTStreamSource:
    """Give the source: a block as it is, the one of this name, or one made of a URL that holds no secret.

    Raises:
        ConfigurationError: there is no such block, or the URL may hold a secret, which the parameters of a flow run
            would show to everybody who may open the UI.
    """
    if isinstance(given, str) and "://" in given:
        if may_hold_secret(given):
            raise ConfigurationError(
                f"a URL with a password, a query or a stream key ({redact_url(given)}) does not belong into the "
                "parameters of a flow run: save it as an RTStreamSource block, give the block's name, and delete this "
                "run, whose parameters show the URL"
            )
        return RTStreamSource(url=SecretStr(given))
    return _load(RTStreamSource, given)


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
        shown = repr(given) if isinstance(given, str) else "what was given"
        raise ConfigurationError(f"there is no {slug} block for {shown}: save one") from None
    except RuntimeError:  # how Prefect says that what is saved does not fit the block
        raise ConfigurationError(f"a field of the {slug} block {given!r} cannot be: open it and save it anew") from None


def can_be_loaded(given: object) -> bool:
    """Tell whether a stored parameter still leads to its block: by name, or by reference."""
    return isinstance(given, str) or (isinstance(given, dict) and bool({"$ref", "_block_document_id"} & set(given)))


def no_inline_block(given: object) -> object:
    """Refuse a block whose fields stand in the parameters: everybody who may open the UI would read its secret.

    Raises:
        ValueError: with what to give instead.
    """
    if isinstance(given, dict):
        told = "the fields of a block do not belong into the parameters of a run: give the block, or its name"
        raise ValueError(told)  # noqa: TRY004 - pydantic reads ValueErrors
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
