"""`ivrd top`: the live calls and workers, in a terminal, as they come and go, and any one call with its wire.

The rule that holds here: what is shown is what `ivrd status`, `ivrd calls` and `ivrd trace` say, asked again each
interval; the terminal is given back as it was, however the command ends.
"""

from __future__ import annotations

import signal
import sys

import anyio
import click
from anyio.abc import TaskStatus
from rich.console import Console, RenderableType
from rich.live import Live

from ivrd.cli.client import follow
from ivrd.cli.detail import Detail
from ivrd.cli.keyboard import Keyboard
from ivrd.cli.options import config_option, fail, plain_errors
from ivrd.cli.picture import draw
from ivrd.cli.view import View
from ivrd.errors import IvrdError
from ivrd.wire import control as wire

__all__ = ["look", "top"]


async def look(config_path: str) -> tuple[wire.StatusAnswer, list[wire.CallRow]]:
    """Ask the daemon how it is going and which calls are live; errors as `client.follow`."""
    rows: list[wire.CallRow] = []
    status: wire.StatusAnswer | None = None
    whole = False
    async for answer in follow(config_path, wire.Status()):
        status = answer if isinstance(answer, wire.StatusAnswer) else None
    async for answer in follow(config_path, wire.Calls()):
        if isinstance(answer, wire.CallsAnswer):
            rows.extend(answer.rows)
            whole = answer.last
    if status is None or not whole:
        raise IvrdError("the daemon went away before it answered")
    return status, rows


@click.command(
    epilog="Keys in the list: up, down, j, k and the like move, Enter opens a call, s sorts by another column, r the "
    "other way round, / finds calls by a part of their id or app, a shows one app after the other, w hides the "
    "workers, p pauses, q quits. Keys in a call: Esc, Backspace or q go back."
)
@config_option
@click.option(
    "--interval", default=1.0, show_default=True, type=click.FloatRange(0.1, 60), help="Seconds between looks."
)
def top(config_path: str, interval: float) -> None:
    """Watch live calls and workers, and what goes over the wire of a call; q quits."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        fail("`ivrd top` needs a terminal; `ivrd status --json` and `ivrd calls --json` are for scripts")
    with plain_errors():
        anyio.run(_watch, config_path, interval)


async def _watch(config_path: str, interval: float) -> None:
    await _Top(config_path, interval, *await look(config_path)).run()


class _Top:
    """What is on the screen: the list, or one call."""

    def __init__(self, config_path: str, interval: float, status: wire.StatusAnswer, rows: list[wire.CallRow]) -> None:
        self._config_path = config_path
        self._interval = interval
        self._console = Console()
        self._live = Live(console=self._console, screen=True, auto_refresh=False)
        self._view = View()
        self._status = status
        self._problem = ""
        self._detail: Detail | None = None
        self._listening = anyio.CancelScope()
        self._take(status, rows)

    async def run(self) -> None:
        """Show the list and follow keys and signals, until one of them says to leave."""
        async with anyio.create_task_group() as self._tasks:
            # First of all: a signal that nobody waits for would leave the terminal as it is then.
            await self._tasks.start(self._obey_signals)
            with Keyboard() as keyboard, self._live:
                self._show()
                self._tasks.start_soon(self._look_again)
                async for key in keyboard.pressed():
                    if self._press(key) == "quit":
                        break
                    self._show()
                self._tasks.cancel_scope.cancel()

    def _take(self, status: wire.StatusAnswer, rows: list[wire.CallRow]) -> None:
        self._status = status
        self._view.take(rows, (app.name for app in status.apps))
        if self._detail is not None:
            self._detail.take(rows)

    def _show(self) -> None:
        self._live.update(self._picture(), refresh=self._live.is_started)

    def _picture(self) -> RenderableType:
        size = self._console.size
        if self._detail is not None:
            return self._detail.draw(size)
        return draw(self._view, self._status, size, self._problem)

    def _press(self, key: str) -> str:
        if self._detail is not None:
            if key in ("escape", "backspace", "q"):
                self._listening.cancel()
                self._detail = None
            return "stay"
        wish = self._view.press(key)
        if wish == "open" and self._view.call is not None:
            self._detail = Detail(self._view.call)
            self._listening = anyio.CancelScope()
            self._tasks.start_soon(self._listen, self._detail, self._listening)
        return wish

    async def _listen(self, detail: Detail, scope: anyio.CancelScope) -> None:
        with scope:
            await detail.listen(self._config_path, self._show)

    async def _look_again(self) -> None:
        while True:
            await anyio.sleep(self._interval)
            if self._view.paused:
                continue
            try:
                self._take(*await look(self._config_path))
            except IvrdError as error:  # what was there last stays on the screen
                self._problem = str(error)
            else:
                self._problem = ""
            self._show()

    async def _obey_signals(self, *, task_status: TaskStatus[None]) -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGWINCH) as signals:
            task_status.started()
            async for number in signals:
                if number != signal.SIGWINCH:
                    break
                self._show()
        self._tasks.cancel_scope.cancel()
