"""`docs/licences.md` and NOTICE name what is installed under another than a permissive licence."""

import re
from importlib.metadata import Distribution, distribution

import pytest
from packaging.requirements import Requirement

from tests.support.processes import ROOT

PAGE = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
NOTICE = (ROOT / "NOTICE").read_text(encoding="utf-8")
PERMISSIVE = r"MIT|BSD|Apache|ISC|PSF|Python Software Foundation|Zlib|Unlicense|CC0"
COPYLEFT = re.compile(r"GPL|General Public|MPL|Mozilla|EPL|Eclipse|Artistic|CDDL|EUPL", re.IGNORECASE)


def _locked() -> list[Distribution]:
    lines = (ROOT / "requirements" / "demo.txt").read_text(encoding="utf-8").splitlines()
    needed = [Requirement(line.rstrip(" \\")) for line in lines if re.match(r"[A-Za-z0-9]", line)]
    return [distribution(one.name) for one in needed if not one.marker or one.marker.evaluate()]


def _licence(one: Distribution) -> str:
    expressions = one.metadata.get_all("License-Expression") or []
    told = [*expressions, *(text.partition("\n")[0] for text in one.metadata.get_all("License") or [])]
    classifiers = one.metadata.get_all("Classifier") or []
    return " ".join([*told, *(text.rpartition("::")[2] for text in classifiers if text.startswith("License"))]).strip()


LOCKED = _locked()


@pytest.mark.parametrize("one", LOCKED, ids=lambda one: one.name)
def test_distribution_is_permissive_or_listed(one: Distribution) -> None:
    licence = _licence(one)
    is_permissive = re.search(PERMISSIVE, licence) and not COPYLEFT.search(licence)
    assert is_permissive or f"| {one.name} |" in PAGE, f"{one.name}: {licence}"


def test_bundled_libraries_are_listed() -> None:
    bundled = {
        re.split(r"-[0-9a-f]{8}\.so|\.so", file.name)[0]
        for one in LOCKED
        for file in one.files or []
        if file.parts[0].endswith((".libs", ".dylibs"))
    }
    assert {"libx264", "libx265", "libavcodec"} <= bundled
    listed = set(re.findall(r"\blib[\w-]+", PAGE))
    assert bundled <= listed


def test_notice_names_the_gpl_libraries() -> None:
    assert "x264 and x265 (GPL-2.0-or-later)" in NOTICE
