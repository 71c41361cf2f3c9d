"""Receive alerts and make flow runs of them: `python -m prefect_videodb.webhooks --webhook NAME`."""

import argparse
import logging
import sys
from pathlib import Path
from typing import cast

from prefect_videodb.errors import ConfigurationError
from prefect_videodb.webhooks.service import Part, Service


def main() -> int:
    """Serve until SIGTERM or SIGINT, and return the exit status."""
    options = _options()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    service = Service(options.webhook, options.inbox, options.host, options.port, cast("Part | None", options.only))
    try:
        service.run()
    except ConfigurationError as error:
        print(error, file=sys.stderr)  # noqa: T201 - for whoever started it
        return 1
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m prefect_videodb.webhooks", description=__doc__)
    parser.add_argument("--webhook", default="default", help="name of the AlertWebhook block (default)")
    parser.add_argument(
        "--inbox",
        type=Path,
        default=Path("videodb-alerts.sqlite"),
        help="file in which alerts are kept until their flow run is there (videodb-alerts.sqlite)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (127.0.0.1; 0.0.0.0 in a container)")
    parser.add_argument("--port", type=int, default=8480, help="the same (8480; 0: any that is free)")
    parser.add_argument(
        "--only",
        choices=["receiver", "dispatcher"],
        help="one of the two parts: several processes can share an inbox",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
