"""`ivrd dial` at a real terminal, driven by tmux: what is on the screen, and that the terminal is as it was."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.terminal import Terminal, need_tmux

IVRD = str(Path(sys.executable).with_name("ivrd"))
APP = """
import asyncio, logging, subprocess, sys, time

logging.basicConfig(stream=sys.stderr)

async def main(call):
    pin = await call.digits("enter-pin", max=4, timeout=60, secret=True)
    await call.set(PIN=pin, STEP="menu")
    choice = await call.menu(["long-menu"], "12", timeout=60)
    await call.set(CHOICE=choice or "")
    await call.digits("long-goodbye", timeout=600)

async def bad(call):
    await call.digits("enter-pin", max=1, timeout=60)
    raise ValueError("oops")

async def chatty(call):
    print("said by print")
    logging.warning("said by a logger")
    subprocess.run(["echo", "said by a child"])
    await call.set(BELL="\\x1b[2J\\x1b[31mred")
    await call.digits("enter-pin", timeout=600)

async def quiet(call):
    try:
        await call.digits("enter-pin", timeout=600)
    finally:
        open("cleaned", "w").close()
        print("cleaned up")

async def brackets(call):
    await call.set(NAME="[/var/lib/x] [menu]")
    await call.log("[red] :warning:")
    await call.digits("enter-pin", timeout=60)

async def blocked(call):
    await call.digits("enter-pin", max=1, timeout=600)
    time.sleep(600)

def thread(call):
    call.digits("enter-pin", max=1, timeout=600)
    time.sleep(600)

async def stuck(call):
    await call.digits("enter-pin", max=1, timeout=600)
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            pass
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
    # Of the last seven lines: I, T, the other three digits, V, A.
    assert len(re.findall(r"→ app +\? +│$", screen, re.MULTILINE)) == 3
    assert not re.search(r"→ app +\d", screen)
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


def test_what_the_app_prints_is_not_on_the_screen_and_is_not_lost(terminal: Terminal) -> None:
    before = dial(terminal, "menu:chatty")
    screen = terminal.sees(r"BELL = \?\[2J\?\[31mred")  # a variable moves no cursor
    assert "said by" not in screen
    terminal.type("\x1b[A1")
    terminal.sees("presses 1")
    terminal.type("h")
    screen = terminal.sees(r"status=0\n+ready:$")
    assert re.findall("presses .*", screen) == ["presses 1"]
    said = [line for line in screen.splitlines() if "said by" in line]
    assert said == ["said by print", "WARNING:root:said by a logger", "said by a child"]
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


@pytest.mark.parametrize("key", ["C-c", "C-\\"])
def test_an_app_that_blocks_its_loop_is_told_of_and_left(terminal: Terminal, key: str) -> None:
    before = dial(terminal, "menu:blocked")
    terminal.type("1")
    terminal.sees(r"the app blocks its event loop at menu.py:\d+, time.sleep\(600\)")
    terminal.presses_until(key, r"status=13[01]\n+ready:")
    screen = terminal.tmux("capture-pane", "-p", "-J")
    assert "left without waiting for the app" in screen
    assert "╭─ call" not in screen
    assert terminal.settings() == before


def test_a_screen_is_left_at_once_where_it_is_wished(terminal: Terminal) -> None:
    before = dial(terminal, "menu:quiet")
    terminal.key("C-\\")
    terminal.sees(r"status=131\n+ready:$")
    assert terminal.settings() == before


@pytest.mark.parametrize("app", ["thread", "stuck"])
def test_what_does_not_end_by_itself_is_not_waited_for(terminal: Terminal, app: str) -> None:
    before = dial(terminal, f"menu:{app}")
    terminal.type("1")
    terminal.sees("presses 1")
    terminal.type("h")
    screen = terminal.sees(r"status=1\n+ready:$")  # once hangup_grace is over
    assert "ivrd: call.stuck" in screen
    assert terminal.settings() == before
    # Who does not wait for that either is told what there was, and that this was not the end.
    dial(terminal, f"menu:{app}")
    terminal.type("2")
    terminal.sees("presses 2")
    screen = terminal.presses_until("C-c", r"status=1\n+ready:")
    assert "ivrd: left before the app had ended" in screen
    assert terminal.settings() == before


def test_a_terminal_that_goes_away_is_a_caller_who_hangs_up(tmp_path: Path) -> None:
    (tmp_path / "menu.py").write_text(APP)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [IVRD, "dial", "menu:quiet"], cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE,
        env={**os.environ, "TERM": "xterm-256color"},
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    while b"enter-pin" not in seen:
        seen += os.read(ours, 65536)
    os.close(ours)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert (tmp_path / "cleaned").exists()
    assert told == b""
