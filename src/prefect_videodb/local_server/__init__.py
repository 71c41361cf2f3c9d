"""The embedded VideoDB: the same wire protocol on real media, offline.

    with LocalServer(Path("data")) as server:
        connection = videodb.connect(api_key=server.api_key, base_url=server.base_url)
        connection.get_collection().connect_rtstream(url=server.sample_url, name="Meeting", store=True, …)

Where it differs from the service is written in DIFFERENCES.md beside this file.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect_videodb.local_server.server import LocalServer

__all__ = ["DEFAULT_KEY", "LocalServer"]
# The key of who gives none: everybody knows it.
DEFAULT_KEY = "local"
# What the extra `local` brings.
EXTRA = frozenset({"av", "pocketsphinx", "starlette", "uvicorn"})


def __getattr__(name: str) -> Any:
    """Import the server when it is used: it brings media and HTTP libraries that most processes never need."""
    if name == "LocalServer":
        try:
            return importlib.import_module("prefect_videodb.local_server.server").LocalServer
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package not in EXTRA:
                raise
            raise ModuleNotFoundError(
                f"the local server needs {package}: pip install '.[local]' in the project's folder",
                name=package,
            ) from error
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
