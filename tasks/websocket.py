"""The WebSocket: connect it, and take what comes."""

from collections.abc import Sequence

from prefect import task

from prefect_videodb.blocks import VideoDBCredentials
from prefect_videodb.client.models import Frame
from prefect_videodb.client.websocket import WebSocketConnection
from prefect_videodb.tasks._options import OPERATION


@task(task_run_name="connect-websocket", **OPERATION)
def connect_websocket(credentials: VideoDBCredentials, collection_id: str = "default") -> WebSocketConnection:
    """Open a WebSocket connection, whose `connection_id` is the `ws_connection_id` of other operations.

    It belongs to the flow's process: use it as `with connect_websocket(credentials) as socket:`, which closes it.

    Args:
        credentials: the account.
        collection_id: of which collection.

    Raises:
        NotConnected: nobody listens there.

    Source: GET /collection/{id}/websocket
    """
    connection = WebSocketConnection(credentials.get_client(), collection_id)
    connection.connect()
    return connection


@task(task_run_name="receive-frames", **OPERATION)
def receive_frames(
    connection: WebSocketConnection,
    duration_s: float = 60.0,
    most: int = 1000,
    channels: Sequence[str] | None = None,
) -> list[Frame]:
    """Collect what comes over a WebSocket connection.

    A `Connected` frame among it tells that the connection was lost and made anew: what was bound to its `previous_id`
    has to be bound to its `connection_id`.

    Args:
        connection: from `connect_websocket`.
        duration_s: for so many seconds at most.
        most: so many frames at most.
        channels: only frames of these, such as `transcript` or `alert`, beside the connection's own; all when None.

    Source: the WebSocket's frames
    """
    frames: list[Frame] = []
    for frame in connection.frames(duration_s=duration_s):
        if channels is None or frame.channel is None or frame.channel in channels:
            frames.append(frame)
        if len(frames) >= most:
            break
    return frames
