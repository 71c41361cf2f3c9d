"""One row of the comparison with the SDK: an operation, arguments, and the SDK code that does the same."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from prefect_videodb.client import Call

Operation = Callable[..., Call[Any]]


@dataclass(frozen=True)
class Case:
    """An operation, arguments, and the SDK code that does the same with them.

    Attributes:
        operation: ours.
        code: the SDK's.
        arguments: for both.
        needs: what of the SDK it needs that only the newer version has, as an expression; empty when both do it.
        answer: what the server answers where the SDK cannot read the answer that does for all others.
    """

    operation: Operation
    code: str
    arguments: dict[str, Any] = field(default_factory=dict)
    needs: str = ""
    answer: Any = None

    def __str__(self) -> str:
        return f"{name_of(self.operation)}({', '.join(self.arguments)})"

    @property
    def is_bare(self) -> bool:
        """Whether no optional argument is given."""
        return not set(self.arguments) & optional(self.operation).keys()

    @property
    def is_full(self) -> bool:
        """Whether every optional argument is given, and none as what it is anyway."""
        return all(
            name in self.arguments and self.arguments[name] != default
            for name, default in optional(self.operation).items()
        )


def name_of(operation: Operation) -> str:
    """Name an operation for people: `streams.get`."""
    return f"{operation.__module__.rpartition('.')[2]}.{operation.__name__}"


def optional(operation: Operation) -> dict[str, Any]:
    """Give the optional arguments of an operation with their defaults."""
    return {
        name: parameter.default
        for name, parameter in inspect.signature(operation).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }


def rest(*names: str) -> str:
    """Write SDK code that passes on all arguments but these."""
    return f"**{{key: value for key, value in args.items() if key not in {set(names)!r}}}"


COLLECTION = "videodb.collection.Collection(conn, args.get('collection_id', 'default'))."
STREAM = "videodb.rtstream.RTStream(conn, args['rtstream_id'])."
VIDEO = "videodb.video.Video(conn, id=args['video_id'], collection_id=args.get('collection_id', 'default'))."
