"""A real S3-compatible store: OpenStack Swift with its S3 middleware, in processes of its own, on ports of its own."""

import os
import pwd
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import httpx
from botocore.config import Config
from pydantic import SecretStr
from swift.common.ring.builder import RingBuilder

from prefect_videodb.blocks import RecordingArchive
from tests.support.processes import free_port, stopped, wait_for

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ACCESS_KEY_ID = "archive:writer"
SECRET_ACCESS_KEY = "s3-secret-0123456789"
# Knows the right key, and may not use the account's buckets.
STRANGER_KEY_ID = "archive:stranger"
REGION = "us-east-1"
_BACKENDS = {"account": "account", "container": "container", "object": "obj"}
_COMMON = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
user = {user}
swift_dir = {folder}
devices = {folder}/devices
mount_check = false
workers = 0
log_level = WARNING
"""
# One replica on one disk; no memcached, so that each request looks things up anew.
_PROXY = """
[pipeline:main]
pipeline = catch_errors s3api tempauth container-quotas slo proxy-server

[app:proxy-server]
use = egg:swift#proxy
allow_account_management = true
account_autocreate = true

[filter:catch_errors]
use = egg:swift#catch_errors

[filter:s3api]
use = egg:swift#s3api
location = {region}

[filter:tempauth]
use = egg:swift#tempauth
user_archive_writer = {secret} .admin
user_archive_stranger = {secret}

[filter:container-quotas]
use = egg:swift#container_quotas

[filter:slo]
use = egg:swift#slo
"""
_START = "import sys; from swift.{module}.server import main; sys.exit(main())"


@dataclass
class SwiftServer:
    """A running store: where it is, and a client that looks into it past everything of ours."""

    url: str
    containers_url: str
    _made: list[str] = field(default_factory=list)

    @cached_property
    def client(self) -> "S3Client":
        """Give a client with the rights of the account's owner."""
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=ACCESS_KEY_ID,
            aws_secret_access_key=SECRET_ACCESS_KEY,
            config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
        )

    def make_bucket(self) -> str:
        """Make a bucket of a new name."""
        self._made.append(f"recordings-{len(self._made) + 1}")
        self.client.create_bucket(Bucket=self._made[-1])
        return self._made[-1]

    def archive(self, url: str, prefix: str = "videodb") -> RecordingArchive:
        """Give an archive with a bucket of its own; `url` leads to the store, or to what stands before it."""
        return RecordingArchive(
            bucket=self.make_bucket(),
            prefix=prefix,
            endpoint_url=url,
            region=REGION,
            access_key_id=SecretStr(ACCESS_KEY_ID),
            secret_access_key=SecretStr(SECRET_ACCESS_KEY),
        )

    def keys(self, bucket: str) -> list[str]:
        """List what is in a bucket."""
        return [entry.get("Key", "") for entry in self.client.list_objects_v2(Bucket=bucket).get("Contents", [])]

    def read(self, bucket: str, key: str) -> bytes:
        """Read an object."""
        return self.client.get_object(Bucket=bucket, Key=key)["Body"].read()

    def limit(self, bucket: str, most_bytes: int) -> None:
        """Set a quota for what is uploaded in parts, as the store's operator does."""
        upload = self.client.create_multipart_upload(Bucket=bucket, Key="first")  # makes the container of the parts
        self.client.abort_multipart_upload(Bucket=bucket, Key="first", UploadId=upload["UploadId"])
        headers = {"x-timestamp": f"{time.time():016.5f}", "x-container-meta-quota-bytes": str(most_bytes)}
        places = [f"{self.containers_url}/disk/{part}/AUTH_archive/{bucket}+segments" for part in range(2)]
        assert any(httpx.post(place, headers=headers, timeout=30.0).is_success for place in places)

    def uploads(self, bucket: str) -> list[str]:
        """List the keys of the uploads that are left open."""
        return [entry.get("Key", "") for entry in self.client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])]


@contextmanager
def running_swift(folder: Path) -> Iterator[SwiftServer]:
    """Run a store that keeps its objects in `folder`, which must be able to hold extended attributes."""
    ports = {name: free_port() for name in (*_BACKENDS, "proxy")}
    (folder / "devices" / "disk").mkdir(parents=True)
    (folder / "swift.conf").write_text("[swift-hash]\nswift_hash_path_suffix = tests\n")
    for name in _BACKENDS:
        _make_ring(folder, name, ports[name])
    with ExitStack() as running:
        for name, module in (*_BACKENDS.items(), ("proxy", "proxy")):
            text = _COMMON.format(port=ports[name], user=pwd.getpwuid(os.getuid()).pw_name, folder=folder)
            text += _PROXY.format(region=REGION, secret=SECRET_ACCESS_KEY) if name == "proxy" else _backend(name)
            config = folder / f"{name}-server.conf"
            config.write_text(text)
            running.enter_context(_server(module, config, folder / f"{name}.log"))
        url = f"http://127.0.0.1:{ports['proxy']}"
        store = SwiftServer(url, f"http://127.0.0.1:{ports['container']}")
        wait_for("the store is up", lambda: _is_up(url, [ports[name] for name in _BACKENDS]))
        yield store
        store.client.close()


def _make_ring(folder: Path, name: str, port: int) -> None:
    builder = RingBuilder(1, 1, 0)
    device = {"id": 0, "region": 1, "zone": 1, "ip": "127.0.0.1", "port": port, "device": "disk", "weight": 1.0}
    builder.add_dev(device | {"replication_ip": "127.0.0.1", "replication_port": port, "meta": ""})
    builder.rebalance()
    builder.get_ring().save(str(folder / f"{name}.ring.gz"))


def _backend(name: str) -> str:
    return f"\n[pipeline:main]\npipeline = {name}-server\n\n[app:{name}-server]\nuse = egg:swift#{name}\n"


@contextmanager
def _server(module: str, config: Path, log: Path) -> Iterator[None]:
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", _START.format(module=module), str(config), "-v"],
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    with stopped(process):
        yield


def _is_up(url: str, backends: list[int]) -> bool:
    try:
        for port in backends:
            httpx.get(f"http://127.0.0.1:{port}/", timeout=5.0)
        return httpx.get(url, timeout=5.0).status_code < 500
    except httpx.HTTPError:
        return False
