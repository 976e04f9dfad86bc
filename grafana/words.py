"""The words in which `panels` says what the dashboard shows.

The rule that holds here: plain values, no Grafana; every panel has a unit, a description and limits (none where more is
not worse, and said so by an empty tuple).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Annotation", "Panel", "Query", "Row", "Variable"]


@dataclass(frozen=True)
class Query:
    """An expression, and how its series are called in the legend."""

    expr: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes:
        title: a few words.
        description: what it means for callers, and what to think when it moves.
        unit: Grafana's name of the unit.
        queries: what it asks.
        limits: from which values on it is yellow and red; one value alone is red; () where more is not worse.
        kind: how it is drawn.
        stacked: whether the series are drawn on top of each other.
        below: the limits are lower ones: it is red below the first value, yellow below the second.
        width: of 24.
    """

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    limits: tuple[float, ...] = ()
    kind: Literal["graph", "stat", "heatmap"] = "graph"
    stacked: bool = False
    below: bool = False
    width: int = 8


@dataclass(frozen=True)
class Row:
    """A row of panels under a heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Variable:
    """A choice at the top of the dashboard."""

    name: str
    label: str
    description: str
    query: str


@dataclass(frozen=True)
class Annotation:
    """Marks across all graphs."""

    name: str
    expr: str
    title: str
    colour: str
