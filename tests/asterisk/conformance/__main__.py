"""`make conformance`: all scenarios on Asterisk 22 and 16, then many random ones on 22; a table; what failed is kept.

The rule that holds here: a random scenario that fails twice is made short and written to `scenarios/found.txt`, where
`make test` finds it from then on. One that failed in `make test` gets there by `--keep FILE`, which that test names.
It is for a machine on which nothing else runs: times are held to more than there. The exit status is 1 when anything
failed.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ivrd.simulator.sounds import DirectorySounds
from tests.asterisk.conformance.compare import MAX_MS, MEDIAN_MS
from tests.asterisk.conformance.real import Real
from tests.asterisk.conformance.scenario import SCENARIOS, Scenario, load, parse, scenario_text
from tests.asterisk.conformance.sequences import draw
from tests.asterisk.conformance.simulated import run_simulated
from tests.asterisk.conformance.stage import Stage, open_stage
from tests.asterisk.conformance.trial import Trial, shortest, try_scenarios
from tests.asterisk.rig import Asterisk, RigUnavailable

_BATCH = 50
_FOUND = SCENARIOS / "found.txt"


@contextmanager
def _progress(console: Console) -> Iterator[Progress]:
    columns = (TextColumn("{task.description:28}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        yield progress


def _start(running: ExitStack, stage: Stage, version: str) -> Real:
    real = Real(stage, version)
    real.use(running.enter_context(Asterisk(version, bind=real.bind)))
    return real


def _try_written(stage: Stage, reals: Iterable[Real], progress: Progress) -> list[tuple[str, int, Trial]]:
    named = stage.put(load())
    simulated = run_simulated(stage, named)
    trials = []
    for real in reals:
        task = progress.add_task(f"scenarios on Asterisk {real.version}", total=len(named))
        trial = try_scenarios(stage, real, named, simulated, partial(progress.advance, task))
        trials.append(("written", len(named), trial))
    return trials


def _try_random(stage: Stage, real: Real, count: int, number: int, progress: Progress) -> Trial:
    drawing = progress.add_task("drawing random scenarios", total=None)
    scenarios = draw(count, number, DirectorySounds(stage.sounds))
    progress.remove_task(drawing)
    task = progress.add_task(f"random on Asterisk {real.version}", total=count)
    whole = Trial(real.version)
    for start in range(0, count, _BATCH):
        named = stage.put(scenarios[start : start + _BATCH])
        whole.add(try_scenarios(stage, real, named, done=partial(progress.advance, task), twice=True))
    return whole


def _keep(stage: Stage, real: Real, failing: Iterable[Scenario], console: Console) -> None:
    """Make failing random scenarios short and add them to the file."""
    for scenario in failing:
        found = shortest(stage, real, scenario)
        with _FOUND.open("a", encoding="utf-8") as file:
            file.write("\n" + scenario_text(replace(found, name=f"{scenario.name}, shortened")))
        console.print(f"{scenario.name}: kept in {_FOUND.name}, {len(found.steps)} steps")


def _keep_from(path: Path, console: Console) -> int:
    """Keep what of a file still fails; the exit status is that of a command that did what it was to do."""
    with ExitStack() as running:
        stage = running.enter_context(open_stage())
        real = _start(running, stage, "22")
        scenarios = parse(path.read_text(encoding="utf-8"))
        failing = [scenario for scenario, _ in try_scenarios(stage, real, stage.put(scenarios), twice=True).failures]
        _keep(stage, real, failing, console)
        for scenario in scenarios:
            if scenario not in failing:
                console.print(f"{scenario.name}: does not fail any more, and is not kept", markup=False)
    return 0


def _show(trials: list[tuple[str, int, Trial]], console: Console) -> None:
    table = Table("", "run", "differ", "tried again", "median ms", "max ms", "in", box=box.SIMPLE_HEAD)
    for kind, count, trial in trials:
        worst, name = trial.times.worst
        figures = (count, len(trial.failures), len(trial.retried), f"{trial.times.median:.1f}", f"{worst:.0f}")
        table.add_row(f"{kind}, {trial.version}", *map(str, figures), name)
    console.print(table)


def main() -> int:
    """Run it all; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.asterisk.conformance", description=__doc__.splitlines()[0])
    parser.add_argument("--random", type=int, default=300, metavar="COUNT", help="random scenarios (300)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="to draw the same ones again")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="only add this file's failing scenarios to the cases")
    arguments = parser.parse_args()
    console = Console()
    if arguments.keep:
        return _keep_from(arguments.keep, console)
    console.print(f"the random scenarios are those of --seed {arguments.seed}")
    try:
        with ExitStack() as running:
            stage = running.enter_context(open_stage())
            reals = [_start(running, stage, version) for version in ("22", "16")]
            with _progress(console) as progress:
                trials = _try_written(stage, reals, progress)
                at_random = _try_random(stage, reals[0], arguments.random, arguments.seed, progress)
            trials.append(("random", arguments.random, at_random))
            for _, _, trial in trials:
                for scenario, why in trial.failures:
                    console.print(f"\n{scenario_text(scenario)}on Asterisk {trial.version}: {why}", markup=False)
            _keep(stage, reals[0], [scenario for scenario, _ in at_random.failures], console)
    except RigUnavailable as error:
        print(f"no real Asterisk to compare with: {error}", file=sys.stderr)
        return 1
    _show(trials, console)
    untimely = [(trial, complaint) for _, _, trial in trials for complaint in trial.untimely(quiet=True)]
    for trial, complaint in untimely:
        console.print(f"on Asterisk {trial.version}: {complaint}", markup=False)
    failed = bool(untimely) or any(trial.failures for _, _, trial in trials)
    console.print(f"limits: no difference, {MEDIAN_MS:g} ms in the median, {MAX_MS:g} ms at most: ", end="")
    console.print("broken" if failed else "kept")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
