"""The receiver in an application of somebody's own, in a plain uvicorn with its access log: `… INBOX TOKEN`."""

import sys
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from prefect_videodb.webhooks.inbox import Inbox
from prefect_videodb.webhooks.receiver import Receiver
from prefect_videodb.webhooks.rules import Rules, digest

if __name__ == "__main__":
    _inbox = Inbox(Path(sys.argv[1]))
    _rules = Rules(token_digests=[digest(sys.argv[2])])
    _receiver = Receiver(_inbox, lambda: _rules)
    try:
        uvicorn.run(Starlette(routes=[Mount("/alerts", _receiver), Mount("/", _receiver)]), port=0)
    finally:
        _inbox.close()
