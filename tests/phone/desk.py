"""A desk at which `ivrd dial` is used by scripts: a directory with an app in it, and what is said on both streams."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

IVRD = str(Path(sys.executable).with_name("ivrd"))


def dial(desk: Path, *args: str, status: int = 0, env: dict[str, str] | None = None) -> str:
    """What it prints, on both streams."""
    done = subprocess.run(
        [IVRD, "dial", *args],
        cwd=desk,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
        env=env,
    )
    assert done.returncode == status, done.stdout
    return done.stdout


def dial_json(desk: Path, *args: str, status: int = 0) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(dial(desk, *args, "--json", status=status))
    return answer
