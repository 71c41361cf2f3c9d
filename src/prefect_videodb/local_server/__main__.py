"""Run the embedded server: `python -m prefect_videodb.local_server --data DIR`."""

import argparse
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from prefect_videodb.local_server import DEFAULT_KEY, LocalServer
from prefect_videodb.local_server.errors import ServerError

KEY_VARIABLE = "VIDEO_DB_API_KEY"


def main() -> int:
    """Serve until SIGTERM or SIGINT, and return the exit status."""
    options = _options()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs whole URLs
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    key = options.key or os.environ.get(KEY_VARIABLE) or DEFAULT_KEY
    try:
        server = LocalServer(
            options.data,
            api_key=key,
            port=options.port,
            host=options.host,
            allow_hosts=options.allow_host,
            sample=not options.no_sample,
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
    parser.add_argument("--no-sample", action="store_true", help="do not serve the sample meeting")
    return parser.parse_args()


def _key_hint(key: str) -> str:
    """Say which key it is without printing a secret: the default one is none."""
    return repr(key) if key == DEFAULT_KEY else f"as given (in --key or {KEY_VARIABLE})"


if __name__ == "__main__":
    sys.exit(main())
