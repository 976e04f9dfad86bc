"""`ivrd bench`: load a running daemon with simulated callers and say how it bore them.

The rule that holds here: what the callers felt is measured at their end, what it cost is read from the kernel's books
of the daemon's and its workers' processes, and what became of the calls is asked of both.
"""

from __future__ import annotations

import itertools
import math
import resource
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import click
import msgspec
import trio
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from ivrd.cli.books import Books, Cost
from ivrd.cli.client import ask
from ivrd.cli.dialling import find_shim
from ivrd.cli.options import config_option, plain_errors
from ivrd.cli.words import cell
from ivrd.config import load
from ivrd.errors import IvrdError
from ivrd.phone.load import Figures, Load, Spread
from ivrd.simulator import script
from ivrd.simulator.process import open_exchange
from ivrd.simulator.sounds import DirectorySounds, Sounds, SoundTable
from ivrd.wire import control as wire

__all__ = ["bench"]

_SAMPLE_S = 0.1
_STATUS_EVERY = 5  # samples
_PICTURES_S = 0.5
_SETTLE_S = 5.0  # seconds that the daemon is given to enter the last calls in its books


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` prints.

    Attributes:
        app: the app.
        rate: calls a second.
        figures: what the callers met with.
        results: how many calls ended in each way for ivrd meanwhile, those that others made to any app among them.
        cost: what it cost.
        broken_off: somebody stopped it.
    """

    app: str
    rate: float
    figures: Figures
    results: dict[str, int]
    cost: Cost
    broken_off: bool


class _Number(click.FloatRange):
    """A number of seconds, or of things in a second: `nan` is none, and lies within any range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value!r} is no number", param, ctx)
        return number


@click.command()
@config_option
@click.argument("app")
@click.argument("args", nargs=-1)
@click.option(
    "--calls", "-n", default=100, show_default=True, type=click.IntRange(1, 1_000_000), help="How many callers."
)
@click.option("--rate", "-r", default=10.0, show_default=True, type=_Number(0.01, 10_000), help="Calls a second.")
@click.option("--keys", default="", metavar="SCRIPT", help="What each caller does, as for `ivrd dial`.")
@click.option("--patience", default=script.PATIENCE_S, show_default=True, metavar="SECONDS", type=_Number(0, 86_400),
              help="How long a call may last behind its script's end.")  # fmt: skip
@click.option(
    "--sounds", metavar="DIR", type=click.Path(exists=True, file_okay=False),
    help="Asterisk's sounds, for prompts' lengths; else any prompt plays a second."
)  # fmt: skip
@click.option(
    "--stock/--patched", default=True, show_default=True,
    help="Asterisk as it is, or one that works off what is written at once."
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def bench(config_path: str, app: str, args: tuple[str, ...], **given: Any) -> None:
    """Call an app of a running daemon many times, through the real shim.

    Exits with 1 when a call went unanswered or did not end in time, or a caller waited for a prompt in vain. Ctrl-C
    hangs up and tells what there was so far.
    """
    with plain_errors():
        steps = script.read(given["keys"])
        sounds: Sounds = DirectorySounds(given["sounds"]) if given["sounds"] else SoundTable()
        argv = [find_shim(), f"--socket={load(config_path).server.socket}", app, *args]
        before = _status(config_path)
        if app not in (known := [each.name for each in before.apps if each.open]):
            raise IvrdError(f"the daemon has no app {app!r}: it has {', '.join(known)}")
        report = trio.run(_run, config_path, app, argv, steps, sounds, before, given)
    if given["as_json"]:
        click.echo(msgspec.json.format(msgspec.json.encode(report)).decode())
    else:
        _print(report)
    figures = report.figures
    if report.broken_off:
        click.echo(f"ivrd: broken off after {figures.offered} of {given['calls']} calls", err=True)
        raise SystemExit(130)
    late = figures.outcomes.get("unfinished", 0)
    raise SystemExit(int(figures.answered < figures.offered or figures.off_script > 0 or late > 0))


def _status(config_path: str) -> wire.StatusAnswer:
    answer = ask(config_path, wire.Status())
    assert isinstance(answer, wire.StatusAnswer)
    return answer


async def _run(
    config_path: str,
    app: str,
    argv: Sequence[str],
    steps: Sequence[script.Step],
    sounds: Sounds,
    before: wire.StatusAnswer,
    given: dict[str, Any],
) -> Report:
    # Three pipes and a process a call.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    books = Books(app, before)
    stopped = False
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        opened = open_exchange(sounds=sounds, burst_stall=given["stock"])
        async with opened as exchange, trio.open_nursery() as nursery:
            callers = Load(exchange, argv, steps, patience=given["patience"])

            async def obey() -> None:
                nonlocal stopped
                await anext(signals)
                stopped = True
                nursery.cancel_scope.cancel()

            nursery.start_soon(obey)
            nursery.start_soon(_keep, books, config_path)
            nursery.start_soon(_show, callers, given["calls"])
            await callers.run(given["calls"], given["rate"])
            nursery.cancel_scope.cancel()
    cost = books.close()
    figures = callers.figures()
    results: Counter[str] = Counter()
    with trio.move_on_after(_SETTLE_S):
        while results.total() < figures.offered:
            after = await trio.to_thread.run_sync(_status, config_path)
            results = Counter(after.results) - Counter(before.results)
            await trio.sleep(0.1)
    return Report(app=app, rate=given["rate"], figures=figures, results=dict(results), cost=cost, broken_off=stopped)


async def _keep(books: Books, config_path: str) -> None:
    """Keep the books until cancelled."""
    for turn in itertools.count():
        await trio.sleep(_SAMPLE_S)
        if turn % _STATUS_EVERY:
            books.sample()
            continue
        with suppress(IvrdError):  # one that is overloaded may answer late; the next answer will do
            books.meet(await trio.to_thread.run_sync(_status, config_path, abandon_on_cancel=True))


async def _show(callers: Load, calls: int) -> None:
    """Show how far it is until cancelled, where there is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("calls", total=calls)
        while True:
            bar.update(task, completed=callers.ended, description=f"{callers.up} up")
            await trio.sleep(_PICTURES_S)


def _print(report: Report) -> None:
    figures, cost = report.figures, report.cost
    table = Table(title=cell(f"{report.app}, {report.rate:g} calls a second"), show_header=False)
    table.add_row(
        "calls", f"{figures.offered} offered, {figures.answered} answered, {figures.most_at_once} at once at most"
    )
    table.add_row("for Asterisk", _counts(figures.outcomes))
    others = sum(report.results.values()) - figures.offered
    table.add_row("for ivrd", _counts(report.results) + (f"; {others} of them made by others" if others > 0 else ""))
    if figures.refused:
        table.add_row("refused", _counts(figures.refused))
    table.add_row("took", f"{figures.seconds:.1f} s")
    table.add_row("hand-over", _spread(figures.handover))
    table.add_row("response", _spread(figures.response))
    per_call = 1000 * (cost.daemon_cpu + cost.workers_cpu) / max(1, figures.offered)
    recycled = f" and {cost.recycled} that came meanwhile" if cost.recycled else ""
    table.add_row(
        "CPU",
        f"daemon {cost.daemon_cpu:.2f} s, {cost.workers} workers{recycled} {cost.workers_cpu:.2f} s: "
        f"{per_call:.2f} ms a call",
    )
    table.add_row("memory", f"daemon {cost.daemon_rss / 1e6:.0f} MB, workers {cost.workers_rss / 1e6:.0f} MB at most")
    Console().print(table)
    for complaint, count in figures.complaints.items():
        click.echo(f"ivrd: {count} times: {complaint}", err=True)


def _counts(counts: dict[str, int]) -> Text:
    return cell(", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing")


def _spread(spread: Spread) -> str:
    if not spread.count:
        return "never measured"
    p50, p90, p99, longest = (f"{1000 * value:.1f}" for value in (spread.p50, spread.p90, spread.p99, spread.longest))
    return f"p50 {p50}, p90 {p90}, p99 {p99}, longest {longest} ms ({spread.count})"
