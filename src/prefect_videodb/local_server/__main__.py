"""Run the embedded server: `python -m prefect_videodb.local_server --data DIR`."""

import argparse
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn

from prefect_videodb.local_server import DEFAULT_KEY, LocalServer
from prefect_videodb.local_server.errors import ServerError

logger = logging.getLogger(__name__)

KEY_VARIABLE = "VIDEO_DB_API_KEY"
# Who stops a server waits ten seconds before they kill it (Docker's default).
STOP_S = 9.0


def main() -> int:
    """Serve until SIGTERM or SIGINT, and return the exit status."""
    options = _options()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs whole URLs
    stop = stop_on_signal()
    key = options.key or os.environ.get(KEY_VARIABLE) or DEFAULT_KEY
    try:
        server = LocalServer(
            options.data,
            api_key=key,
            port=options.port,
            host=options.host,
            allow_hosts=options.allow_host,
            sample=not options.no_sample,
            sample_port=options.sample_port,
        )
        with server:
            sample = "none" if options.no_sample else server.sample_url
            lines = [
                f"VideoDB local server: {server.base_url}",
                f"API key: {_key_hint(key)}",
                f"Sample meeting: {sample}",
            ]
            print("\n".join(lines), flush=True)  # noqa: T201 - what whoever started it wants to know
            stop.wait()
    except ServerError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the same
        return 1
    return 0


def stop_on_signal() -> threading.Event:
    """Return what is set by SIGTERM and SIGINT; the process ends `STOP_S` seconds after that at the latest."""
    stop = threading.Event()
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    # Not a handler in Python: the main thread runs it when it is interrupted, and a signal that comes just before it
    # begins to wait does not interrupt it.
    signal.set_wakeup_fd(write_end)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    threading.Thread(target=_end_in_time, args=(read_end, stop), name="videodb-stop", daemon=True).start()
    return stop


def _end_in_time(read_end: int, stop: threading.Event) -> NoReturn:
    """Wait for a signal, announce it, and end the process if what runs does not let it end by itself.

    A source or a receiver that hangs can hold a thread for as long as it likes. Ending without it costs no more than
    being killed does: the next server on the folder goes on.
    """
    os.read(read_end, 1)
    stop.set()
    time.sleep(STOP_S)
    here = {threading.main_thread(), threading.current_thread()}
    held = sorted(thread.name for thread in threading.enumerate() if not thread.daemon and thread not in here)
    logger.warning("still closing after %g s (%s): the process ends without waiting", STOP_S, ", ".join(held) or "?")
    logging.shutdown()
    os._exit(0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m prefect_videodb.local_server",
        description="VideoDB's live streams on this machine: the same protocol on real media, offline.",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder for recordings, videos and the database")
    parser.add_argument("--port", type=int, default=8765, help="default: 8765; 0 takes a free one")
    parser.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1; one that others reach needs --key")
    parser.add_argument("--key", help=f"API key that callers must send; default: ${KEY_VARIABLE}, else {DEFAULT_KEY!r}")
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="answer to this name, too, in the Host header; may be given several times",
    )
    parser.add_argument(
        "--sample-port",
        type=int,
        metavar="PORT",
        help="port of the sample meeting's RTSP URL; default: the one after --port; 0 takes a free one",
    )
    parser.add_argument("--no-sample", action="store_true", help="do not serve the sample meeting")
    options = parser.parse_args()
    if options.sample_port is None:
        options.sample_port = options.port + 1 if options.port else 0
    return options


def _key_hint(key: str) -> str:
    """Say which key it is without printing a secret: the default one is none."""
    return repr(key) if key == DEFAULT_KEY else f"as given (in --key or {KEY_VARIABLE})"


if __name__ == "__main__":
    sys.exit(main())
