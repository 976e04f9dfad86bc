"""`ivrd bench`: load a running daemon with simulated callers and say how it bore them.

The rule that holds here: what the callers felt is measured at their end, what it cost is read from the kernel's books
of the daemon's and its workers' processes, and what became of the calls is asked of both.
"""

from __future__ import annotations

import os
import resource
from collections import Counter
from collections.abc import Sequence
from typing import Any

import click
import msgspec
import trio
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from ivrd.cli.client import ask
from ivrd.cli.dialling import find_shim
from ivrd.cli.options import config_option, plain_errors
from ivrd.cli.words import cell
from ivrd.config import load
from ivrd.phone.load import Figures, Load, Spread
from ivrd.simulator import script
from ivrd.simulator.process import open_exchange
from ivrd.simulator.sounds import DirectorySounds, Sounds, SoundTable
from ivrd.wire import control as wire

__all__ = ["bench"]

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_SAMPLE_S = 0.5
_SETTLE_S = 5.0  # seconds that the daemon is given to enter the last calls in its books


class Cost(msgspec.Struct, kw_only=True):
    """What a load cost the daemon and its workers.

    Attributes:
        daemon_cpu: seconds of CPU.
        workers_cpu: seconds of CPU, of all workers that were there before and after.
        daemon_rss: the most resident memory that was seen, bytes.
        workers_rss: the same, summed over all workers.
        workers: how many there were.
    """

    daemon_cpu: float = 0.0
    workers_cpu: float = 0.0
    daemon_rss: int = 0
    workers_rss: int = 0
    workers: int = 0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` prints."""

    app: str
    rate: float
    figures: Figures
    results: dict[str, int]
    cost: Cost


@click.command()
@config_option
@click.argument("app")
@click.argument("args", nargs=-1)
@click.option(
    "--calls", "-n", default=100, show_default=True, type=click.IntRange(1, 1_000_000), help="How many callers."
)
@click.option(
    "--rate", "-r", default=10.0, show_default=True, type=click.FloatRange(0.01, 10_000), help="Calls a second."
)
@click.option("--keys", default="", metavar="SCRIPT", help="What each caller does, as for `ivrd dial`.")
@click.option("--patience", default=script.PATIENCE_S, show_default=True, metavar="SECONDS",
              help="How long a call may last behind its script's end.")  # fmt: skip
@click.option(
    "--sounds", metavar="DIR", help="Asterisk's sounds, for prompts' lengths; else any prompt plays a second."
)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def bench(config_path: str, app: str, args: tuple[str, ...], **given: Any) -> None:
    """Call an app of a running daemon many times, through the real shim.

    Exits with 1 when a call went unanswered or a caller waited for a prompt in vain.
    """
    with plain_errors():
        steps = script.read(given["keys"])
        sounds: Sounds = DirectorySounds(given["sounds"]) if given["sounds"] else SoundTable()
        argv = [find_shim(), f"--socket={load(config_path).server.socket}", app, *args]
        before = _status(config_path)
        report = trio.run(_run, config_path, app, argv, steps, sounds, before, given)
    if given["as_json"]:
        click.echo(msgspec.json.format(msgspec.json.encode(report)).decode())
    else:
        _print(report)
    figures = report.figures
    raise SystemExit(int(figures.answered < figures.offered or figures.off_script > 0))


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
    books = _Books(before)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    async with open_exchange(sounds=sounds) as exchange:
        callers = Load(exchange, argv, steps, patience=given["patience"])
        with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task("calls", total=given["calls"])

            async def watch() -> None:
                while True:
                    bar.update(task, completed=callers.ended, description=f"{callers.up} up")
                    books.sample()
                    await trio.sleep(_SAMPLE_S)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch)
                figures = await callers.run(given["calls"], given["rate"])
                nursery.cancel_scope.cancel()
    cost = books.close()
    results: Counter[str] = Counter()
    with trio.move_on_after(_SETTLE_S):
        while results.total() < figures.offered:
            after = await trio.to_thread.run_sync(_status, config_path)
            results = Counter(after.results) - Counter(before.results)
            await trio.sleep(0.1)
    return Report(app=app, rate=given["rate"], figures=figures, results=dict(results), cost=cost)


class _Books:
    """The kernel's books of the daemon's processes."""

    def __init__(self, status: wire.StatusAnswer) -> None:
        self._daemon = status.pid
        self._workers = [worker.pid for app in status.apps for worker in app.workers]
        self._before = {pid: _cpu(pid) for pid in (self._daemon, *self._workers)}
        self._cost = Cost(workers=len(self._workers))

    def sample(self) -> None:
        """Look at the memory."""
        cost = self._cost
        cost.daemon_rss = max(cost.daemon_rss, _rss(self._daemon))
        cost.workers_rss = max(cost.workers_rss, sum(map(_rss, self._workers)))

    def close(self) -> Cost:
        """Sum up."""
        self.sample()
        spent = {pid: max(0.0, _cpu(pid) - before) for pid, before in self._before.items()}
        self._cost.daemon_cpu = round(spent[self._daemon], 2)
        self._cost.workers_cpu = round(sum(spent[pid] for pid in self._workers), 2)
        return self._cost


def _cpu(pid: int) -> float:
    """Seconds of CPU that a process has used; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _rss(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * _PAGE
    except OSError:
        return 0


def _print(report: Report) -> None:
    figures, cost = report.figures, report.cost
    table = Table(title=cell(f"{report.app}, {report.rate:g} calls a second"), show_header=False)
    table.add_row(
        "calls", f"{figures.offered} offered, {figures.answered} answered, {figures.most_at_once} at once at most"
    )
    table.add_row("for Asterisk", _counts(figures.outcomes))
    table.add_row("for ivrd", _counts(report.results))
    if figures.refused:
        table.add_row("refused", _counts(figures.refused))
    table.add_row("took", f"{figures.seconds:.1f} s")
    table.add_row("hand-over", _spread(figures.handover))
    table.add_row("response", _spread(figures.response))
    per_call = 1000 * (cost.daemon_cpu + cost.workers_cpu) / max(1, figures.offered)
    table.add_row(
        "CPU",
        f"daemon {cost.daemon_cpu:.2f} s, {cost.workers} workers {cost.workers_cpu:.2f} s: {per_call:.2f} ms a call",
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
