"""The vendor's official SDKs, each in a process of its own: what they do is what the service expects.

`make sdk` installs each version of the Python SDK into a folder of its own, `.sdk/<version>`, and `make node-sdk` the
Node SDK into `.node-sdk`.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

VERSIONS = ("0.4.5", "0.5.1")
NODE = "node"
ROOT = Path(__file__).resolve().parents[2]
_DRIVER = Path(__file__).with_name("sdk_driver.py")
_NODE_DRIVER = Path(__file__).with_name("node_driver.mjs")
_PATIENCE_S = 120.0


class SdkError(Exception):
    """The SDK raised.

    Attributes:
        kind: name of the class of the SDK's exception.
        trace: its traceback.
    """

    def __init__(self, kind: str, message: str, trace: str) -> None:
        super().__init__(f"{kind}: {message}\n{trace}")
        self.kind = kind
        self.trace = trace


def folder(version: str) -> Path:
    """Give the folder that holds this version of the SDK.

    Raises:
        FileNotFoundError: it is not installed.
    """
    path = ROOT / ".sdk" / version
    if not (path / "videodb").is_dir():
        raise FileNotFoundError(f"the SDK {version} is not installed in {path}: run `make sdk`")
    return path


def node_command() -> list[str]:
    """Return the command that runs the Node SDK.

    Raises:
        FileNotFoundError: Node or the SDK is not installed.
    """
    node, place = shutil.which("node"), ROOT / ".node-sdk"
    if node is None:
        raise FileNotFoundError("Node.js is not installed: on Debian or Ubuntu, apt-get install nodejs npm")
    if not (place / "node_modules" / "videodb").is_dir():
        raise FileNotFoundError(f"the Node SDK is not installed in {place}: run `make node-sdk`")
    return [node, str(_NODE_DRIVER), str(place / "package.json")]


class Sdk:
    """One SDK, running.

    Args:
        version: one of `VERSIONS`, or `node`.
    """

    def __init__(self, version: str) -> None:
        self.version = version
        environment = {
            name: value
            for name, value in os.environ.items()
            if name != "VIDEO_DB_API_KEY" and not name.lower().endswith("_proxy")
        }
        if version == NODE:
            command = node_command()
        else:
            command = [sys.executable, str(_DRIVER)]
            environment |= {"PYTHONPATH": str(folder(version)), "PYTHONDONTWRITEBYTECODE": "1"}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def run(self, code: str, *, base_url: str, api_key: str = "test-key", **arguments: Any) -> Any:
        """Run SDK code in which `conn` is a connection and `args` holds the arguments, and return its result.

        Python code leaves it in the variable `result`; code for Node returns it.

        Raises:
            SdkError: the SDK raised.
        """
        order = {"base_url": base_url, "api_key": api_key, "code": code, "arguments": arguments}
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the SDK's process has no pipes")
        # The SDK polls a job for minutes and has no say in it: a watchdog ends what hangs, and the read below fails.
        watchdog = threading.Timer(_PATIENCE_S, self._process.kill)
        watchdog.start()
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        finally:
            watchdog.cancel()
            watchdog.join()
        if not line:
            raise RuntimeError(f"the SDK {self.version} ended with {self._process.wait()}, or was hung for minutes")
        answer = json.loads(line)
        if "error" in answer:
            raise SdkError(answer["error"], answer["message"], answer["trace"])
        return answer["result"]

    def close(self) -> None:
        """End the process, and wait for it."""
        with self._process:  # closes the pipes and waits
            if self._process.stdin is not None:
                self._process.stdin.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
