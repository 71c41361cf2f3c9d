"""Paths inside the server become URLs only in an answer: with the host and port that this caller used."""

from typing import Any

LINK_KEYS = frozenset({"stream_url", "stream_link", "player_url", "download_url", "output_url", "url", "thumbnail_url"})


def absolute(data: Any, base_url: str) -> Any:
    """Return `data` with `base_url` put before every link of this server."""
    if isinstance(data, dict):
        return {
            key: base_url + value
            if key in LINK_KEYS and isinstance(value, str) and value.startswith("/")
            else absolute(value, base_url)
            for key, value in data.items()
        }
    if isinstance(data, list):
        return [absolute(item, base_url) for item in data]
    return data
