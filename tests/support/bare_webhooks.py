"""`python -m prefect_videodb.webhooks` where the extra `webhooks` is not installed."""

import runpy
import sys

if __name__ == "__main__":
    for _extra in ("httptools", "uvloop"):
        sys.modules[_extra] = None  # type: ignore[assignment]  # this is how Python spells "it cannot be imported"
    runpy.run_module("prefect_videodb.webhooks", run_name="__main__", alter_sys=True)
