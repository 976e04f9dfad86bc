"""A run of scenarios on both sides, and its verdict.

The rule that holds here: events that differ are a failure at once, but for tight scenarios and for random ones, where
nobody looked after what falls close together: those must differ twice. A scenario with an event that is more than
`MAX_MS` off gets one more try as well, both sides anew and in quiet, since the machine may have been busy elsewhere;
when more than a few need that, it is a failure in itself. What was tried again is told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ivrd.simulator.sounds import DirectorySounds
from tests.asterisk.conformance.compare import EXCEPTIONS, MAX_MS, MEDIAN_MS, Times, difference, time_differences
from tests.asterisk.conformance.real import Real
from tests.asterisk.conformance.scenario import Scenario, scenario_text
from tests.asterisk.conformance.sequences import shorter
from tests.asterisk.conformance.simulated import run_simulated
from tests.asterisk.conformance.stage import Record, Stage

__all__ = ["Trial", "keep_aside", "shortest", "try_scenarios"]

_IN_QUIET = 4


@dataclass
class Trial:
    version: str
    failures: list[tuple[Scenario, str]] = field(default_factory=list)
    times: Times = field(default_factory=Times)
    retried: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    """Those of them that were tried again for their times."""

    def add(self, other: Trial) -> None:
        """Take in what came of further scenarios on the same Asterisk."""
        self.failures += other.failures
        self.times.by_scenario |= other.times.by_scenario
        self.retried += other.retried
        self.late += other.late

    def complaints(self) -> list[str]:
        """What is wrong with it, a line or more for each thing."""
        return [f"{scenario.name}: {why}" for scenario, why in self.failures] + self.untimely()

    def untimely(self, *, quiet: bool = False) -> list[str]:
        """What is wrong with its times taken together.

        Args:
            quiet: nothing else ran on the machine, so that each scenario by itself can be held to the median's limit.
        """
        told = []
        times = self.times
        few = max(1, math.floor(EXCEPTIONS * len(times.by_scenario)))
        if times.median > MEDIAN_MS:
            told.append(
                f"times differ by {times.median:.0f} ms in the median of all scenarios, {MEDIAN_MS:g} are allowed"
            )
        if quiet and len(times.beyond) > few:
            told.append(f"by more than {MEDIAN_MS:g} ms in their own median: {', '.join(times.beyond)}; {few} may")
        if len(self.late) > few:
            told.append(f"tried again, since an event was {MAX_MS:g} ms off: {', '.join(self.late)}; {few} may be")
        return told


def try_scenarios(
    stage: Stage,
    real: Real,
    named: Mapping[str, Scenario],
    simulated: Mapping[str, Record] | None = None,
    done: Callable[[], None] = lambda: None,
    *,
    twice: bool = False,
) -> Trial:
    """Run scenarios (`Stage.put`) on both sides and compare.

    Args:
        stage: the run's stage.
        real: a running Asterisk.
        named: the scenarios.
        simulated: the simulator's records, if it has run them already.
        done: called as each scenario is over on Asterisk.
        twice: count as failures only those that differ a second time, as if all were tight.
    """
    trial = Trial(real.version)
    simulated = simulated or run_simulated(stage, named)
    off = _compare(named, real.run(named, done=done), simulated, trial)
    again = off + [scenario for scenario, _ in trial.failures if twice or scenario.tight]
    if again:
        trial.retried = [scenario.name for scenario in again]
        trial.late = [scenario.name for scenario in off]
        trial.failures = [failure for failure in trial.failures if failure[0] not in again]
        named = stage.put(again)
        for scenario in _compare(named, real.run(named, at_once=_IN_QUIET), run_simulated(stage, named), trial):
            worst = max(trial.times.by_scenario[scenario.name])
            trial.failures.append((scenario, f"an event came {worst:.0f} ms earlier or later, twice"))
    return trial


def _compare(
    named: Mapping[str, Scenario], real: Mapping[str, Record], simulated: Mapping[str, Record], trial: Trial
) -> list[Scenario]:
    """Add to the trial what came of it; returns those whose times are off."""
    off = []
    for name, scenario in named.items():
        if why := difference(real[name], simulated[name]):
            trial.failures.append((scenario, why))
            continue
        differences = time_differences(real[name], simulated[name])
        trial.times.add(scenario.name, differences)
        if max(map(abs, differences), default=0.0) > MAX_MS:
            off.append(scenario)
    return off


def keep_aside(trial: Trial, directory: Path, root: Path) -> str:
    """Write the scenarios that failed to a file.

    Args:
        trial: what they failed in.
        directory: where to put the file.
        root: what its path is told from.

    Returns:
        Where it is, and how to make cases of what is in it.
    """
    path = directory / f"failed-{trial.version}.txt"
    path.write_text("\n".join(scenario_text(scenario) for scenario, _ in trial.failures), encoding="utf-8")
    shown = path.relative_to(root) if path.is_relative_to(root) else path
    return (
        f"the scenarios that failed are in {shown}; this makes them short and cases for good:\n"
        f"    .venv/bin/python -m tests.asterisk.conformance --keep {shown}"
    )


def shortest(stage: Stage, real: Real, scenario: Scenario) -> Scenario:
    """A failing scenario without most of the steps that do not matter: halves are left out, then quarters, to one."""
    sounds = DirectorySounds(stage.sounds)
    size = len(scenario.steps) // 2
    while size:
        failures = try_scenarios(stage, real, stage.put(shorter(scenario, size, sounds))).failures
        if failures:
            scenario = min((failed for failed, _ in failures), key=lambda failed: len(failed.steps))
        else:
            size //= 2
    return scenario
