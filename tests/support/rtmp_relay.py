"""A real RTMP relay, nginx with its RTMP module: publishers come and go, and whoever pulls stays connected."""

from __future__ import annotations

import shutil
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.processes import free_port, stopped, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

_MODULE = Path("/usr/lib/nginx/modules/ngx_rtmp_module.so")


@contextmanager
def running_rtmp_relay(folder: Path) -> Iterator[str]:
    """Yield the address of an application to publish to and to pull from; skip the test where nginx is not there."""
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    if not (Path(nginx).exists() and _MODULE.exists()):
        pytest.skip("nginx with its RTMP module is not installed: apt-get install nginx libnginx-mod-rtmp")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(
        f"load_module {_MODULE};\ndaemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log {folder}/log;\n"
        "worker_processes 1;\nevents {}\n"
        f"rtmp {{ access_log off; server {{ listen 127.0.0.1:{port}; ping 1m; "
        "application live { live on; idle_streams on; wait_video on; } } }\n"
    )
    command = [nginx, "-c", str(config), "-p", str(folder)]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    with stopped(process):
        wait_for("the relay listens", lambda: _listens(port))
        yield f"rtmp://127.0.0.1:{port}/live"


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True
