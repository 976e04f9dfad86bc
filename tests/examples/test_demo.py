"""`make demo`: it shows a whole call, ends well, and leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.examples.stage import ROOT


def test_the_demo_shows_a_call_and_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.demo"],
        cwd=ROOT, env={"TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin", "COLUMNS": "120"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for text in ("queues the prompt agent-pass", "presses 1", "sets BANK_RESULT=balance", "IVRD_STATUS = OK"):
        assert text in done.stdout
    assert "8642" not in done.stdout
    assert list(tmp_path.iterdir()) == []
    left = [process for process in Path("/proc").glob("[0-9]*") if str(tmp_path).encode() in environment(process)]
    assert left == []


def environment(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes()
    except OSError:
        return b""
