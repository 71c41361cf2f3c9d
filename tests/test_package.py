"""What lands in a user's site-packages, and what importing it costs."""

import json
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import prefect_videodb
from tests.support.tree import copy_tree

LINKED = ("blocks", "tasks", "flows")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_tree(tmp_path_factory.mktemp("package") / "tree")


def _build(what: str, tree: Path, into: Path) -> Path:
    into.mkdir(exist_ok=True)
    program = f"import setuptools.build_meta as backend; print(backend.build_{what}({str(into)!r}))"
    done = subprocess.run([sys.executable, "-c", program], cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return into / done.stdout.strip().splitlines()[-1]


def _expected(tree: Path) -> set[str]:
    """List the package's files as the tree has them, links followed."""
    package = tree / "src" / "prefect_videodb"
    names = set()
    for folder in [package, *(tree / linked for linked in LINKED)]:
        inside = "prefect_videodb" if folder == package else f"prefect_videodb/{folder.name}"
        for path in folder.rglob("*"):
            kept = path.suffix in {".py", ".typed", ".md"} or "assets" in path.parts
            if path.is_file() and kept and "__pycache__" not in path.parts and ".egg-info" not in str(path):
                names.add(f"{inside}/{path.relative_to(folder)}")
    return names


def _packaged(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_the_wheel_holds_exactly_the_files_of_the_tree(tree: Path, tmp_path: Path) -> None:
    assert _packaged(_build("wheel", tree, tmp_path / "wheel")) == _expected(tree)


def test_a_wheel_made_of_the_sdist_holds_the_same(tree: Path, tmp_path: Path) -> None:
    sdist = _build("sdist", tree, tmp_path / "sdist")
    shutil.unpack_archive(sdist, tmp_path / "unpacked", filter="data")
    [unpacked] = (tmp_path / "unpacked").iterdir()
    assert _packaged(_build("wheel", unpacked, tmp_path / "wheel")) == _expected(tree)


def test_the_three_linked_folders_are_the_only_links_of_the_tree(tree: Path) -> None:
    """A link to anywhere else is a broken one on every other machine."""
    links = {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_symlink()}
    assert links == {f"src/prefect_videodb/{linked}" for linked in LINKED}


def test_nothing_but_the_one_package_lands_in_site_packages(tree: Path, tmp_path: Path) -> None:
    names = _packaged(_build("wheel", tree, tmp_path / "wheel"))
    assert {name.partition("/")[0] for name in names} == {"prefect_videodb"}


def test_prefect_finds_the_blocks_through_the_collection() -> None:
    [entry] = entry_points(group="prefect.collections", name="prefect_videodb")
    blocks = entry.load()
    assert {blocks.RTStreamSource, blocks.VideoDBCredentials} == {
        prefect_videodb.RTStreamSource,
        prefect_videodb.VideoDBCredentials,
    }
    assert {"RTStreamSource", "VideoDBCredentials"} <= set(dir(prefect_videodb))


def _modules_after(program: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_client_and_the_local_server_are_imported_without_prefect() -> None:
    loaded = _modules_after("import prefect_videodb, prefect_videodb.client, prefect_videodb.local_server.app")
    assert "prefect" not in loaded


def test_importing_the_blocks_loads_no_media_no_speech_no_server_and_no_cloud() -> None:
    loaded = _modules_after("from prefect_videodb import VideoDBCredentials")
    heavy = {"av", "pocketsphinx", "boto3", "uvicorn", "prefect_videodb.local_server", "prefect_videodb.flows"}
    assert loaded & heavy == set()


def test_an_inbox_in_a_file_loads_no_cloud() -> None:
    assert "boto3" not in _modules_after("import prefect_videodb.webhooks.service, prefect_videodb.webhooks.letters")


def test_the_local_server_loads_its_media_only_when_it_runs() -> None:
    loaded = _modules_after("import prefect_videodb.local_server")
    assert loaded & {"av", "pocketsphinx", "uvicorn"} == set()


def test_the_local_server_shares_no_code_with_the_client() -> None:
    loaded = _modules_after("import prefect_videodb.local_server.app, prefect_videodb.local_server.server")
    assert not [name for name in loaded if name.startswith(("prefect_videodb.client", "prefect_videodb.tasks"))]
