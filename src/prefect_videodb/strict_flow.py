"""Flows whose parameters a person types: what cannot be used is refused in one line, with what to type instead."""

from typing import Any, ParamSpec, TypeVar

from prefect import Flow
from prefect.blocks.core import Block
from prefect.exceptions import ParameterTypeError
from pydantic import ValidationError

from prefect_videodb._logging import flow_names, prefect_muted
from prefect_videodb.errors import ConfigurationError
from prefect_videodb.strict import faults

P = ParamSpec("P")
R = TypeVar("R")


class WrongParameters(ConfigurationError, ParameterTypeError):
    """A parameter of a flow cannot be used; what Prefect raises for it, too."""


class StrictFlow(Flow[P, R]):
    """A flow that says which of its parameters is wrong, and what to type instead.

    Prefect's own message does not name a block that was deleted, and what it logs beside shows all parameters: a key
    that somebody put into one.
    """

    def validate_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters as the types that the flow declares.

        Raises:
            WrongParameters: one cannot be read, or refers to a block that is not there.
        """
        try:
            with prefect_muted():
                return super().validate_parameters(parameters)
        except ParameterTypeError as error:
            raise WrongParameters(_unresolved(parameters) or _in_one_line(error)) from None


def strict_parameters(flow: Flow[P, R]) -> Flow[P, R]:
    """Let a flow refuse what a person mistyped; a decorator, above Prefect's own, which makes no subclass."""
    flow.__class__ = StrictFlow
    flow_names.add(flow.name)
    return flow


def _in_one_line(error: Exception) -> str:
    text = str(error)
    faults_told = text.split("\n - ")[1:] or [text]  # as Prefect lists them
    return "; ".join(" ".join(fault.split()).replace("Value error, ", "") for fault in faults_told)


def _unresolved(parameters: dict[str, Any]) -> str:
    """Return which parameter refers to a block that cannot be loaded; empty where none does."""
    for name, value in parameters.items():
        if isinstance(value, dict) and "$ref" in value:
            try:
                Block.load_from_ref(value["$ref"])
            except ValueError:
                return f"the block that `{name}` refers to was deleted: pick another, in the deployment or the run"
            except RuntimeError as error:
                if isinstance(error.__cause__, ValidationError):
                    return f"the block that `{name}` refers to cannot be used: {faults(error.__cause__)}"
    return ""
