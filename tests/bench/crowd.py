"""`python -m tests.bench.crowd`: 4,000 calls at once, simulator, daemon and workers on the same cores.

The rule that holds here: every call has a shim of its own that has handed it over and is gone, all of them are up at
the same moment, and each of them answers a key then. It measures, and is held to nothing but that.
"""

from __future__ import annotations

import json
import os
import random
import resource
import sys
import time
from contextlib import suppress

import click
import msgspec
import trio
from rich import box
from rich.console import Console
from rich.table import Table

from ivrd.cli.books import Books, Cost
from ivrd.phone.load import Spread
from ivrd.simulator.process import ProcessCall
from tests.chaos.rig import Pace, Rig, hears_echo, open_rig

_APPS = """
[apps.hold]
handler = "apps:hold"
workers = {workers}
concurrency = {concurrency}
queue_timeout = 60
idle_timeout = 0
max_duration = 0
"""
_FDS = 4  # of a call: what the daemon asks for; the simulator and a worker need less
_SPARE_FDS = 800


class Crowd(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen.

    Attributes:
        calls: how many there were to be.
        up: how many were up at the same moment, for Asterisk and in the books of daemon and workers.
        begun_in: seconds from the first to the last of them.
        idle: CPU of daemon and workers in a second in which nobody does anything, in seconds.
        keys: keys that were pressed while all were up, each in another call.
        answered: those that the app answered.
        answer: from a key to the app's answer, at the caller's end.
        cost: CPU from the first call to the last key; memory while all were up.
        pss: the same memory in bytes, what processes share counted once: daemon, all workers.
        own_cpu: the simulator's CPU, seconds.
        own_rss: its memory, bytes.
        left: calls in the books after all callers had hung up.
    """

    calls: int
    up: int
    begun_in: float
    idle: float
    keys: int
    answered: int
    answer: Spread
    cost: Cost
    pss: tuple[int, int]
    own_cpu: float
    own_rss: int
    left: int

    @property
    def good(self) -> bool:
        """Whether it held."""
        return self.up == self.calls and self.answered == self.keys and self.left == 0


async def crowd(*, calls: int, workers: int, keys: int, rate: float) -> Crowd:
    """Let so many calls be up at once, and press keys in some of them.

    Args:
        calls: how many calls.
        workers: how many workers hold them.
        keys: how many keys are pressed, one after the other.
        rate: keys a second.
    """
    config = _APPS.format(workers=workers, concurrency=-(-calls // workers) + 10)
    async with open_rig(config, max_calls=calls + 100) as rig:
        before = await rig.status()
        books = Books("hold", before)
        begun, own = time.monotonic(), time.process_time()
        live = await rig.live(calls)
        begun_in = time.monotonic() - begun
        await rig.until(lambda: rig.books_are(calls), "all calls in the books", 60)
        up = sum(call.outcome is None for call in live)
        idle = await _idle(books)
        answers = await _press(live, keys, rate)
        books.meet(await rig.status())
        pids = [before.pid], [worker.pid for app in before.apps for worker in app.workers]
        cost, pss = books.close(), (sum(map(_pss, pids[0])), sum(map(_pss, pids[1])))
        own = time.process_time() - own
        for call in live:
            call.hangup()
        left = await _left(rig)
    return Crowd(
        calls=calls,
        up=up,
        begun_in=round(begun_in, 2),
        idle=round(idle, 3),
        keys=keys,
        answered=len(answers),
        answer=Spread.of(answers),
        cost=cost,
        pss=pss,
        own_cpu=round(own, 2),
        own_rss=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        left=left,
    )


def _room_for(calls: int) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < calls * _FDS + _SPARE_FDS:
        raise SystemExit(
            f"{calls} calls need {calls * _FDS + _SPARE_FDS} open files and this user may have {most}: raise the limit "
            f"(ulimit -Hn) or ask for --calls {(most - _SPARE_FDS) // _FDS}"
        )


async def _idle(books: Books) -> float:
    """The CPU of daemon and workers in a second without anything to do."""

    def used() -> float:
        cost = books.close()
        return cost.daemon_cpu + cost.workers_cpu

    before, seconds = used(), 5.0
    await trio.sleep(seconds)
    return (used() - before) / seconds


async def _press(live: list[ProcessCall], keys: int, rate: float) -> list[float]:
    """Press keys at random moments in calls at random; seconds to each answer that came."""
    answers: list[float] = []

    async def one(call: ProcessCall, key: str) -> None:
        begun = trio.current_time()
        if await hears_echo(call, key):
            answers.append(trio.current_time() - begun)

    pace = Pace(rate)
    chosen = random.Random(0).choices(live, k=keys) if keys > len(live) else random.Random(0).sample(live, keys)
    async with trio.open_nursery() as nursery:
        for number, call in enumerate(chosen):
            await pace.next()
            nursery.start_soon(one, call, str(number % 10))
    return answers


async def _left(rig: Rig) -> int:
    with suppress(AssertionError):
        await rig.until(lambda: rig.books_are(0), "the end of all calls", 60)
        return 0
    return sum((await rig.status()).calls.values())


def _pss(pid: int) -> int:
    """A process's memory with its share of what others map too; 0 where the kernel does not tell."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return 0


def _show(seen: Crowd, workers: int, console: Console) -> None:
    table = Table("what", f"{seen.calls} calls, {workers} workers, {os.cpu_count()} cores", box=box.SIMPLE_HEAD)
    cost = seen.cost
    table.add_row("up at once", f"{seen.up}, all of them after {seen.begun_in:.1f} s")
    table.add_row("answers to keys", f"{seen.answered} of {seen.keys}")
    p50, p90, p99, longest = (
        f"{value * 1000:.2f}" for value in (seen.answer.p50, seen.answer.p90, seen.answer.p99, seen.answer.longest)
    )
    table.add_row("key to answer", f"p50 {p50}, p90 {p90}, p99 {p99}, longest {longest} ms")
    for name, rss, pss in (
        ("memory of the daemon", cost.daemon_rss, seen.pss[0]),
        ("memory of the workers", cost.workers_rss, seen.pss[1]),
    ):
        each = f"{pss / seen.calls / 1000:.1f} kB a call"
        table.add_row(name, f"{rss / 1e6:.0f} MB resident, {pss / 1e6:.0f} MB with what is shared counted once: {each}")
    table.add_row("memory of the simulator", f"{seen.own_rss / 1e6:.0f} MB at most")
    table.add_row(
        "CPU", f"daemon {cost.daemon_cpu:.2f} s, workers {cost.workers_cpu:.2f} s, simulator {seen.own_cpu:.2f} s"
    )
    table.add_row("CPU while nobody does anything", f"{seen.idle * 100:.1f} % of a core, daemon and workers")
    table.add_row("left in the books", str(seen.left))
    console.print(table)


@click.command()
@click.option("--calls", default=4000, show_default=True, type=click.IntRange(1), help="Calls that are up at once.")
@click.option("--workers", default=4, show_default=True, type=click.IntRange(1), help="Workers that hold them.")
@click.option("--keys", default=4000, show_default=True, type=click.IntRange(1), help="Keys pressed meanwhile.")
@click.option("--rate", default=200.0, show_default=True, help="Keys a second.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def main(calls: int, workers: int, keys: int, rate: float, as_json: bool) -> None:
    """Measure; the exit status is 1 when a call was not up, a key unanswered or a call left."""
    console = Console()
    _room_for(calls)
    if not as_json:
        console.print(f"{calls} calls are being set up")
    seen = trio.run(lambda: crowd(calls=calls, workers=workers, keys=keys, rate=rate))
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(seen), indent=2))
    else:
        _show(seen, workers, console)
        console.print("held" if seen.good else "not held")
    sys.exit(not seen.good)


if __name__ == "__main__":
    main()
