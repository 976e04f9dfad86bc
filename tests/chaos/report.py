"""What a scenario shows: figures beside their bounds, and how far it has come.

The rule here: a scenario measures and reports, and does not stop at the first bound that is broken; who runs it judges,
a test by `check`, the command line by its table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import median, quantiles

__all__ = ["BUSY", "Figure", "Report", "middle", "percentile", "plain"]

# How much longer than the product's own time limits a small version may take in `make test`, on a machine that does
# other things as well; `make chaos` holds to the limits themselves.
BUSY = 4.0


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that was measured."""

    what: str
    value: str
    bound: str
    good: bool


class Report:
    """Collects figures.

    Args:
        on_step: told how much is done, and of how much.
        slack: what bounds in seconds are multiplied by.
    """

    def __init__(
        self, on_step: Callable[[float, float], None] = lambda done, total: None, *, slack: float = 1.0
    ) -> None:
        self.slack = slack
        self.figures: list[Figure] = []
        self._on_step = on_step
        self._done = 0.0
        self._total = 1.0

    def expect(self, total: float) -> None:
        """Say of how many steps the scenario consists."""
        self._total = max(total, 1)
        self._on_step(self._done, self._total)

    def step(self, count: float = 1) -> None:
        """Say that so many of them are done."""
        self._done += count
        self._on_step(self._done, self._total)

    def at_most(self, what: str, value: float, bound: float, unit: str = "") -> None:
        if unit.partition(" ")[0] in ("s", "ms"):
            bound *= self.slack
        self.figures.append(Figure(what, f"{value:.4g} {unit}".strip(), f"≤ {bound:g} {unit}".strip(), value <= bound))

    def at_least(self, what: str, value: float, bound: float, unit: str = "") -> None:
        self.figures.append(Figure(what, f"{value:.4g} {unit}".strip(), f"≥ {bound:g} {unit}".strip(), value >= bound))

    def equal(self, what: str, value: object, expected: object) -> None:
        self.figures.append(Figure(what, plain(value), f"= {plain(expected)}", value == expected))

    def none(self, what: str, found: Sequence[object]) -> None:
        """There should be no such thing; the first ones are named where there are."""
        value = f"{len(found)}: {', '.join(map(str, found[:3]))}" if found else "0"
        self.figures.append(Figure(what, value, "0", not found))

    def tell(self, what: str, value: str) -> None:
        """A figure without a bound."""
        self.figures.append(Figure(what, value, "", True))

    def check(self, *, but: str | tuple[str, ...] = ()) -> None:
        """Raise an AssertionError that names what is out of bounds, figures whose names begin with `but` left out."""
        held = [one for one in self.figures if not one.what.startswith(but)]
        assert held, "the scenario showed nothing"
        bad = [f"{one.what}: {one.value} (bound {one.bound})" for one in held if not one.good]
        assert not bad, "\n".join(bad)


def plain(value: object) -> str:
    """A value as a table shows it: what a collection holds, without the words of the language for it."""
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{each} {plain(value[each])}" for each in sorted(value))
    if isinstance(value, (set, frozenset)):
        return ", ".join(sorted(map(plain, value))) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(plain, value)) or "none"
    return str(value)


def middle(values: Sequence[float]) -> float:
    """The median; not a number for no values, which no bound admits."""
    return median(values) if values else float("nan")


def percentile(values: Sequence[float], which: int) -> float:
    """The value that so many per cent do not exceed; not a number for no values."""
    if len(values) < 2:
        return values[0] if values else float("nan")
    return quantiles(values, n=100, method="inclusive")[which - 1]
