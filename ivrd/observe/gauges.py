"""What is true at this moment (live calls, queues, workers, back-off), as gauges that are read when somebody scrapes.

The rule that holds here: nothing is kept. The daemon describes itself in a `Snapshot` when it is asked, so that a gauge
can never drift away from the books it is about.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final, get_args

import msgspec
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from ivrd.rules.life import State
from ivrd.rules.staffing import WorkerState

__all__ = ["CALL_STATES", "WORKER_STATES", "AppFigures", "OwnProcess", "Snapshot", "SnapshotCollector"]

CALL_STATES: Final = tuple(state.value for state in State if state is not State.ENDED)
"""Values of the label `state` of calls; an ended call is in nobody's books."""
WORKER_STATES: Final[tuple[str, ...]] = get_args(WorkerState)
"""Values of the label `state` of workers."""


class AppFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One app at this moment.

    Attributes:
        calls: live calls by `CALL_STATES`; a state that is missing has none.
        queue: calls that wait for a worker.
        workers: workers by `WORKER_STATES`; a state that is missing has none.
        backoff: seconds until its next worker may be started, 0 where nothing is held against it.
        rss: resident memory of all its workers, in bytes.
        least: the fewest workers that are kept.
        most: the most workers that take calls at once.
        slots: places for calls of the workers that take calls now.
        slots_taken: how many of these are taken.
    """

    calls: Mapping[str, int] = {}
    queue: int = 0
    workers: Mapping[str, int] = {}
    backoff: float = 0.0
    rss: int = 0
    least: int = 0
    most: int = 0
    slots: int = 0
    slots_taken: int = 0


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The daemon at this moment.

    Attributes:
        apps: the configured apps by name, and removed ones that still have calls or workers.
    """

    apps: Mapping[str, AppFigures] = {}


class OwnProcess(ProcessCollector):
    """What the kernel says of this process, also where a service sees nothing of `/proc` but processes."""

    def _boot_time(self) -> float:
        # The library reads `/proc/stat`, which `ProcSubset=pid` hides, and would then tell nothing at all.
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


class SnapshotCollector(Collector):
    """Turns a snapshot into gauges, for a registry.

    Args:
        snapshot: describes the daemon now; called once a scrape.
    """

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot

    def describe(self) -> Iterator[Metric]:
        """Name the families; the registry asks when it takes the collector in, before there is a daemon to describe."""
        yield from _families(Snapshot())

    def collect(self) -> Iterator[Metric]:
        """Give the families with their figures."""
        yield from _families(self._snapshot())


def _families(snapshot: Snapshot) -> Iterator[Metric]:
    apps = snapshot.apps.items()

    calls = GaugeMetricFamily("ivrd_calls_active", "Live calls.", labels=["app", "state"])
    for app, figures in apps:
        for state in CALL_STATES:
            calls.add_metric([app, state], figures.calls.get(state, 0))
    yield calls

    workers = GaugeMetricFamily("ivrd_workers", "Worker processes.", labels=["app", "state"])
    for app, figures in apps:
        for state in WORKER_STATES:
            workers.add_metric([app, state], figures.workers.get(state, 0))
    yield workers

    queue = GaugeMetricFamily("ivrd_queue_depth", "Calls that wait for a worker.", labels=["app"])
    backoff = GaugeMetricFamily(
        "ivrd_worker_backoff_seconds",
        "Time until the next worker may be started, 0 where workers start as they should.",
        labels=["app"],
    )
    memory = GaugeMetricFamily(
        "ivrd_workers_resident_memory_bytes", "Resident memory of all workers of an app.", labels=["app"]
    )
    least = GaugeMetricFamily("ivrd_workers_min", "The fewest workers that are kept.", labels=["app"])
    most = GaugeMetricFamily("ivrd_workers_max", "The most workers that take calls at once.", labels=["app"])
    slots = GaugeMetricFamily(
        "ivrd_slots", "Calls that the workers which take calls now can hold at once.", labels=["app"]
    )
    taken = GaugeMetricFamily("ivrd_slots_taken", "Places of these that are taken.", labels=["app"])
    for app, figures in apps:
        queue.add_metric([app], figures.queue)
        backoff.add_metric([app], figures.backoff)
        memory.add_metric([app], figures.rss)
        least.add_metric([app], figures.least)
        most.add_metric([app], figures.most)
        slots.add_metric([app], figures.slots)
        taken.add_metric([app], figures.slots_taken)
    yield from (queue, backoff, memory, least, most, slots, taken)
