"""What a user configures once: the account, the sources to record, where alerts come in, where videos are archived."""

from prefect_videodb.blocks.alert_webhook import AlertWebhook
from prefect_videodb.blocks.credentials import VideoDBCredentials
from prefect_videodb.blocks.recording_archive import RecordingArchive
from prefect_videodb.blocks.source import RTStreamSource

__all__ = ["AlertWebhook", "RTStreamSource", "RecordingArchive", "VideoDBCredentials"]
