"""What two records differ in, and by how much their times do.

The rule that holds here: events, the way out and the log must be equal; times may differ, within the limits here: the
median of the scenarios' medians, each event, and how many scenarios may lie beyond the first of these by themselves.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from statistics import median

from tests.asterisk.conformance.stage import Event, Record

__all__ = ["EXCEPTIONS", "MAX_MS", "MEDIAN_MS", "Times", "difference", "time_differences"]

MEDIAN_MS = 60.0
MAX_MS = 250.0
EXCEPTIONS = 1 / 20
"""The share of scenarios that may be tried again for their times and, on a machine with nothing else to do, of those
whose own median may be beyond the limit; one may in any case. Whatever runs while a machine is busy is late."""


def _lines(events: Iterable[Event]) -> list[str]:
    return [event.line for event in events]


def difference(real: Record, simulated: Record) -> str | None:
    """What the simulator did otherwise, in words; `None` when nothing, times aside."""
    if _lines(real.events) != _lines(simulated.events):
        return f"the events differ (- real, + simulated)\n{_diff(_lines(real.events), _lines(simulated.events))}"
    if real.continued != simulated.continued:
        ways = {True: "went on in the dialplan", False: "was hung up"}
        return f"the real call {ways[real.continued]}, the simulated one {ways[simulated.continued]}"
    if real.log != simulated.log:
        return f"the logs differ (- real, + simulated)\n{_diff(real.log, simulated.log)}"
    return None


def _diff(real: Sequence[str], simulated: Sequence[str]) -> str:
    lines = [f"    {line:.200}" for line in difflib.unified_diff(real, simulated, n=4, lineterm="")][2:]
    return "\n".join(lines[:60] + ([f"    … {len(lines) - 60} more"] if len(lines) > 60 else []))


def time_differences(real: Record, simulated: Record) -> list[float]:
    """For each event how much later it came in reality, in milliseconds."""
    return [event.ms - model.ms for event, model in zip(real.events, simulated.events, strict=True)]


class Times:
    """The time differences of many scenarios."""

    def __init__(self) -> None:
        self.by_scenario: dict[str, list[float]] = {}

    def add(self, name: str, differences: Sequence[float]) -> None:
        self.by_scenario[name] = [abs(value) for value in differences]

    @property
    def median(self) -> float:
        """The median of the scenarios' medians: one with hundreds of events counts no more than another."""
        values = [median(differences) for differences in self.by_scenario.values() if differences]
        return median(values) if values else 0.0

    @property
    def beyond(self) -> list[str]:
        """The scenarios whose own median is beyond the limit."""
        return [name for name, values in self.by_scenario.items() if values and median(values) > MEDIAN_MS]

    @property
    def worst(self) -> tuple[float, str]:
        """The greatest difference and its scenario."""
        return max(((max(values), name) for name, values in self.by_scenario.items() if values), default=(0.0, ""))
