"""`ivrd top`: the live calls and workers, in a terminal, as they come and go.

The rule that holds here: what is shown is what `ivrd status` and `ivrd calls` say, asked again each interval; the
terminal is given back as it was, however the command ends.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import anyio
import anyio.to_thread
import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ivrd.cli.client import ask, ask_all
from ivrd.cli.keyboard import Keyboard
from ivrd.cli.options import config_option, fail, plain_errors
from ivrd.cli.words import CALLS, WORKERS, app_state, call_row, cell, printable, seconds, worker_row
from ivrd.errors import IvrdError
from ivrd.wire import control as wire

__all__ = ["View", "draw", "look", "top"]

SORTS: dict[str, Callable[[wire.CallRow], object]] = {
    "age": lambda row: -row.age,
    "app": lambda row: (row.app, -row.age),
    "state": lambda row: (row.state, -row.age),
    "worker": lambda row: (row.worker, -row.age),
}
HELP = "q quit   s sort   a app   w workers   p pause"


@dataclass
class View:
    """What the operator has chosen to see.

    Attributes:
        sort: the order of the calls, one of `SORTS`.
        app: only this app; "" for all.
        workers: the workers are shown.
        paused: nothing is asked anew.
    """

    sort: str = "age"
    app: str = ""
    workers: bool = True
    paused: bool = False
    apps: list[str] = field(default_factory=list)

    def press(self, key: str) -> bool:
        """Take a key; false when it means to leave."""
        match key:
            case "q":
                return False
            case "s":
                self.sort = _next(list(SORTS), self.sort)
            case "a":
                self.app = _next(["", *self.apps], self.app)
            case "w":
                self.workers = not self.workers
            case "p" | " ":
                self.paused = not self.paused
            case _:
                pass
        return True


def _next(words: list[str], word: str) -> str:
    return words[(words.index(word) + 1) % len(words)] if word in words else words[0]


def draw(view: View, status: wire.StatusAnswer, rows: list[wire.CallRow], height: int) -> RenderableType:
    """Make the picture of one moment.

    Args:
        view: what the operator has chosen.
        status: how it is going.
        rows: the live calls.
        height: lines that the terminal has.
    """
    busy = sum(app.busy for app in status.apps)
    capacity = sum(app.capacity for app in status.apps)
    waiting = sum(app.waiting for app in status.apps)
    head = Text.assemble(
        ("ivrd ", "bold"), f"{printable(status.release)}  pid {status.pid}  up {seconds(status.uptime)}   ",
        (f"{sum(status.calls.values())} calls", "bold"), f", {busy} of {capacity} places taken, {waiting} waiting",
        ("   DRAINING", "bold red") if status.draining else "", ("   paused", "yellow") if view.paused else "",
    )  # fmt: skip
    parts: list[RenderableType] = [head, _apps(view, status)]
    used = 8 + len(status.apps)
    if view.workers:
        table = _workers(view, status)
        used += 4 + table.row_count
        parts.append(table)
    parts += [_calls(view, rows, max(3, height - used)), Text(HELP, style="dim")]
    return Group(*parts)


def _apps(view: View, status: wire.StatusAnswer) -> Table:
    table = Table("app", "calls", "", "waiting", "state", expand=True)
    for app in status.apps:
        if view.app in ("", app.name):
            share = app.busy / app.capacity if app.capacity else 0.0
            style = "red" if share > 0.9 else "yellow" if share > 0.7 else "green"
            bar = Text("█" * round(20 * share), style=style) + Text("·" * (20 - round(20 * share)), style="dim")
            table.add_row(cell(app.name), cell(f"{app.busy}/{app.capacity}"), bar, cell(app.waiting), app_state(app))
    return table


def _workers(view: View, status: wire.StatusAnswer) -> Table:
    table = Table(*WORKERS, expand=True)
    for app in status.apps:
        for worker in app.workers if view.app in ("", app.name) else ():
            table.add_row(*worker_row(app, worker))
    return table


def _calls(view: View, rows: list[wire.CallRow], lines: int) -> Table:
    chosen = sorted((row for row in rows if view.app in ("", row.app)), key=SORTS[view.sort])  # type: ignore[arg-type]  # each sorts by one kind of key
    more = len(chosen) - (lines - 4)
    shown = chosen if more <= 0 else chosen[: lines - 5]
    table = Table(*CALLS, expand=True)
    for row in shown:
        table.add_row(*call_row(row))
    if len(shown) < len(chosen):
        table.add_row(f"… and {len(chosen) - len(shown)} more", "", "", "", "", "")
    if not chosen:
        table.add_row("no live calls", "", "", "", "", "")
    table.title = cell(f"by {view.sort}" + (f", app {view.app}" if view.app else ""))
    return table


def look(config_path: str) -> tuple[wire.StatusAnswer, list[wire.CallRow]]:
    """Ask the daemon how it is going and which calls are live; errors as `client.ask`."""
    status = ask(config_path, wire.Status())
    assert isinstance(status, wire.StatusAnswer)
    rows: list[wire.CallRow] = []
    for answer in ask_all(config_path, wire.Calls()):
        assert isinstance(answer, wire.CallsAnswer)
        rows.extend(answer.rows)
        if answer.last:
            break
    return status, rows


@click.command()
@config_option
@click.option(
    "--interval", default=1.0, show_default=True, type=click.FloatRange(0.1, 60), help="Seconds between looks."
)
def top(config_path: str, interval: float) -> None:
    """Watch live calls and workers; q quits."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        fail("`ivrd top` needs a terminal; `ivrd status --json` and `ivrd calls --json` are for scripts")
    with plain_errors():
        status, rows = look(config_path)
    anyio.run(_watch, config_path, interval, status, rows)


async def _watch(config_path: str, interval: float, status: wire.StatusAnswer, rows: list[wire.CallRow]) -> None:
    console = Console()
    view = View(apps=[app.name for app in status.apps])
    with Keyboard() as keyboard, Live(console=console, screen=True, auto_refresh=False) as live:

        def show() -> None:
            live.update(draw(view, status, rows, console.height), refresh=True)

        async def follow_keys() -> None:
            async for key in keyboard.pressed():
                if not view.press(key):
                    break
                show()
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow_keys)
            while True:
                show()
                await anyio.sleep(interval)
                if not view.paused:
                    # While it is being restarted, what was there last stays on the screen.
                    with suppress(IvrdError):
                        status, rows = await anyio.to_thread.run_sync(look, config_path)
                    view.apps = [app.name for app in status.apps]
