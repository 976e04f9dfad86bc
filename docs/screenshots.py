"""Makes the pictures of `ivrd top` and `ivrd trace` in docs/images, from a real daemon with real calls.

    python -m docs.screenshots

The rule that holds here: nothing is painted; what is in the pictures is what the commands have shown.
"""

from __future__ import annotations

import io
import re
import subprocess
from pathlib import Path

import trio
from rich.console import Console, ConsoleDimensions

from ivrd.cli.picture import draw
from ivrd.cli.top import look
from ivrd.cli.view import View
from ivrd.simulator.process import Exchange, open_exchange
from tests.service import IVRD, Service

IMAGES = Path(__file__).parent / "images"
WIDTH = 104

MENU = """
import anyio

async def main(call):
    await call.play("welcome")
    choice = await call.digits("please-enter-your", max=4, timeout=4)
    await call.set(CHOICE=choice)
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
handler = "menu:main"
workers = 1
"""


def keep(name: str, title: str, console: Console) -> None:
    IMAGES.mkdir(exist_ok=True)
    # Without the fonts that rich would have fetched from elsewhere: a page of documentation loads nothing.
    picture = re.sub(r"(?s)@font-face \{.*?\}", "", console.export_svg(title=title))
    (IMAGES / f"{name}.svg").write_text(picture)
    print(f"docs/images/{name}.svg")


def painted() -> Console:
    """A terminal that nobody sees and that remembers what was on it."""
    return Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)


async def show_top(service: Service, exchange: Exchange) -> None:
    for app, count in (("bank", 31), ("survey", 12)):
        for _ in range(count):
            call = exchange.dial([str(service.shim), f"--socket={service.socket}", app])
            await call.exited()
    await trio.sleep(1.2)  # until each worker has reported its memory
    status, rows = await look(str(service.config_file))
    view = View()
    view.take(rows, [app.name for app in status.apps])
    console = painted()
    console.print(draw(view, status, ConsoleDimensions(WIDTH, 34)))
    keep("top", "ivrd top", console)


async def show_trace(service: Service, exchange: Exchange) -> None:
    argv = [*IVRD, "trace", "--config", str(service.config_file), "--app", "menu"]
    tracing = await trio.lowlevel.open_process(argv, stdout=subprocess.PIPE)
    await trio.sleep(1.0)  # it waits for the next call from then on
    call = exchange.dial([str(service.shim), f"--socket={service.socket}", "menu"])
    await call.hears("please-enter-your")
    await trio.sleep(0.3)
    call.press("42#")
    await call.ended()
    assert tracing.stdout is not None
    text = "".join([part.decode() async for part in tracing.stdout])
    await tracing.wait()
    console = painted()
    console.print(text, markup=False, highlight=False)
    keep("trace", "ivrd trace --app menu", console)


async def main(service: Service) -> None:
    async with open_exchange() as exchange:
        await show_top(service, exchange)
        await show_trace(service, exchange)


if __name__ == "__main__":
    with Service(APPS, files={"menu.py": MENU}, drain_timeout=0.5) as running:
        trio.run(main, running)
