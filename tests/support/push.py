"""A process that pushes the beginning of a media file over RTMP, at its own pace, as OBS would.

A process of its own also because PyAV opens an output without letting other threads run: publisher and recorder in
one process would wait for each other.
"""

from __future__ import annotations

import sys
import time

import av

_PATIENCE_S = 60.0


def main() -> None:
    """Push the file of the first argument to the URL of the second, as many seconds of it as the third says."""
    media, url, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            _push(media, url, seconds)
        except (ConnectionRefusedError, ConnectionResetError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def _push(media: str, url: str, seconds: float) -> None:
    with av.open(media) as source, av.open(url, "w", format="flv") as out:
        places = {stream.index: out.add_stream_from_template(stream) for stream in source.streams}
        began = time.monotonic()
        for packet in source.demux(*source.streams):
            if packet.dts is None or packet.dts * packet.time_base > seconds:
                continue
            time.sleep(max(0.0, began + float(packet.dts * packet.time_base) - time.monotonic()))
            packet.stream = places[packet.stream_index]
            out.mux(packet)


if __name__ == "__main__":
    main()
