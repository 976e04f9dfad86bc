"""The manual pages: legal troff, one for each program and file, installed by the installer."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

MANUALS = sorted((ROOT / "deploy" / "man").iterdir())
SHIM = (ROOT / "shim" / "ivrd-shim.c").read_text()


def test_there_is_one_for_each() -> None:
    assert [path.name for path in MANUALS] == ["ivrd-shim.1", "ivrd.1", "ivrd.toml.5"]


@pytest.mark.parametrize("path", MANUALS, ids=lambda path: path.name)
def test_troff_has_nothing_to_complain_of(path: Path) -> None:
    groff = shutil.which("groff")
    if groff is None:
        if os.environ.get("CI") == "true":
            pytest.fail("groff is missing (Debian: apt install groff-base)")
        pytest.skip("groff is not here (Debian: apt install groff-base)")
    command = [groff, "-man", "-Tutf8", "-K", "utf8", "-ww", "-z", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("path", MANUALS, ids=lambda path: path.name)
def test_no_line_is_swallowed_as_a_request(path: Path) -> None:
    requests = set(re.findall(r"(?m)^[.'](\S+)", path.read_text()))
    assert requests <= {'\\"', "TH", "SH", "SS", "TP", "PP", "B", "I", "BR", "RB", "BI", "IR", "RI", "EX", "EE", "br"}


def test_the_shims_page_has_its_options() -> None:
    page = (ROOT / "deploy" / "man" / "ivrd-shim.1").read_text().replace("\\-", "-")
    options = set(re.findall(r'"(--[a-z]+)', SHIM))
    assert options >= {"--socket", "--timeout", "--fallback"}
    assert {option for option in options if option not in page} == set()


def test_they_are_installed_and_removed() -> None:
    for script in ("install", "uninstall"):
        text = (ROOT / "deploy" / "systemd" / script).read_text()
        assert [path.name for path in MANUALS if path.name not in text] == [], script
