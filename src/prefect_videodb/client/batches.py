"""How a live index cuts a stream into batches: what the service refuses is refused here, with the reason."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError, model_validator

from prefect_videodb.errors import ConfigurationError

# A flag and a text are no numbers, though Python and pydantic would make them some.
_Whole = Annotated[int, Strict(), Field(gt=0)]
_Positive = _Whole | Annotated[float, Strict(), Field(gt=0, allow_inf_nan=False)]


class VisualBatch(BaseModel):
    """A window of pictures: `value` seconds long, with `frame_count` pictures looked at in each.

    Pictures are batched by time only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["time"] = "time"
    value: _Positive
    frame_count: _Whole | None = None


class AudioBatch(BaseModel):
    """So much of what is said: `value` words, sentences, or seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["word", "sentence", "time"]
    value: _Positive

    @model_validator(mode="after")
    def _words_are_whole(self) -> Self:
        if self.type != "time" and not isinstance(self.value, int):
            raise ValueError(f"a number of {self.type}s is a whole number")
        return self


B = TypeVar("B", VisualBatch, AudioBatch)


def batch(kind: type[B], given: B | Mapping[str, Any]) -> B:
    """Read a batch, also from the dictionary that the vendor's SDK takes.

    Raises:
        ConfigurationError: the service would refuse it.
    """
    if isinstance(given, kind):
        return given
    try:
        return kind.model_validate(dict(given) if isinstance(given, Mapping) else given)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc'][:1]))}: {fault['msg']}" for fault in error.errors())
        raise ConfigurationError(f"{given!r} is no batch to index: {faults}. {kind.__doc__}") from None
