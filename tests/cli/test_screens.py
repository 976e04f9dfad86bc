"""`ivrd top` and `ivrd trace` at a real terminal, driven by tmux, beside a real daemon with real calls."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from ivrd.simulator.caller import SimulatedCall
from ivrd.simulator.process import open_exchange
from tests.service import IVRD, Service, until
from tests.terminal import PROMPT, Terminal, need_tmux

APP = """
async def main(call):
    pin = await call.digits("enter-pin", max=4, timeout=600, secret=True)
    choice = await call.digits("menu", max=1, timeout=600)
    await call.set(PIN=pin, CHOICE=choice)

async def hold(call):
    await call.digits("hold-the-line", max=1, timeout=600)
"""
APPS = '[apps.main]\nhandler = "menu:main"\nworkers = 1\n\n[apps.hold]\nhandler = "menu:hold"\nworkers = 2\n'
LEFT = rf"status=0\n+{PROMPT}$"


@pytest.fixture
def ivrd() -> Iterator[Service]:
    need_tmux()
    with Service(APPS, files={"menu.py": APP}, drain_timeout=0.5) as service:
        yield service


class Desk:
    """An operator at a terminal, who does not keep the callers waiting."""

    def __init__(self, ivrd: Service, terminal: Terminal) -> None:
        self._ivrd = ivrd
        self.terminal = terminal
        self.before = terminal.settings()

    async def runs(self, *args: str) -> None:
        """Run `ivrd ARGS…`; its exit status comes after it."""
        command = " ".join([*IVRD, args[0], "-c", str(self._ivrd.config_file), *args[1:]])
        await self.does(self.terminal.type, f"clear; {command}; echo status=$?\n")

    async def sees(self, pattern: str) -> str:
        """Wait until the screen shows a pattern."""
        return str(await self.does(self.terminal.sees, pattern))

    async def sees_no(self, pattern: str) -> str:
        """Wait until the screen does not show a pattern any more."""
        return await self.until(lambda screen: not re.search(pattern, screen), f"no {pattern}")

    async def sees_calls(self, *numbers: int) -> str:
        """Wait until these calls are on the screen, in this order, and the help below them."""

        def are_there(screen: str) -> bool:
            found = re.findall(r"(?m)^[0-9a-f]+-(\d+) ", screen)
            return found == list(map(str, numbers)) and re.match("q quit|find: ", screen.splitlines()[-1]) is not None

        return await self.until(are_there, f"calls {numbers}")

    async def sees_picture(self, number: int, first: str, last: str) -> str:
        """Wait for a picture of so many lines, of which the first and the last one begin so."""

        def is_there(screen: str) -> bool:
            lines = screen.splitlines()
            return len(lines) == number and lines[0].startswith(first) and lines[-1].startswith(last)

        return await self.until(is_there, f"picture of {number} lines")

    async def until(self, holds: Callable[[str], bool], what: str) -> str:
        """Wait until something holds of the screen, which may have been looked at in the middle of a picture."""
        return str(await self.does(self.terminal.until, holds, what))

    async def types(self, text: str) -> None:
        await self.does(self.terminal.type, text)

    async def presses(self, *names: str) -> None:
        await self.does(self.terminal.key, *names)

    async def does(self, what: Any, *args: Any) -> Any:
        return await trio.to_thread.run_sync(partial(what, *args))

    async def is_back(self) -> None:
        """See that the command has ended well and has left the terminal as it was."""
        await self.sees(LEFT)
        assert await self.does(self.terminal.settings) == self.before


@asynccontextmanager
async def desk(ivrd: Service, directory: Path, *apps: str) -> AsyncIterator[tuple[Desk, list[SimulatedCall]]]:
    """An operator, and a call to each of some apps, which hears its first prompt."""
    async with open_exchange() as exchange:
        calls: list[SimulatedCall] = []
        for app in apps:
            calls.append(exchange.dial([str(ivrd.shim), f"--socket={ivrd.socket}", app, "x", "[y]"]))
            await calls[-1].hears({"main": "enter-pin", "hold": "hold-the-line"}[app])
        terminal = await trio.to_thread.run_sync(Terminal(directory, 100, 30).__enter__)
        try:
            yield Desk(ivrd, terminal), calls
        finally:
            terminal.__exit__()


async def test_top_shows_sorts_finds_and_quits(ivrd: Service, tmp_path: Path) -> None:
    async with desk(ivrd, tmp_path, "main", "hold", "hold") as (operator, _):
        await operator.runs("top")
        screen = await operator.sees_calls(1, 2, 3)
        assert re.search(r"^ivrd  3 calls, 3 of \d+ places taken, 0 waiting", screen)
        assert screen.count(" ready ") == 3
        assert await operator.does(operator.terminal.settings) != operator.before
        await operator.types("r")
        assert "age ▲" in await operator.sees_calls(3, 2, 1)
        await operator.types("rs")
        assert "app ▲" in await operator.sees_calls(2, 3, 1)
        await operator.types("/MAI")
        await operator.sees(r"^find: MAI_")
        assert "1 shown: with 'MAI'" in await operator.sees_calls(1)
        await operator.presses("Escape")
        assert "shown:" not in await operator.sees_calls(2, 3, 1)
        await operator.types("a")
        assert "1 shown: app main" in await operator.sees_calls(1)
        await operator.types("w")
        await operator.sees_no(" ready ")
        await operator.types("q")
        await operator.is_back()


async def test_a_call_and_its_wire_until_its_end(ivrd: Service, tmp_path: Path) -> None:
    async with desk(ivrd, tmp_path, "hold", "main", "hold") as (operator, (_, call, _)):
        await operator.runs("top")
        await operator.sees(r"^[0-9a-f]+-3 ")
        await operator.types("j")
        await operator.presses("Enter")
        row = next(row for row in ivrd.calls() if row["app"] == "main")
        screen = await operator.sees(rf"^call {row['id']} of main, \d+\.\d s old$")
        for fact in (r"app +main", r"state +running", r"attempt +1", rf"worker +{row['worker']}", r"args +2"):
            assert re.search(fact, screen), fact
        assert re.search(r"transport +pipe", screen)
        assert re.search(r"started +[-\d :]+$", screen, re.MULTILINE)
        call.press("8642")
        screen = await operator.sees(r"◀── app  A,menu +play")
        assert len(re.findall(r"──▶ app  \? +key", screen)) == 4
        call.press("7")
        await operator.sees(rf"^call {row['id']}  over: completed \(the handler returned\)$")
        await operator.sees(r"state +over")
        await operator.sees(r"──▶ app  7 +key")
        await operator.sees(r"◀── app  V,PIN=\*\*\*\*,CHOICE=7 +set")
        assert "8642" not in operator.terminal.all()
        await operator.presses("Escape")
        await operator.sees_calls(1, 3)
        await operator.sees(r"^ivrd  2 calls")
        await operator.presses("Up", "Enter")  # the first one
        await operator.sees(rf"^call {ivrd.calls()[0]['id']} of hold")
        await operator.types("q")
        await operator.sees_calls(1, 3)
        await operator.types("q")
        await operator.is_back()


async def test_a_call_is_traced_while_one_looks_and_no_longer(ivrd: Service, tmp_path: Path) -> None:
    async with desk(ivrd, tmp_path, "hold") as (operator, _):
        await operator.runs("top")
        await operator.sees(r"^[0-9a-f]+-1 ")
        await operator.types("p")
        await operator.sees("paused")
        usual = min(ivrd.status()["descriptors"] for _ in range(5))  # a last look may still be under way
        for back in ("Escape", "BSpace", "q"):
            await operator.presses("Enter")
            await operator.sees(r"of hold, \d+\.\d s old")
            assert ivrd.status()["descriptors"] == usual + 1  # the operator's connection
            await operator.presses(back)
            await operator.sees("paused")
            await operator.does(until, lambda: ivrd.status()["descriptors"] == usual, 30.0, "the end of the trace")
        await operator.presses("C-c")
        await operator.is_back()


async def test_a_window_of_another_size(ivrd: Service, tmp_path: Path) -> None:
    async with desk(ivrd, tmp_path, *["hold"] * 9) as (operator, _):
        await operator.runs("top", "--interval", "60")
        await operator.sees(r"^[0-9a-f]+-9 ")
        await operator.does(operator.terminal.resize, 60, 14)
        await operator.sees(r"^… and 6 more$")
        await operator.sees_picture(14, "ivrd  9 calls", "q quit")
        await operator.presses("Enter")
        await operator.sees("of hold, ")
        await operator.does(operator.terminal.resize, 40, 8)
        await operator.sees_picture(8, "call ", "esc back")
        await operator.does(operator.terminal.resize, 100, 30)
        await operator.sees(r"transport +pipe")
        await operator.presses("C-c")
        await operator.is_back()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_leaves_the_terminal_as_it_was(ivrd: Service, tmp_path: Path, number: int) -> None:
    async with desk(ivrd, tmp_path) as (operator, _):
        await operator.runs("top")
        await operator.sees("no live calls")
        os.kill(operator.terminal.child(), number)
        await operator.is_back()


async def test_a_daemon_that_is_killed_under_one_who_looks(ivrd: Service, tmp_path: Path) -> None:
    async with desk(ivrd, tmp_path, "main") as (operator, (call,)):
        await operator.runs("top")
        await operator.sees(r"^[0-9a-f]+-1 ")
        await operator.presses("Enter")
        await operator.sees("of main, ")
        (worker,) = ivrd.workers("main")
        ivrd.kill()
        await operator.sees(r"no daemon listens at")
        await operator.presses("Escape")
        assert "ivrd no daemon listens at" in await operator.sees_calls(1)  # what was there last
        await operator.presses("Enter")
        os.kill(worker, signal.SIGSTOP)  # it is late for the next daemon
        await operator.does(ivrd.start)
        await operator.sees(r"there is no live call")
        os.kill(worker, signal.SIGCONT)
        await operator.sees(r"of main, \d+\.\d s old")
        call.press("8642")
        await operator.sees(r"A,menu")
        await operator.presses("Escape")
        await operator.sees(r"^ivrd  1 call,")
        await operator.types("q")
        await operator.is_back()


async def test_a_trace_of_a_call_and_away_from_it(ivrd: Service, tmp_path: Path) -> None:
    async with desk(ivrd, tmp_path, "main") as (operator, (call,)):
        name = ivrd.calls()[0]["id"]
        await operator.runs("trace", name)
        await operator.sees(rf"^call {name} of main, \d+\.\d s old$")
        call.press("8642")
        screen = await operator.sees(r"^ +\d+\.\d{3}  Asterisk ◀── app  A,menu +play$")
        assert len(re.findall(r"Asterisk ──▶ app  \? +key", screen)) == 4
        await operator.presses("C-c")
        await operator.is_back()
        assert "8642" not in operator.terminal.all()
        assert ivrd.calls()[0]["id"] == name  # it goes on


async def test_a_trace_of_the_next_call(ivrd: Service, tmp_path: Path) -> None:
    async with desk(ivrd, tmp_path) as (operator, _), open_exchange() as exchange:
        usual = ivrd.status()["descriptors"]
        await operator.runs("trace", "--next")
        await operator.does(until, lambda: ivrd.status()["descriptors"] > usual, 30.0, "its coming to the daemon")
        call = exchange.dial([str(ivrd.shim), f"--socket={ivrd.socket}", "hold"])
        await call.hears("hold-the-line")
        call.press("5")
        screen = await operator.sees(LEFT)
        ladder = [line.split("app  ")[1].split() for line in screen.splitlines() if "app  " in line]
        assert ladder[0] == ["A,hold-the-line", "play"]
        assert ["5", "key"] in ladder
        assert "over: completed (the handler returned)" in screen
        await operator.is_back()
