"""`make bench`: from the spawn of the child to its first command, and its CPU, for ivrd and for what it replaces.

The rule that holds here: the contenders take turns and are compared by medians, so that a machine whose speed drifts is
unfair to all of them alike. A turn is a window of calls, since whoever answers calls answers all of them; with
`--window 1` each call finds the caches as some other contender has left them, python3's tens of megabytes at worst. It
measures and judges nothing that CI depends on.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from tests.bench.children import Contender, build

# What issue and README promise: ivrd's median against another contender's.
GOALS = {
    "C child, system's compiler": ("at most", 2.5, "slower"),
    "python3, bare": ("at least", 8.0, "quicker"),
    "python3, six imports": ("at least", 35.0, "quicker"),
}
BAR = 12  # characters
CPU_GOAL = 1.4  # the shim's CPU against the C child's of the same compiler, at most


def one_call(argv: tuple[str, ...]) -> tuple[float, float]:
    """Play Asterisk's side of one call.

    Returns:
        Seconds from the spawn to the first command, and seconds of CPU that the child used.
    """
    stdin, to_child = os.pipe2(os.O_CLOEXEC)
    from_child, stdout = os.pipe2(os.O_CLOEXEC)
    errors, stderr = os.pipe2(os.O_CLOEXEC)
    actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate((stdin, stdout, stderr))]
    start = time.perf_counter()
    pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=actions)
    for fd in (stdin, stdout, stderr):
        os.close(fd)
    first = os.read(from_child, 4096)
    took = time.perf_counter() - start
    if not first:
        raise SystemExit(f"{argv[0]} sent nothing: {os.read(errors, 4096).decode(errors='replace')}")
    os.write(to_child, b"E,1800000000\n")
    os.close(to_child)
    while os.read(from_child, 4096):
        pass
    os.close(from_child)
    os.close(errors)
    _, _, usage = os.wait4(pid, 0)
    return took, usage.ru_utime + usage.ru_stime


@contextmanager
def daemon(directory: Path) -> Iterator[tuple[Path, str]]:
    """Serve an app that returns at once."""
    beside = Path(sys.executable).parent
    shim = beside / "ivrd-shim"
    (directory / "now.py").write_text("async def main(call):\n    pass\n")
    config = directory / "ivrd.toml"
    names = ("socket", "worker_socket", "control_socket")
    sockets = "".join(f'{name} = "{directory}/{name}"\n' for name in names)
    config.write_text(
        f'[server]\n{sockets}metrics = ""\nlog_format = "json"\nlog_level = "info"\nallow_users = []\n'
        f'[apps.now]\nhandler = "now:main"\npath = "{directory}"\n'
    )
    log = directory / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen([beside / "ivrd", "serve", "--config", config], stderr=stderr)
        try:
            while b'"ready"' not in log.read_bytes():
                if process.poll() is not None:
                    raise SystemExit(log.read_text())
                time.sleep(0.05)
            yield shim, f"{directory}/socket"
        finally:
            process.terminate()
            process.wait()


def measure(contenders: list[Contender], calls: int, window: int) -> dict[str, list[tuple[float, float]]]:
    """Let the contenders take turns, so many calls each time."""
    figures: dict[str, list[tuple[float, float]]] = {contender.name: [] for contender in contenders}
    with Progress(transient=True) as progress:
        task = progress.add_task("calls", total=calls * len(contenders))
        for contender in contenders:
            one_call(contender.argv)  # not counted: the page cache is filled
        draw = random.Random(0)
        for begun in range(0, calls, window):
            # Each comes behind each other one equally often: none has all of the cold caches behind the heaviest.
            for contender in draw.sample(contenders, len(contenders)):
                for _ in range(min(window, calls - begun)):
                    figures[contender.name].append(one_call(contender.argv))
                    progress.advance(task)
    return figures


def judge(ratio: float, bound: str, factor: float) -> str:
    """Say whether a goal was met."""
    met = ratio <= factor if bound == "at most" else ratio >= factor
    return f"({bound} {factor:g}: {'met' if met else 'missed'})"


def report(figures: dict[str, list[tuple[float, float]]], console: Console) -> dict[str, dict[str, float]]:
    """Print the table; return what is in it."""
    rows = {}
    for name, pairs in figures.items():
        times, cpu = zip(*pairs, strict=True)
        rows[name] = {
            "p50_ms": statistics.median(times) * 1000,
            "p99_ms": statistics.quantiles(times, n=100)[98] * 1000 if len(times) > 1 else times[0] * 1000,
            "cpu_ms": statistics.median(cpu) * 1000,
        }
    ours, *others = rows
    table = Table("way to answer", "p50 ms", "p99 ms", "child's CPU ms", "", box=box.SIMPLE_HEAD)
    longest = max(row["p50_ms"] for row in rows.values())
    for name, row in rows.items():
        bar = "█" * max(1, round(BAR * row["p50_ms"] / longest))
        table.add_row(name, f"{row['p50_ms']:.2f}", f"{row['p99_ms']:.2f}", f"{row['cpu_ms']:.2f}", bar)
    console.print(table)
    for name in filter(GOALS.__contains__, others):
        bound, factor, comparison = GOALS[name]
        ratio = rows[name]["p50_ms"] / rows[ours]["p50_ms"]
        ratio = 1 / ratio if bound == "at most" else ratio
        rows[name]["ratio"] = ratio
        console.print(f"ivrd is {ratio:.1f} times {comparison} than {name}", judge(ratio, bound, factor))
    twin = next((name for name in others if "musl" in name), others[0])
    ratio = rows[ours]["cpu_ms"] / rows[twin]["cpu_ms"]
    rows[ours]["cpu_ratio"] = ratio
    console.print(f"the shim's CPU is {ratio:.1f} times that of {twin}", judge(ratio, "at most", CPU_GOAL))
    return rows


@click.command()
@click.option("--calls", default=1000, show_default=True, help="Calls of each contender.")
@click.option("--window", default=25, show_default=True, type=click.IntRange(1), help="Calls of one turn.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures for scripts as well.")
def main(calls: int, window: int, as_json: bool) -> None:
    """Measure."""
    if shutil.which("musl-gcc") is None:
        click.echo("musl-gcc is not here (Debian: apt install musl-tools): that contender is left out", err=True)
    with tempfile.TemporaryDirectory(prefix="ivrd-bench-") as name:
        directory = Path(name)
        with daemon(directory) as (shim, socket):
            figures = measure(build(directory, shim, socket), calls, window)
    rows = report(figures, Console())
    if as_json:
        click.echo(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
