"""The picture that `ivrd top` shows: apps, workers and calls, as many of each as there is room for.

The rule that holds here: a picture has as many lines as the terminal, whatever the daemon says, and what is left out is
counted; the calls are the last to be left out. So each row is one line, and each table takes what `_share` gives it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from rich.cells import cell_len
from rich.console import ConsoleDimensions, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ivrd.cli.view import View
from ivrd.cli.words import CALLS, WORKERS, app_state, call_row, cell, printable, seconds, worker_row
from ivrd.wire import control as wire

__all__ = ["draw", "fill", "one_line", "table"]

HELP = "q quit  ↑↓ move  enter open  s sort  r reverse  / find  a app  w workers  p pause"
HEAD = "bold white on grey30"
BAR = 20  # characters
GAP = 2  # between columns
MOST = 24  # that a column is reckoned with; longer texts are cut off first
LEAST = 3  # lines with which a table says something: its head, a row, and how many more there are

T = TypeVar("T")


def draw(view: View, status: wire.StatusAnswer, size: ConsoleDimensions, problem: str = "") -> RenderableType:
    """Make the picture of one moment.

    Args:
        view: what the operator has chosen.
        status: how it is going.
        size: the terminal's.
        problem: why what is shown is old; "" when it is not.
    """
    apps = [app for app in status.apps if view.app in ("", app.name)]
    workers = [(app, worker) for app in apps for worker in app.workers] if view.workers else []
    # The calls' table has a line even where there is no call.
    wants = [1 + max(1, len(view.chosen)), 1 + len(apps) if apps else 0, 1 + len(workers) if workers else 0]
    for_calls, for_apps, for_workers = _share(size.height - 2, wants)
    parts: list[RenderableType] = [_head(view, status, problem)]
    if for_apps:
        parts.append(_apps(apps, for_apps, size.width))
    if for_workers:
        parts.append(_workers(workers, for_workers, size.width))
    if for_calls:
        parts.append(_calls(view, for_calls, size.width))
    return fill(parts, 1 + for_calls + for_apps + for_workers, _foot(view), size)


def one_line(*parts: str | tuple[str, str]) -> Text:
    """Put words, with a style or without, into a line that is cut off where the terminal ends."""
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")


def fill(parts: list[RenderableType], lines: int, foot: Text, size: ConsoleDimensions) -> RenderableType:
    """Put a line at the foot of the terminal, below parts that take so many lines."""
    gap = size.height - 1 - lines
    return Group(*parts, *([Text("\n" * (gap - 1))] if gap > 0 else []), foot)


def table(columns: Sequence[str], rows: Sequence[Sequence[Text]], width: int, spared: Sequence[str] = ()) -> Table:
    """Make a table of which each row is one line, and the head another.

    Args:
        columns: their names.
        rows: a cell for each column.
        width: how wide the terminal is.
        spared: columns that are left out where they do not fit, in this order.
    """
    needed = {
        name: min(MOST, max([cell_len(name), *(row[number].cell_len for row in rows)])) + GAP
        for number, name in enumerate(columns)
    }
    for name in spared:
        if sum(needed.values()) - GAP > width:
            del needed[name]
    made = Table(box=None, expand=True, padding=(0, GAP, 0, 0), pad_edge=False, header_style=HEAD)
    *_, last = needed
    for name in needed:
        made.add_column(name, no_wrap=True, overflow="ellipsis", ratio=1 if name == last else None)
    for row in rows:
        made.add_row(*(part for name, part in zip(columns, row, strict=True) if name in needed))
    return made


def _share(room: int, wants: Sequence[int]) -> list[int]:
    """Share lines among tables: what each wants, or as much as any other that gets less than it wants.

    Where that is too little to say something, the last table is left out.

    Args:
        room: how many lines there are.
        wants: how many each table wants, the most important one first.
    """
    shares = [0] * len(wants)
    left = room
    for done, number in enumerate(sorted(range(len(wants)), key=lambda number: wants[number])):
        shares[number] = max(0, min(wants[number], left // (len(wants) - done)))
        left -= shares[number]
    if len(wants) > 1 and any(share < min(want, LEAST) for share, want in zip(shares, wants, strict=True)):
        return [*_share(room, wants[:-1]), 0]
    return shares


def _shown(rows: Sequence[T], lines: int, first: int = 0) -> tuple[Sequence[T], str]:
    """Give the rows that fit below a table's head, and the line that counts the rest."""
    if len(rows) < lines:
        return rows, ""
    room = max(0, lines - 2)
    return rows[first : first + room], f"… and {len(rows) - room} more" if lines > 1 else ""


def _head(view: View, status: wire.StatusAnswer, problem: str) -> Text:
    busy = sum(app.busy for app in status.apps)
    capacity = sum(app.capacity for app in status.apps)
    waiting = sum(app.waiting for app in status.apps)
    number = sum(status.calls.values())
    filters = ", ".join([*(["app " + view.app] if view.app else []), *([f"with {view.find!r}"] if view.find else [])])
    return one_line(
        ("ivrd", "bold"),
        (" DRAINING" if status.draining else "", "bold red"),
        (" paused" if view.paused else "", "yellow"),
        (f" {printable(problem)}" if problem else "", "bold red"),
        (f"  {number} call{'s' * (number != 1)}", "bold"),
        (f", {len(view.chosen)} shown: {printable(filters)}" if filters else "", "yellow"),
        f", {busy} of {capacity} places taken, {waiting} waiting",
        (f"   {printable(status.release)}  pid {status.pid}  up {seconds(status.uptime)}", "dim"),
    )


def _foot(view: View) -> Text:
    if view.typing:
        return one_line("find: ", (printable(view.find), "bold"), ("_", "blink"), ("   enter keep  esc all", "dim"))
    return one_line((HELP, "dim"))


def _apps(apps: Sequence[wire.AppStatus], lines: int, width: int) -> RenderableType:
    shown, more = _shown(apps, lines)
    rows = [
        [cell(app.name), cell(f"{app.busy}/{app.capacity}"), _bar(app), cell(app.waiting), app_state(app)]
        for app in shown
    ]
    return _with(table(("app", "calls", "", "waiting", "state"), rows, width, ("", "waiting")), more)


def _bar(app: wire.AppStatus) -> Text:
    # After a reload that made a pool smaller, calls may be above its capacity.
    share = min(1.0, app.busy / app.capacity) if app.capacity else float(app.busy > 0)
    style = "red" if share > 0.9 else "yellow" if share > 0.7 else "green"
    full = round(BAR * share)
    return Text.assemble(("█" * full, style), ("·" * (BAR - full), "dim"))


def _workers(workers: Sequence[tuple[wire.AppStatus, wire.WorkerRow]], lines: int, width: int) -> RenderableType:
    shown, more = _shown(workers, lines)
    rows = [worker_row(app, worker) for app, worker in shown]
    return _with(table(WORKERS, rows, width, ("stuck", "lag", "served", "memory", "age")), more)


def _calls(view: View, lines: int, width: int) -> RenderableType:
    upwards = view.reverse == (view.sort == "age")  # the oldest first is downwards
    marks = {view.sort: " ▲" if upwards else " ▼"}
    room = max(1, lines - 2)
    # The cursor is in the middle, where there is as much above as below.
    first = max(0, min(view.line - room // 2, len(view.chosen) - room))
    shown, more = _shown(view.chosen, lines, first)
    columns = [name + marks.get(name, "") for name in CALLS]
    spared = [name + marks.get(name, "") for name in ("attempt", "worker", "state")]
    made = table(columns, [call_row(row) for row in shown], width, spared)
    for row, line in zip(shown, made.rows, strict=True):
        line.style = "reverse" if row is view.call else ""
    if not view.chosen:
        return _with(made, "no such call" if view.find or view.app else "no live calls")
    return _with(made, f"{more}, {first} of them above" if more and first else more)


def _with(made: Table, more: str) -> RenderableType:
    return Group(made, one_line((more, "dim"))) if more else made
