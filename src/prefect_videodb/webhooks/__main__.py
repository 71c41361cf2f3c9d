"""Receive alerts and make flow runs of them: `python -m prefect_videodb.webhooks --webhook NAME`."""

import argparse
import logging
import sys
from typing import cast

from prefect_videodb.errors import ConfigurationError
from prefect_videodb.webhooks.mail import Lost
from prefect_videodb.webhooks.service import Part, Service


def main() -> int:
    """Serve until SIGTERM or SIGINT, and return the exit status."""
    options = _options()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in ("httpx", "botocore"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    only = cast("Part | None", options.only)
    service = Service(
        options.webhook,
        options.inbox,
        options.dead_letters,
        host=options.host,
        port=options.port,
        shares_port=options.share_port,
        only=only,
    )
    try:
        service.run()
    except (ConfigurationError, Lost) as error:
        print(error, file=sys.stderr)  # noqa: T201 - for whoever started it
        return 1
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m prefect_videodb.webhooks", description=__doc__)
    parser.add_argument("--webhook", default="default", help="name of the AlertWebhook block (default)")
    parser.add_argument(
        "--inbox",
        default="videodb-alerts.sqlite",
        help="where alerts are kept until their flow run is there: a file (videodb-alerts.sqlite), or the URL of a "
        "FIFO queue of AWS SQS",
    )
    parser.add_argument("--dead-letters", metavar="URL", help="a second FIFO queue, for what no run can be made of")
    parser.add_argument(
        "--host", default="127.0.0.1", help="where to listen (127.0.0.1; 0.0.0.0 in a container, :: with IPv6, too)"
    )
    parser.add_argument("--port", type=int, default=8480, help="the same (8480; 0: any that is free)")
    parser.add_argument(
        "--share-port", action="store_true", help="let other receivers listen at the same port: each uses one core"
    )
    parser.add_argument(
        "--only",
        choices=["receiver", "dispatcher"],
        help="one of the two parts: several processes can share an inbox",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
