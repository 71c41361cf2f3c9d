"""A process that records until it is killed or fails, and tells on standard output what it announces."""

from __future__ import annotations

import json
import resource
import sys
import threading
from pathlib import Path

from prefect_videodb.local_server.media.recorder import Recorder, RecorderState


def main() -> None:
    """Record the URL of the first argument into the folder of the second; no file larger than the third's bytes."""
    if len(sys.argv) > 3:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
    done = threading.Event()

    def say(**what: object) -> None:
        sys.stdout.write(json.dumps(what) + "\n")
        sys.stdout.flush()

    def on_state(state: RecorderState, message: str) -> None:
        say(state=state, message=message)
        if state in {RecorderState.FAILED, RecorderState.STOPPED}:
            done.set()

    recorder = Recorder(
        sys.argv[1],
        Path(sys.argv[2]),
        media_types=frozenset({"audio", "video"}),
        on_segment=lambda segment: say(segment=str(segment.path), duration_s=segment.duration_s),
        on_state=on_state,
        min_free_bytes=0,
    )
    recorder.start()
    done.wait()
    recorder.stop()
    say(error=type(recorder.error).__name__)


if __name__ == "__main__":
    main()
