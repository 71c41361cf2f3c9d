"""`tools/system-packages` waits for the locks of the package manager, and fails where something is missing after it."""

import fcntl
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.processes import ROOT, stopped

_TOOLS = ("sh", "id", "apt-get", "dpkg", "sleep", "mkdir", "grep", "ffmpeg", "tesseract", "postgres")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return an environment without Chromium, and with a package manager of its own that offers nothing."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in _TOOLS:
        if program := shutil.which(name):
            (programs / name).symlink_to(program)
    for folder in ("lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "status").touch()
    config = f"""
        Dir::State::lists "{tmp_path}/lists"; Dir::State::status "{tmp_path}/status"; Dir::Cache "{tmp_path}/cache";
        Dir::Etc::SourceList "{tmp_path}/none"; Dir::Etc::SourceParts "{tmp_path}/none.d";
    """
    (tmp_path / "apt.conf").write_text(config)
    return {"PATH": str(programs), "APT_CONFIG": str(tmp_path / "apt.conf"), "HOME": str(tmp_path)}


@pytest.mark.skipif(os.geteuid() != 0, reason="packages are installed by root only")
def test_package_lock_is_waited_for(environment: dict[str, str], tmp_path: Path) -> None:
    with (tmp_path / "lists" / "lock").open("w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        process = subprocess.Popen(
            ["sh", ROOT / "tools" / "system-packages"],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        with stopped(process):
            assert process.stdout
            assert process.stdout.readline().startswith("Installing ")
            assert "Another process holds a lock of apt" in process.stdout.readline()
            fcntl.lockf(lock, fcntl.LOCK_UN)
            assert process.wait(60) == 1  # it went on; this package manager offers nothing


def test_missing_package_fails(environment: dict[str, str]) -> None:
    done = subprocess.run(
        ["sh", ROOT / "tools" / "system-packages"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert re.search(r"^Not installed: chromium\b.*; the tests need them\.", done.stderr, re.MULTILINE)
