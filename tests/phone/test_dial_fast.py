"""`ivrd dial --fast` where virtual time has no way on: what never comes, and what blocks the loop."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.phone.desk import IVRD, dial

APP = """
import anyio, sys, time

async def forever(call):
    await anyio.Event().wait()

async def blocked(call):
    print("here", file=sys.stderr, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    (tmp_path / "menu.py").write_text(APP)
    (tmp_path / "ivrd.toml").write_text(
        '[apps.forever]\nhandler = "menu:forever"\npath = "."\nidle_timeout = 0.0\nmax_duration = 0.0\n'
    )
    return tmp_path


def test_what_never_comes_is_said_to_soon(desk: Path) -> None:
    began = time.monotonic()
    text = dial(desk, "-c", "ivrd.toml", "forever", "--keys", "1", "--fast", status=1)
    assert "nothing will ever happen any more" in text
    assert "Traceback" not in text
    assert time.monotonic() - began < 25  # and not after half a minute, twice


def test_ctrl_c_leaves_a_loop_that_is_blocked(desk: Path) -> None:
    process = subprocess.Popen(
        [IVRD, "dial", "menu:blocked", "--keys", "", "--fast"],
        cwd=desk, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        assert process.stderr is not None
        assert process.stderr.readline() == "here\n"
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == "ivrd: left without waiting for the app, the call is not told\n"
    assert process.returncode == 128 + signal.SIGINT
