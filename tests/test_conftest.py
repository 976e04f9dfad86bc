"""The leak guard itself: it catches what a test leaves behind, and lets fixtures of a wider scope keep theirs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

TESTS = """
import os, subprocess, pytest

KEPT = []

@pytest.fixture(scope="session")
def server():
    fd = os.open("/dev/null", os.O_RDONLY)
    yield fd
    os.close(fd)

@pytest.fixture(scope="session")
def late_server():
    fd = os.open("/dev/null", os.O_RDONLY)
    yield fd
    os.close(fd)

@pytest.fixture
def leaky():
    os.open("/dev/zero", os.O_RDONLY)

def test_clean():
    subprocess.run(["true"])
    os.close(os.dup(0))

def test_wider_fixture(server):
    pass

def test_wider_fixture_asked_for_late(request):
    request.getfixturevalue("late_server")

def test_leaks_a_pipe():
    os.pipe()

def test_leaks_in_a_fixture(leaky):
    pass

async def test_leaks_a_file_in_trio():
    os.open("/dev/full", os.O_RDONLY)

def test_leaks_a_child():
    KEPT.append(subprocess.Popen(["sleep", "1"]))
"""


def test_leaks_are_caught_and_wider_fixtures_are_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "test_it.py"
    file.write_text(TESTS)
    options = [
        "-p",
        "tests.conftest",
        "-W",
        "ignore::pytest.PytestAssertRewriteWarning",
        "-c",
        str(ROOT / "pyproject.toml"),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rE", "-q", *options, str(file)],
        cwd=ROOT,
        env=os.environ | {"IVRD_LEAK_GRACE": "0.2"},
        capture_output=True,
        text=True,
        check=False,
    )
    failures = [line for line in done.stdout.splitlines() if line.startswith("ERROR")]
    expected = {
        "test_leaks_a_pipe": "(pipe:[",
        "test_leaks_in_a_fixture": "(/dev/zero)",
        "test_leaks_a_file_in_trio": "(/dev/full)",
        "test_leaks_a_child": "left behind: child ",
    }
    assert len(failures) == len(expected), done.stdout
    for failure, (test, what) in zip(failures, expected.items(), strict=True):
        assert test in failure
        assert what in done.stdout
    assert "7 passed, 4 errors" in done.stdout
