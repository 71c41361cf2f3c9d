"""Run the vendor's SDK on order: JSON lines in, JSON lines out. Started by `tests.support.sdk`, once for each version.

An order is `{"base_url", "api_key", "code", "arguments"}`. The code is a snippet of SDK code in which `conn` is a
connection to that server and `args` holds the arguments; its value `result`, if set, goes back as far as JSON holds it.
"""

import importlib
import json
import sys
import traceback
from typing import Any


def run(order: dict[str, Any]) -> dict[str, Any]:
    """Run one order, and tell what came of it."""
    try:
        videodb = importlib.import_module("videodb")  # from the folder that the parent put on the path
        names: dict[str, Any] = {
            "videodb": videodb,
            "conn": videodb.connect(api_key=order["api_key"], base_url=order["base_url"]),
            "args": order["arguments"],
        }
        exec(order["code"], names)  # noqa: S102 - code of our own tests
    except Exception as error:  # noqa: BLE001 - whatever the SDK raises is what the test wants to know
        return {"error": type(error).__name__, "message": str(error), "trace": traceback.format_exc()}
    return {"result": names.get("result")}


def main() -> None:
    """Answer each line until the input ends."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # the SDK prints; the answers have the line for themselves
    for line in sys.stdin:
        answers.write(json.dumps(run(json.loads(line)), default=repr) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
