"""A flow that does nothing, for benchmarks that measure how soon one runs."""

from typing import Any

from prefect import flow


@flow(name="bench")
def nothing(alert: dict[str, Any]) -> None:
    """Do nothing."""
    del alert
