"""`python -m tests.chaos`: every scenario at full size, with a progress bar, and a table at the end.

The rule here: one scenario at a time, shortest first, and one that breaks down is a failed line in the table.
"""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import click
import trio
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from . import checkpoints, daemons, deaths, ends, load, pools, strangers
from .report import Figure, Report

SCENARIOS: tuple[Callable[..., Awaitable[None]], ...] = (
    deaths.stacks,
    strangers.strangers,
    daemons.workers_without_daemon,
    pools.elastic,
    pools.recycling,
    ends.queued,
    ends.deadlines,
    ends.drain,
    ends.hurry,
    checkpoints.cancel_everywhere,
    daemons.daemon_stopped,
    daemons.upgrades,
    load.overload,
    load.neighbours,
    load.crash_loop,
    deaths.second_lives,
    load.reloads,
    daemons.daemon_kills,
    load.calls_in_a_row,
    deaths.worker_deaths,
)


def _name(scenario: Callable[..., Awaitable[None]]) -> str:
    return scenario.__name__.replace("_", "-")


def _size(scenario: Callable[..., Awaitable[None]], scale: float) -> dict[str, Any]:
    """A scenario's parameters: their defaults are the full size."""
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(scenario).parameters.items()
        if parameter.default is not inspect.Parameter.empty and name != "heartbeat"  # no size
    }
    return {
        name: max(1, round(value * scale)) if isinstance(value, int) else value * scale
        for name, value in defaults.items()
    }


def _run(scenario: Callable[..., Awaitable[None]], size: dict[str, Any], console: Console) -> list[Figure]:
    with Progress(
        TextColumn("{task.description:24}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeElapsedColumn(),
        console=console, transient=True,
    ) as bar:  # fmt: skip
        task = bar.add_task(_name(scenario))
        report = Report(lambda done, total: bar.update(task, completed=done, total=total))

        async def run() -> None:
            await scenario(report, **size)

        try:
            trio.run(run)
        except Exception as error:
            console.print("".join(traceback.format_exception(error)), markup=False, highlight=False)
            report.figures.append(Figure("it broke down", repr(error)[:80], "", False))
    return report.figures


@click.command()
@click.option(
    "--only", multiple=True, metavar="NAME", help="Run this scenario, and others named so; --list names them."
)
@click.option("--scale", default=1.0, metavar="F", help="Multiply every size and duration.")
@click.option("--list", "only_list", is_flag=True, help="Name the scenarios and what they are about.")
def main(only: tuple[str, ...], scale: float, only_list: bool) -> None:
    """Deaths, restarts, reloads and overload under live calls. Exit status 1 if a bound is broken."""
    console = Console()
    by_name = {_name(scenario): scenario for scenario in SCENARIOS}
    if unknown := set(only) - by_name.keys():
        raise click.UsageError(f"there is no scenario {', '.join(sorted(unknown))}; there are {', '.join(by_name)}")
    if only_list:
        for name, scenario in by_name.items():
            console.print(f"{name:24}{inspect.getdoc(scenario)}", highlight=False, soft_wrap=True)
        return
    table = Table(
        Column("ivrd under fire", ratio=6), Column("value", ratio=4), Column("bound", ratio=4), Column(width=6),
        box=box.SIMPLE_HEAD, width=min(console.width, 110),
    )  # fmt: skip
    good = True
    for name in only or by_name:
        size = _size(by_name[name], scale)
        figures = _run(by_name[name], size, console)
        sizes = ", ".join(f"{key} {value:g}" for key, value in size.items())
        table.add_row(f"[bold]{name}[/] [dim]{sizes}[/]")
        for one in figures:
            verdict = "[green]ok[/]" if one.good else "[red]FAILED[/]"
            what = Padding(one.what, (0, 0, 0, 2))
            table.add_row(what, escape(one.value), escape(one.bound), verdict, end_section=one is figures[-1])
            good &= one.good
        bad = sum(not one.good for one in figures)
        console.print(f"{name:24}" + (f"[red]{bad} of {len(figures)} bounds broken[/]" if bad else "[green]ok[/]"))
    console.print(table)
    sys.exit(not good)


if __name__ == "__main__":
    main()
