"""A process that plays a media file over RTSP until its standard input ends, so that tests can kill or freeze it."""

from __future__ import annotations

import sys
from pathlib import Path

from prefect_videodb.local_server.media.rtsp_server import LoopingRTSPServer


def main() -> None:
    """Serve the file of the first argument on the port of the second; print the address."""
    with LoopingRTSPServer(Path(sys.argv[1]), port=int(sys.argv[2])) as server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
