"""The version, read from the installed package: `pyproject.toml` is its one source."""

from importlib.metadata import version

__version__ = version("prefect-videodb")
