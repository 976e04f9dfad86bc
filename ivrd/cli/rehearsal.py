"""Importing an app as a worker would, in a process of its own, to see whether it can be.

The rule that holds here: what the app prints, breaks or leaves behind at import stays in that process; its verdict
comes back on a stdout that the app does not have.
"""

from __future__ import annotations

import os
import subprocess
import sys

import msgspec

from ivrd.config import App
from ivrd.errors import AppLoadError

__all__ = ["rehearse"]

PATIENCE = 60.0  # seconds, what the daemon gives a worker to become ready


def rehearse(name: str, app: App) -> str | None:
    """Import an app's functions.

    Args:
        name: its name.
        app: its configuration.

    Returns:
        None when they are there and can be called, else one line that says what is wrong.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "ivrd.cli.rehearsal", name],
            input=msgspec.json.encode(app),
            stdout=subprocess.PIPE,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"importing it takes longer than {PATIENCE:g} s"
    if done.returncode == 0 and done.stdout == b"well":
        return None
    if done.stdout:
        return done.stdout.decode(errors="replace")
    ended = f"killed by signal {-done.returncode}" if done.returncode < 0 else f"ended with status {done.returncode}"
    return (
        f"importing it got the process {ended}: an import must not end its process (os._exit, a crash in C); "
        f"move what does so into the lifespan or the handler"
    )


def _main() -> None:
    verdict = os.dup(1)
    os.dup2(2, 1)
    app = msgspec.json.decode(sys.stdin.buffer.read(), type=App)
    from ivrd.worker.loader import load

    try:
        load(app)
    except AppLoadError as error:
        os.write(verdict, str(error).encode())
    else:
        os.write(verdict, b"well")
    # Threads that the import may have left are nobody's business here.
    os._exit(0)


if __name__ == "__main__":
    _main()
