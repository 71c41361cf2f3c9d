"""What a user configures once: the account, and the sources to record."""

from prefect_videodb.blocks.credentials import VideoDBCredentials
from prefect_videodb.blocks.source import RTStreamSource

__all__ = ["RTStreamSource", "VideoDBCredentials"]
