"""A real terminal for a test: a shell in a tmux of its own, driven by keys and looked at.

The rule here: a test waits for what it is to see, and the terminal's modes are looked at from outside.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest

PATIENCE_S = 60.0
PROMPT = "ready:"


def need_tmux() -> None:
    """Skip the test where there is no tmux; CI has to have it."""
    if shutil.which("tmux") is None:
        assert not os.environ.get("CI"), "tmux is not installed, and CI has to have it"
        pytest.skip("tmux is not installed")


class Terminal:
    """A shell in a tmux of its own; use it as a context manager.

    Args:
        directory: where the shell is; tmux's socket is there too.
        width: columns.
        height: lines.
    """

    def __init__(self, directory: Path, width: int = 90, height: int = 30) -> None:
        self._socket = str(directory / "tmux")
        size = ("-x", str(width), "-y", str(height))
        self.tmux("-f", "/dev/null", "new-session", "-d", *size, "-c", str(directory), "sh")

    def __enter__(self) -> Self:
        self.type(f"PS1='{PROMPT} '\n")
        self.sees(rf"{PROMPT}$")
        return self

    def __exit__(self, *_exc: object) -> None:
        self.tmux("kill-server")

    def tmux(self, *args: str) -> str:
        """Give tmux an order, and return what it says."""
        environment = {**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
        return subprocess.run(
            ["tmux", "-u", "-S", self._socket, *args], check=True, capture_output=True, text=True, env=environment
        ).stdout

    def type(self, text: str) -> None:
        """Type characters."""
        self.tmux("send-keys", "-l", text)

    def key(self, *names: str) -> None:
        """Press keys by the names that tmux has for them: `Up`, `Enter`, `Escape`, `BSpace`, `C-c`."""
        self.tmux("send-keys", *names)

    def resize(self, width: int, height: int) -> None:
        """Give the window another size."""
        self.tmux("resize-window", "-x", str(width), "-y", str(height))

    def screen(self, *, colours: bool = False) -> str:
        """What is on the screen, with escape sequences for the colours if wanted."""
        # Blanks at the end of a line may have a colour.
        return self.tmux("capture-pane", "-p", *(["-e", "-N"] if colours else [])).rstrip()

    def all(self) -> str:
        """What is on the screen and what has gone up from it."""
        return self.tmux("capture-pane", "-p", "-S", "-")

    def sees(self, pattern: str) -> str:
        """Wait until the screen shows a pattern; ^ and $ are a line's."""
        return self.until(lambda screen: re.search(pattern, screen, re.MULTILINE) is not None, pattern)

    def presses_until(self, name: str, pattern: str) -> str:
        """Press a key again and again until the screen shows it: two of a signal that come at once are one."""

        def holds(screen: str) -> bool:
            if re.search(pattern, screen, re.MULTILINE):
                return True
            self.key(name)
            time.sleep(0.2)
            return False

        return self.until(holds, pattern)

    def until(self, holds: Callable[[str], bool], what: str) -> str:
        """Wait until something holds of the screen."""
        deadline = time.monotonic() + PATIENCE_S
        while not holds(screen := self.screen()):
            assert time.monotonic() < deadline, f"no {what} on the screen:\n{screen}"
            time.sleep(0.05)
        return screen

    def settings(self) -> str:
        """The terminal's modes, its size left aside, and whether it shows another screen and the cursor."""
        shows = "#{pane_tty} #{alternate_on} #{cursor_flag}"
        path, *flags = self.tmux("display-message", "-p", shows).split()
        shown = subprocess.run(["stty", "-a", "-F", path], check=True, capture_output=True, text=True).stdout
        return re.sub(r"rows \d+; columns \d+;", "", shown) + " ".join(flags)

    def child(self) -> int:
        """The process id of what the shell runs."""
        shell = self.tmux("display-message", "-p", "#{pane_pid}").strip()
        (child,) = Path(f"/proc/{shell}/task/{shell}/children").read_text().split()
        return int(child)
