"""The WebSocket in a flow: connected, its frames collected, closed."""

from pathlib import Path

from prefect import flow
from pydantic import SecretStr

from prefect_videodb.blocks import VideoDBCredentials
from prefect_videodb.client.models import Connected, Frame, TranscriptFrame
from prefect_videodb.local_server import LocalServer
from prefect_videodb.tasks import connect_rtstream, connect_websocket, receive_frames, stop_rtstream


def test_a_flow_takes_what_is_said_as_it_is_said(prefect_api: str, tmp_path: Path) -> None:
    assert prefect_api

    @flow
    def listen(account: VideoDBCredentials, url: str) -> tuple[list[Frame], str]:
        with connect_websocket(account) as socket:
            stream = connect_rtstream(
                account, url, "Room", enable_transcript=True, ws_connection_id=socket.connection_id
            )
            try:
                return receive_frames(socket, duration_s=120, most=2, channels=["transcript"]), stream.id
            finally:
                stop_rtstream(account, stream.id)

    with LocalServer(tmp_path / "videodb", api_key="k") as server:
        account = VideoDBCredentials(api_key=SecretStr("k"), base_url=server.base_url)
        (connected, said), stream_id = listen(account, server.sample_url)
    assert isinstance(connected, Connected)
    assert isinstance(said, TranscriptFrame)
    assert said.rtstream_id == stream_id
    assert said.text
