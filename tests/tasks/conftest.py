"""A service that answers what a test tells it, and an account there."""

from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from prefect_videodb.blocks import VideoDBCredentials
from tests.support.recording_server import RecordingServer


@pytest.fixture
def service() -> Iterator[RecordingServer]:
    with RecordingServer() as server:
        yield server


@pytest.fixture
def account(service: RecordingServer) -> VideoDBCredentials:
    return VideoDBCredentials(api_key=SecretStr("k"), base_url=service.url, timeout_s=5.0)
