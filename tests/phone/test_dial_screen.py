"""`ivrd dial` at a real terminal, driven by tmux: what is on the screen, and that the terminal is as it was."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.terminal import Terminal, need_tmux

IVRD = str(Path(sys.executable).with_name("ivrd"))
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


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    need_tmux()
    (tmp_path / "menu.py").write_text(APP)
    with Terminal(tmp_path) as terminal:
        yield terminal


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
    terminal.resize(60, 18)
    screen = terminal.until(lambda screen: re.search(r"╭─ wire ─{51}╮", screen) is not None, "narrow panels")
    assert max(map(len, screen.splitlines())) <= 60
    terminal.type("tv2")
    screen = terminal.sees(r"presses 2")
    terminal.until(lambda screen: "wire" not in screen and "PIN" not in screen, "panels gone")
    terminal.type("h")
    screen = terminal.sees(r"status=0\n+ready:$")
    assert "hungup_by_caller" in screen
    assert "CHOICE = 2" in screen
    assert "8642" not in terminal.all()
    assert terminal.settings() == before


def test_ctrl_c_hangs_up_and_the_app_cleans_up(terminal: Terminal) -> None:
    before = dial(terminal, "menu:quiet")
    terminal.key("C-c")
    screen = terminal.sees(r"status=0\n+ready:$")
    assert "cleaned up" in terminal.all()
    assert "hungup_by_caller" in screen
    assert terminal.settings() == before


def test_a_killed_phone_leaves_the_terminal_as_it_was(terminal: Terminal) -> None:
    before = dial(terminal, "menu:quiet")
    os.kill(terminal.child(), 15)
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
