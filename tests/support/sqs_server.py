"""A real SQS in a process of its own: LocalStack's, which `make test` installs into a folder of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import httpx
from botocore.exceptions import BotoCoreError, ClientError

from tests.support.processes import free_port, stopped, wait_for

FOLDER = Path(__file__).resolve().parents[2] / ".sqs-server"
# What boto3 reads, here and in the processes that the tests start.
_REGION = "eu-central-1"


@contextmanager
def running_sqs_server(home: Path) -> Iterator[str]:
    """Run it; gives its address."""
    if not FOLDER.is_dir():
        raise RuntimeError(f"there is no {FOLDER}: make sqs-server")
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PREFECT_"))}
    environment |= {
        "PYTHONPATH": str(FOLDER),
        "SERVICES": "sqs",
        "GATEWAY_LISTEN": f"127.0.0.1:{port}",
        "GATEWAY_SERVER": "hypercorn",  # the other one listens to the whole network
        "FILESYSTEM_ROOT": str(home / "root"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "SQS_ENDPOINT_STRATEGY": "path",  # URLs with the address of this machine
        "LOCALSTACK_HOST": f"127.0.0.1:{port}",
        # Offline: no look at a newer version, no certificate, no names.
        "DISABLE_EVENTS": "1",
        "SKIP_SSL_CERT_DOWNLOAD": "1",
        "DNS_ADDRESS": "0",
    }
    log = home / "sqs.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "localstack.runtime.main"],
            cwd=home,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    with stopped(process):
        wait_for("SQS answers", lambda: _answers(url, process, log))
        yield url


def environment_of(url: str) -> dict[str, str]:
    """Give what leads boto3 to it, from its own chain."""
    return {
        "AWS_ENDPOINT_URL_SQS": url,
        "AWS_REGION": _REGION,
        "AWS_DEFAULT_REGION": _REGION,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def _answers(url: str, process: subprocess.Popen[bytes], log: Path) -> bool:
    if process.poll() is not None:
        raise RuntimeError(log.read_text())
    try:
        if not httpx.get(f"{url}/_localstack/health").is_success:
            return False
        session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=_REGION)
        session.client("sqs", endpoint_url=url).list_queues()
    except (httpx.HTTPError, BotoCoreError, ClientError):
        return False
    return True
