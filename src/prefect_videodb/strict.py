"""Models of what a person types: a name that is not known is refused, with the one that was probably meant.

What a service answers is read by tolerant models (`client/models`, `webhooks/alert.py`): it may grow a field any day.
"""

import difflib
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

_SHOWN = 60
_LISTED = 20


class StrictModel(BaseModel):
    """Base of every model that stands in the parameters of a flow, or in a field of a block."""

    # The schema of a deployment says `additionalProperties: false` by that: Prefect refuses the run before it is there.
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _has_known_names_only(cls, given: Any) -> Any:
        """Refuse an unknown name before pydantic does, which would not say which one is near.

        Raises:
            ValueError: there is one.
        """
        if isinstance(given, dict):
            refuse_unknown(given, cls.model_fields, "an option")
        return given


def refuse_unknown(given: Iterable[object], known: Iterable[str], kind: str) -> None:
    """Refuse names that are not known.

    Args:
        given: the names that somebody typed.
        known: the names that there are.
        kind: what such a name is, with its article: "an option".

    Raises:
        ValueError: one is not known; the message has the nearest known name, or all of them.
    """
    known = list(known)
    unknown = [str(name) for name in given if name not in known]
    if unknown:
        raise ValueError("; ".join(f"`{name[:_SHOWN]}` is not {kind}: {suggestion(name, known)}" for name in unknown))


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return what to type instead of a name that is not known: the nearest known one, or which there are, if any."""
    spellings = {one.lower(): one for one in known}
    near = difflib.get_close_matches(name.strip().lower(), spellings, n=1)
    if near:
        return f"did you mean `{spellings[near[0]]}`?"
    listed = ", ".join(f"`{one}`" for one in list(spellings.values())[:_LISTED])
    return f"there are {listed}{', …' if len(spellings) > _LISTED else ''}." if listed else ""


def faults(error: ValidationError) -> str:
    """Return what is wrong with which field, and never the value: it may be a secret."""
    told = [
        f"`{'.'.join(map(str, fault['loc']))}`: {fault['msg'].removeprefix('Value error, ')}"
        for fault in error.errors()
    ]
    return "; ".join(one.removeprefix("``: ") for one in told) + ". Open it in Prefect, change that, and save it"
