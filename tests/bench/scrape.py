"""`python -m tests.bench.scrape`: what a scrape costs with 2,000 live calls and 16 workers, and what it costs callers.

The rule that holds here: hand-overs with and without a scraper are measured in turns, window by window, and compared by
medians. It measures and judges nothing that CI depends on.
"""

from __future__ import annotations

import statistics
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import click
import trio
from rich import box
from rich.console import Console
from rich.table import Table

from tests.bench.__main__ import one_call
from tests.chaos.rig import Rig, in_thread, open_rig
from tests.deploy.prometheus import free_port

SCRAPE_GOAL = 0.050  # seconds, median
HANDOFF_GOAL = 1.10  # the median hand-over under scrapes against that without
_APPS = """
[apps.hold]
handler = "apps:hold"
workers = {workers}
idle_timeout = 0
max_duration = 0
queue_timeout = 30
[apps.now]
handler = "apps:now"
"""


def scrape(url: str) -> tuple[float, int]:
    """Scrape once: seconds, and bytes."""
    begun = time.perf_counter()
    with urllib.request.urlopen(url, timeout=30) as answer:
        body = answer.read()
    return time.perf_counter() - begun, len(body)


@asynccontextmanager
async def scraped(url: str, interval: float) -> AsyncIterator[None]:
    """Somebody who scrapes all the time."""

    async def go_on() -> None:
        while True:
            await in_thread(scrape, url)
            await trio.sleep(interval)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(go_on)
        yield
        nursery.cancel_scope.cancel()


async def handoffs(rig: Rig, count: int) -> list[float]:
    """So many calls one after the other: seconds from the spawn of the shim to the app's first command."""
    argv = (str(rig.service.shim), f"--socket={rig.service.socket}", "now")
    return [(await in_thread(one_call, argv))[0] for _ in range(count)]


async def measure(calls: int, workers: int, windows: int, interval: float, console: Console) -> None:
    """Measure and print, and whether the goals were met."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/metrics"
    config = _APPS.format(workers=workers)
    # Descriptors: 3 a call in the daemon and in the exchange.
    async with open_rig(config, env=None, metrics=f"127.0.0.1:{port}", max_calls=calls + 100) as rig:
        live = await rig.live(calls)
        console.print(f"{calls} calls are live in {workers} workers")
        times, sizes = zip(*[await in_thread(scrape, url) for _ in range(100)], strict=True)
        figures: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(windows):
            figures[False] += await handoffs(rig, 25)
            async with scraped(url, interval):
                figures[True] += await handoffs(rig, 25)
        for call in live:
            call.hangup()
        await rig.until(lambda: rig.books_are(0), "the end of all calls")
    ratio = statistics.median(figures[True]) / statistics.median(figures[False])
    table = Table("what", "median ms", "p99 ms", "goal", "", box=box.SIMPLE_HEAD)
    p99 = statistics.quantiles(times, n=100)[98]
    good = statistics.median(times) <= SCRAPE_GOAL
    table.add_row(
        f"scrape of {sizes[-1] / 1000:.0f} kB", f"{statistics.median(times) * 1000:.1f}", f"{p99 * 1000:.1f}",
        f"at most {SCRAPE_GOAL * 1000:.0f}", "met" if good else "missed",
    )  # fmt: skip
    for under, name in ((False, "hand-over, nobody scrapes"), (True, f"hand-over, a scrape every {interval:g} s")):
        p99 = statistics.quantiles(figures[under], n=100)[98]
        table.add_row(name, f"{statistics.median(figures[under]) * 1000:.2f}", f"{p99 * 1000:.2f}")
    console.print(table)
    verdict = "met" if ratio <= HANDOFF_GOAL else "missed"
    console.print(f"the median hand-over under scrapes: {ratio:.2f} times (at most {HANDOFF_GOAL:g}: {verdict})")


@click.command()
@click.option("--calls", default=2000, show_default=True, help="Live calls.")
@click.option("--workers", default=16, show_default=True, help="Workers that hold them.")
@click.option("--windows", default=20, show_default=True, help="Pairs of windows of 25 calls each.")
@click.option("--interval", default=1.0, show_default=True, help="Seconds between two scrapes.")
def main(calls: int, workers: int, windows: int, interval: float) -> None:
    """Measure."""
    trio.run(measure, calls, workers, windows, interval, Console())


if __name__ == "__main__":
    main()
