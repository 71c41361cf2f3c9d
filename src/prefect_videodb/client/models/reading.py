"""How an answer of the service becomes a model: the base of all models, and the kinds of values that they hold."""

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
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

_SECONDS = re.compile(r"\s*([-+]?\d+(?:\.\d*)?)\s*s\s*")
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


Id = Annotated[str, BeforeValidator(_as_text), Field(min_length=1)]
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

    model_config = ConfigDict(extra="allow", populate_by_name=True)
    _raw: Any = PrivateAttr(default=None)

    @model_validator(mode="wrap")
    @classmethod
    def _keep_raw(cls, data: Any, read: ModelWrapValidatorHandler[Self]) -> Self:
        # A null says no more than an absent key; of two names for one thing, the one that says something counts.
        said = {key: value for key, value in data.items() if value is not None} if isinstance(data, dict) else data
        answer = read(said)
        if answer is not data:
            answer._raw = data  # noqa: SLF001 - its own class
        return answer

    @property
    def raw(self) -> Any:
        """The answer as it came, before any reading; it may hold secrets."""
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


def knowing(model: type[M], **known: Any) -> Callable[[Any], M]:
    """Make a reader that adds what the caller knows anyway, such as the id that was asked for, to what came."""

    def read(data: Any) -> M:
        if not isinstance(data, dict):
            return model.model_validate(data)
        answer = model.model_validate(data | known)
        answer._raw = data  # noqa: SLF001 - its own module
        return answer

    return read
