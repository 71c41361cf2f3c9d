"""How an answer of the service becomes a model: the base of all models, and the kinds of values that they hold."""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Generic, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    SecretStr,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from prefect_videodb.redact import scrub_values

_SECONDS = re.compile(r"\s{0,9}([-+]?\d{1,40}(?:\.\d{0,40})?)\s{0,9}s\s{0,9}")
# More than the words of ten hours in one answer; a model takes a hundred times what its entry takes in JSON.
_MAX_ENTRIES = 200_000
_DATETIME: TypeAdapter[datetime] = TypeAdapter(datetime)


def or_none(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    """Read what cannot be read as None."""
    try:
        return read(value)
    except ValidationError:
        return None


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def as_seconds(value: Any) -> Any:
    """Read `12.5`, `"12.5"`, `"12.500s"` as seconds, and an ISO time as unix seconds."""
    if not isinstance(value, str):
        return _no_flag(value)
    if match := _SECONDS.fullmatch(value):
        return match[1]
    try:
        return float(value)
    except ValueError:
        moment = _DATETIME.validate_python(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def as_float(number: float) -> float:
    """Read a number as a float; an integer that no float holds is refused."""
    try:
        return float(number)
    except OverflowError:
        raise ValueError("too large a number") from None


def _no_flag(value: Any) -> Any:
    """Refuse `true` where a number is read: pydantic would make it 1."""
    if isinstance(value, bool):
        raise ValueError("a flag is no number")  # noqa: TRY004 - pydantic reads a ValueError as "not valid"
    return value


def _strings_only(value: Any) -> Any:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list | tuple) else []


def _object_only(value: Any) -> Any:
    return value if isinstance(value, dict) else {}


def _is_more(value: Any) -> bool:
    """Read `next_page` in whatever form: a flag, the next page's number or name; what says nothing is no page."""
    if isinstance(value, str):
        return value.strip().lower() not in {"", "0", "false", "no", "none", "null"}
    return isinstance(value, int | float) and bool(value)


def _visible(value: str) -> str:
    """Refuse an id that would break a line, or a person's eye: ids stand in log lines, events and names as they are."""
    if not value.isprintable():
        raise ValueError("no id")
    return value


Id = Annotated[str, BeforeValidator(_as_text), Field(min_length=1), AfterValidator(_visible)]
# The last one wraps the others: what they cannot read is None.
Text = Annotated[str | None, BeforeValidator(_as_text), WrapValidator(or_none)]
Number = Annotated[float | None, Field(allow_inf_nan=False), BeforeValidator(_no_flag), WrapValidator(or_none)]
Count = Annotated[int | None, BeforeValidator(_no_flag), WrapValidator(or_none)]
Flag = Annotated[bool | None, WrapValidator(or_none)]
Seconds = Annotated[float | None, Field(allow_inf_nan=False), BeforeValidator(as_seconds), WrapValidator(or_none)]
Strings = Annotated[list[str], BeforeValidator(_strings_only)]
Object = Annotated[dict[str, Any], BeforeValidator(_object_only)]
More = Annotated[bool, BeforeValidator(_is_more)]
# What may hold a key or a token: hidden from people, logs and dumps; code asks for it with `get_secret_value()`.
Hidden = Annotated[SecretStr | None, BeforeValidator(_as_text), WrapValidator(or_none)]


class Model(BaseModel):
    """Base of everything the service answers with."""

    model_config = ConfigDict(extra="allow", populate_by_name=True, hide_input_in_errors=True)
    _raw: Any = PrivateAttr(default=None)
    # Whether a stored result keeps what is hidden: where it is what was asked for.
    _stores_hidden: ClassVar[bool] = False

    def __getstate__(self) -> dict[Any, Any]:
        """Return what a stored result holds: nothing hidden, and not the raw answer, which may hold any secret."""
        state = super().__getstate__()
        fields = {name: self._stored(value) for name, value in state["__dict__"].items()}
        return state | {"__dict__": fields, "__pydantic_private__": {"_raw": None}}

    def _stored(self, value: Any) -> Any:
        if isinstance(value, SecretStr):
            return value if self._stores_hidden else None
        return scrub_values(value)

    @model_validator(mode="wrap")
    @classmethod
    def _keep_raw(cls, data: Any, read: ModelWrapValidatorHandler[Self]) -> Self:
        # A null says no more than an absent key; of two names for one thing, the one that says something counts.
        said = {key: value for key, value in data.items() if value is not None} if isinstance(data, dict) else data
        answer = read(said)
        if extra := answer.model_extra:
            extra.update(scrub_values(extra))  # no field says of them whether they may be shown; `raw` has them
        if answer is not data:
            answer._raw = data  # noqa: SLF001 - its own class
        return answer

    @property
    def raw(self) -> Any:
        """The answer as it came, before any reading; it may hold secrets. None of a result that was stored."""
        return self._raw


M = TypeVar("M", bound=Model)


def readable(model: type[M]) -> Callable[[Any], list[M]]:
    """Make a reader of lists that keeps the entries which can be read: one that cannot must not hide the others."""

    def read(value: Any) -> list[M]:
        kept: list[M] = []
        if isinstance(value, list | tuple) and len(value) > _MAX_ENTRIES:
            raise ValueError(f"a list of more than {_MAX_ENTRIES} entries")
        for entry in value if isinstance(value, list | tuple) else ():
            with suppress(ValidationError):
                kept.append(model.model_validate(entry))
        return kept

    return read


@dataclass(frozen=True, slots=True)
class _Knowing(Generic[M]):
    model: type[M]
    known: dict[str, Any]

    def __call__(self, data: Any) -> M:
        if not isinstance(data, dict):
            return self.model.model_validate(data)
        answer = self.model.model_validate(data | self.known)
        answer._raw = data  # noqa: SLF001 - its own module
        return answer

    def __reduce__(self) -> tuple[Any, ...]:
        # Prefect may store an error that holds it.
        known = {name: value for name, value in self.known.items() if not isinstance(value, SecretStr)}
        return type(self), (self.model, known)


def knowing(model: type[M], **known: Any) -> Callable[[Any], M]:
    """Make a reader that adds what the caller knows anyway, such as the id that was asked for, to what came."""
    return _Knowing(model, known)
