"""A module whose import ends the program."""

import sys

from prefect import flow


@flow
def never() -> None:
    """Never run."""


sys.exit(7)
