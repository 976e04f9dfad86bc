"""`ivrd dial` at a real terminal, driven by tmux: what is on the screen, and that the terminal is as it was."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

IVRD = str(Path(sys.executable).with_name("ivrd"))
PATIENCE_S = 30.0
APP = """
async def main(call):
    pin = await call.digits("enter-pin", max=4, timeout=60, secret=True)
    await call.set(PIN=pin, STEP="menu")
    choice = await call.menu(["long-menu"], "12", timeout=60)
    await call.set(CHOICE=choice or "")
    await call.play("long-goodbye")

async def bad(call):
    await call.digits("enter-pin", max=1, timeout=60)
    raise ValueError("oops")

async def quiet(call):
    try:
        await call.digits("enter-pin", timeout=600)
    finally:
        print("cleaned up")

async def brackets(call):
    await call.set(NAME="[/var/lib/x] [menu]")
    await call.log("[red] :warning:")
    await call.digits("enter-pin", timeout=60)
"""


class Terminal:
    """A shell in a tmux of its own."""

    def __init__(self, directory: Path) -> None:
        self._socket = str(directory / "tmux")
        self._directory = directory
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", "90", "-y", "30", "-c", str(directory), "sh")
        self.type("PS1='ready: '\n")
        self.sees(r"ready:$")

    def tmux(self, *args: str) -> str:
        environment = {**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
        return subprocess.run(
            ["tmux", "-u", "-S", self._socket, *args], check=True, capture_output=True, text=True, env=environment
        ).stdout

    def type(self, text: str) -> None:
        self.tmux("send-keys", "-l", text)

    def key(self, name: str) -> None:
        self.tmux("send-keys", name)

    def screen(self) -> str:
        return self.tmux("capture-pane", "-p").rstrip()

    def sees(self, pattern: str) -> str:
        """Wait until the screen shows it."""
        return self.until(lambda screen: re.search(pattern, screen) is not None, pattern)

    def until(self, holds: Callable[[str], bool], what: str) -> str:
        deadline = time.monotonic() + PATIENCE_S
        while not holds(screen := self.screen()):
            assert time.monotonic() < deadline, f"no {what} on the screen:\n{screen}"
            time.sleep(0.05)
        return screen

    def settings(self) -> str:
        """The terminal's modes, its size left aside."""
        path = self.tmux("display-message", "-p", "#{pane_tty}").strip()
        shown = subprocess.run(["stty", "-a", "-F", path], check=True, capture_output=True, text=True).stdout
        return re.sub(r"rows \d+; columns \d+;", "", shown)

    def close(self) -> None:
        self.tmux("kill-server")


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    if shutil.which("tmux") is None:
        assert not os.environ.get("CI"), "tmux is not installed, and CI has to have it"
        pytest.skip("tmux is not installed")
    (tmp_path / "menu.py").write_text(APP)
    terminal = Terminal(tmp_path)
    yield terminal
    terminal.close()


def dial(terminal: Terminal, app: str) -> str:
    """Begin a call; gives the terminal's modes before."""
    before = terminal.settings()
    terminal.type(f"{IVRD} dial {app}; echo status=$?\n")
    terminal.sees(r"enter-pin")
    return before


def test_a_call_by_keyboard(terminal: Terminal) -> None:
    before = dial(terminal, "menu:main")
    assert terminal.settings() != before
    terminal.sees(r"h hang up +t trace")
    terminal.type("8642")
    screen = terminal.sees(r"PIN = \*\*\*\*")
    assert len(re.findall(r"presses \*\*\*\*", screen)) == 4
    assert "╭─ wire" not in screen
    terminal.type("t")
    screen = terminal.sees(r"← app +A,long-menu")
    assert len(re.findall(r"→ app +\?$", screen.replace(" │", "").replace("│", ""), re.MULTILINE)) in range(5)
    terminal.tmux("resize-window", "-x", "60", "-y", "18")
    screen = terminal.until(lambda screen: re.search(r"╭─ wire ─{51}╮", screen) is not None, "narrow panels")
    assert max(map(len, screen.splitlines())) <= 60
    terminal.type("tv2")
    screen = terminal.sees(r"presses 2")
    terminal.until(lambda screen: "wire" not in screen and "PIN" not in screen, "panels gone")
    terminal.type("h")
    screen = terminal.sees(r"status=0\n+ready:$")
    assert "hungup_by_caller" in screen
    assert "CHOICE = 2" in screen
    assert "8642" not in terminal.tmux("capture-pane", "-p", "-S", "-")
    assert terminal.settings() == before


def test_ctrl_c_hangs_up_and_the_app_cleans_up(terminal: Terminal) -> None:
    before = dial(terminal, "menu:quiet")
    terminal.key("C-c")
    screen = terminal.sees(r"status=0\n+ready:$")
    assert "cleaned up" in terminal.tmux("capture-pane", "-p", "-S", "-")
    assert "hungup_by_caller" in screen
    assert terminal.settings() == before


def test_a_killed_phone_leaves_the_terminal_as_it_was(terminal: Terminal) -> None:
    before = dial(terminal, "menu:quiet")
    shell = terminal.tmux("display-message", "-p", "#{pane_pid}").strip()
    (child,) = Path(f"/proc/{shell}/task/{shell}/children").read_text().split()
    os.kill(int(child), 15)
    terminal.sees(r"status=0\n+ready:$")
    assert terminal.settings() == before


def test_what_an_app_says_is_no_markup(terminal: Terminal) -> None:
    dial(terminal, "menu:brackets")
    screen = terminal.sees(r"\[red\] :warning:")
    assert "NAME = [/var/lib/x] [menu]" in screen
    terminal.type("h")
    terminal.sees(r"status=0\n+ready:$")


def test_what_fails_after_the_screen_was_drawn(terminal: Terminal) -> None:
    before = dial(terminal, "menu:bad")
    terminal.type("1")
    screen = terminal.sees(r"status=1\n+ready:$")
    assert "ValueError: oops" in screen
    assert "result: app_error" in screen
    assert terminal.settings() == before
