"""Bounded sets of series: the lists of words that may be labels, and the children of each, looked up once and kept.

The rule that holds here: a word that is not on its list becomes `OTHER`, so that what shims and workers say can raise a
count but never the number of series. The children are kept because each call counts on its way from shim to worker.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal, TypeAlias, get_args

from prometheus_client import CollectorRegistry, Counter, Histogram

from ivrd import eivr
from ivrd.wire.hello import Status
from ivrd.wire.messages import Result

__all__ = [
    "COMMAND_TAGS",
    "EVENT_TAGS",
    "EXIT_REASONS",
    "LAG_WINDOW",
    "NO_APP",
    "OTHER",
    "PROCESSES",
    "REFUSAL_REASONS",
    "REJECT_REASONS",
    "RESULTS",
    "TRANSPORTS",
    "AppSeries",
    "Families",
    "Process",
    "Words",
    "Worst",
    "observe",
]

Process: TypeAlias = Literal["daemon", "worker"]

OTHER: Final = "other"
"""Stands for any tag, reason, result or transport that is not on its list."""
NO_APP: Final = "-"
"""Stands for any app that was never configured; it cannot be an app's name."""

RESULTS: Final[tuple[str, ...]] = get_args(Result)
TRANSPORTS: Final = ("pipe", "tcp")
PROCESSES: Final[tuple[Process, ...]] = get_args(Process)
EVENT_TAGS: Final = (*eivr.TAGS, "malformed")
"""Asterisk's events by letter, `key` for all keys, and `malformed` for lines that Asterisk never sends."""
COMMAND_TAGS: Final = tuple("ADEGHILOPSTV")
REFUSAL_REASONS: Final = ("invalid_value", "call_ended")
REJECT_REASONS: Final = (*(status.value.lower() for status in Status), "malformed")
EXIT_REASONS: Final = ("retired", "failed", "exited", "killed", "stuck", "unknown")

LAG_WINDOW: Final = 30.0  # seconds; two of them are longer than any usual scrape interval

# What a hand-over takes: a quarter of a millisecond is a good machine at rest, 2 s the shim's patience.
_HANDOFF: Final = (0.00025, 0.0005, 0.001, 0.0015, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
# What callers feel; past a second or two they press the key again.
_RESPONSE: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_DURATION: Final = (1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0)
_QUEUE_WAIT: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)


class Words:
    """The children of a counter whose one label is a word of a list, all there from the start."""

    def __init__(self, counter: Counter, words: Iterable[str]) -> None:
        self._children = {word: counter.labels(word) for word in words}
        self._other = counter.labels(OTHER)

    def add(self, word: str, count: int = 1) -> None:
        """Count; a worker's negative number is nothing that a counter could hold."""
        if count > 0:
            self._children.get(word, self._other).inc(count)

    def add_all(self, counts: Mapping[str, int]) -> None:
        """Count what a tally holds."""
        for word, count in counts.items():
            self.add(word, count)


class Worst:
    """The worst of the last `LAG_WINDOW` to two of it, so that each of several scrapers sees every spike."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since = clock()
        self._now = self._before = 0.0

    def add(self, seconds: float) -> None:
        """Take note of a value."""
        self._turn()
        self._now = max(self._now, seconds)

    def get(self) -> float:
        """Give the worst."""
        self._turn()
        return max(self._now, self._before)

    def _turn(self) -> None:
        passed = self._clock() - self._since
        if passed >= LAG_WINDOW:
            self._before = self._now if passed < 2 * LAG_WINDOW else 0.0
            self._now = 0.0
            self._since += passed


class AppSeries:
    """The children that belong to one app."""

    def __init__(self, name: str, families: Families) -> None:
        self._name = name
        self._families = families
        self._ended: dict[tuple[str, str], Counter] = {}
        self._handoff: dict[str, Histogram] = {}
        self.duration = families.duration.labels(name)
        self.queue_wait = families.queue_wait.labels(name)
        self.response = families.response.labels(name)
        # A rate needs a zero to start from; `tcp` has none before the first call that comes by it.
        for result in RESULTS:
            self.ended("pipe", result)
        self.handoff("pipe")

    def ended(self, transport: str, result: str) -> Counter:
        """Give the counter of calls that came and ended so."""
        child = self._ended.get((transport, result))
        if child is None:
            transport, result = _one_of(TRANSPORTS, transport), _one_of(RESULTS, result)
            child = self._ended[transport, result] = self._families.calls.labels(self._name, transport, result)
        return child

    def handoff(self, transport: str) -> Histogram:
        """Give the hand-over times of calls that came so."""
        child = self._handoff.get(transport)
        if child is None:
            transport = _one_of(TRANSPORTS, transport)
            child = self._handoff[transport] = self._families.handoff.labels(self._name, transport)
        return child


def _one_of(words: tuple[str, ...], word: str) -> str:
    return word if word in words else OTHER


class Families:
    """The labelled families of which each app has its children."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.calls = Counter(
            "ivrd_calls_total", "Calls that have ended.", ["app", "transport", "result"], registry=registry
        )
        self.duration = Histogram(
            "ivrd_call_duration_seconds",
            "From a call's admission to its end; calls that were rejected are left out.",
            ["app"],
            buckets=_DURATION,
            registry=registry,
        )
        self.handoff = Histogram(
            "ivrd_handoff_seconds",
            "From a call's admission to the start of its app, the wait in the queue included.",
            ["app", "transport"],
            buckets=_HANDOFF,
            registry=registry,
        )
        self.queue_wait = Histogram(
            "ivrd_queue_wait_seconds",
            "From a call's admission to a free worker.",
            ["app"],
            buckets=_QUEUE_WAIT,
            registry=registry,
        )
        self.response = Histogram(
            "ivrd_response_seconds",
            "From a key to the next command, which is what a caller feels.",
            ["app"],
            buckets=_RESPONSE,
            registry=registry,
        )


def observe(histogram: Histogram, seconds: float) -> None:
    """Put a time in; a worker's NaN would spoil the sum for good."""
    if 0 <= seconds < math.inf:
        histogram.observe(seconds)
