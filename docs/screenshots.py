"""Makes the pictures of `ivrd top` and `ivrd trace` in docs/images: the commands at a terminal, on a daemon with calls.

    python -m docs.screenshots        # tmux is needed

The rule that holds here: nothing is painted; what is in the pictures is what tmux had on its screen.
"""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import trio
from rich.console import Console
from rich.text import Text

from ivrd.simulator.caller import SimulatedCall
from ivrd.simulator.process import Exchange, open_exchange
from ivrd.simulator.script import read
from tests.service import BIN, Service, until
from tests.terminal import Terminal

IMAGES = Path(__file__).parent / "images"
WIDTH = 104
FONTS = "Fira Code, DejaVu Sans Mono, Menlo, Consolas, Liberation Mono, monospace"
T = TypeVar("T")

MENU = """
import anyio

async def menu(call):
    await call.play("welcome")
    pin = await call.digits("agent-pass", max=4, timeout=60, secret=True)
    choice = await call.menu(["vm-press", "digits/1", "vm-for-new-messages"], "12", timeout=60)
    await call.set(PIN=pin, CHOICE=choice or "")
    await call.play("vm-goodbye")

async def hold(call):
    await anyio.sleep(600)
"""
APPS = """
[apps.bank]
handler = "menu:hold"
workers = 2
concurrency = 20

[apps.survey]
handler = "menu:hold"
workers = 1
concurrency = 40

[apps.menu]
handler = "menu:menu"
workers = 1
concurrency = 10
"""


class Stage:
    """A daemon, an exchange and an operator's terminal."""

    def __init__(self, service: Service, exchange: Exchange, terminal: Terminal) -> None:
        self.service = service
        self._exchange = exchange
        self._terminal = terminal

    async def call(self, app: str) -> SimulatedCall:
        """Place a call; returns when a worker has it."""
        call = self._exchange.dial([str(self.service.shim), f"--socket={self.service.socket}", app, "1700000000.1"])
        await call.exited()
        return call

    async def runs(self, command: str, height: int) -> None:
        """Run a command on a clear screen of that height."""
        await self.resizes(height)
        await self.types("clear\n")
        await self.sees(r"\A\$\Z")
        await self.types(f"{command}\n")

    async def resizes(self, height: int) -> None:
        await self.does(self._terminal.resize, WIDTH, height)

    async def types(self, text: str) -> None:
        await self.does(self._terminal.type, text)

    async def presses(self, key: str) -> None:
        await self.does(self._terminal.key, key)

    async def sees(self, pattern: str) -> None:
        await self.does(self._terminal.sees, pattern)

    async def does(self, what: Callable[..., T], *args: object) -> T:
        """Do something at the terminal while the calls go on."""
        return await trio.to_thread.run_sync(partial(what, *args))

    async def keep(self, name: str, title: str) -> None:
        """Make a picture of what is on the screen."""
        IMAGES.mkdir(exist_ok=True)
        console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
        console.print(Text.from_ansi(await self.does(partial(self._terminal.screen, colours=True))), end="")
        picture = portable(console.export_svg(title=title, unique_id=name))
        (IMAGES / f"{name}.svg").write_text(picture)
        print(f"docs/images/{name}.svg")


def portable(picture: str) -> str:
    """Make a picture of rich's the same for every viewer."""
    # Without the font that rich would have fetched from elsewhere: a page of documentation loads nothing.
    picture = re.sub(r"(?s)\s*@font-face \{.*?\}", "", picture)
    picture = picture.replace("font-family: Fira Code, monospace", f"font-family: {FONTS}")
    # Each piece of text has its width, and with it any font's letters: bars and lines have no gaps.
    return picture.replace(" textLength=", ' lengthAdjust="spacingAndGlyphs" textLength=')


async def show_top(stage: Stage) -> None:
    for app, count in (("bank", 31), ("survey", 12)):
        for _ in range(count):
            await stage.call(app)
    menu = await stage.call("menu")
    await menu.hears("agent-pass")
    await stage.runs("ivrd top", 30)
    await stage.sees("^… and")
    await stage.types("jjj")
    await trio.sleep(2.2)  # until each worker has reported its memory, and the list has been drawn anew
    await stage.keep("top", "ivrd top")

    await stage.types("/menu")
    await stage.sees("1 shown")
    await stage.presses("Enter")  # the end of the word
    await stage.presses("Enter")
    await stage.resizes(20)
    await stage.sees("of menu, ")
    for key in "8642":
        menu.press(key)
        await trio.sleep(0.2)
    await menu.hears("vm-for-new-messages")
    await stage.sees("A,vm-for-new-messages")
    await stage.keep("call", "ivrd top: a call")
    await stage.presses("Escape")
    await stage.types("q")
    menu.hangup()


async def show_trace(stage: Stage) -> None:
    usual = stage.service.status()["descriptors"]
    await stage.runs("ivrd trace --app menu", 28)
    await stage.does(until, lambda: stage.service.status()["descriptors"] > usual)
    call = await stage.call("menu")
    await call.follow(read("wait:agent-pass 8642 wait:digits/1 1"))
    await call.ended()
    await stage.sees(r"^\$$")
    await stage.keep("trace", "ivrd trace --app menu")


async def main(service: Service, directory: Path) -> None:
    async with open_exchange() as exchange:
        with Terminal(directory, WIDTH, 30) as terminal:
            terminal.type(f"export IVRD_CONFIG={service.config_file} PATH={BIN}:$PATH PS1='$ '\n")
            stage = Stage(service, exchange, terminal)
            await show_top(stage)
            await show_trace(stage)


if __name__ == "__main__":
    service = Service(APPS, files={"menu.py": MENU}, drain_timeout=0.5)
    with service as running, tempfile.TemporaryDirectory() as place:
        trio.run(main, running, Path(place))
