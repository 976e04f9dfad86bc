"""The metrics: the daemon states facts in the words of calls and workers, Prometheus reads figures.

The rule that holds here: the set of series is bounded by the configuration, whatever callers, shims and workers say. An
app is a label only once `set_apps` has named it; any other word is one of the lists in `series`. And counters never go
back: the series of an app that a reload removed stay until the daemon ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from ivrd import __version__
from ivrd.wire.messages import Result, Tally

from . import series
from .gauges import AppFigures, OwnProcess, Snapshot, SnapshotCollector
from .series import NO_APP, AppSeries, Families, Process, Words, Worst, observe

__all__ = ["AppFigures", "Metrics", "Process", "Snapshot"]

_OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0"
_END: Final = b"# EOF\n"


class Metrics:
    """All metrics of one daemon, in a registry of their own.

    Args:
        snapshot: describes the daemon now; called once a scrape, for the gauges.
        clock: seconds, for the window of the loop lag.
    """

    def __init__(self, snapshot: Callable[[], Snapshot], clock: Callable[[], float] = time.monotonic) -> None:
        registry = self._registry = CollectorRegistry()
        self._families = Families(registry)
        self._apps: dict[str, AppSeries] = {}

        def words(name: str, help_text: str, label: str, known: Iterable[str]) -> Words:
            return Words(Counter(name, help_text, [label], registry=registry), known)

        self._events = words("ivrd_events_total", "Events read from Asterisk.", "tag", series.EVENT_TAGS)
        self._commands = words("ivrd_commands_total", "Commands written to Asterisk.", "tag", series.COMMAND_TAGS)
        self._refused = words(
            "ivrd_commands_refused_total",
            "Commands of apps that were refused before anything was written.",
            "reason",
            series.REFUSAL_REASONS,
        )
        self._exits = words("ivrd_worker_exits_total", "Workers that have ended.", "reason", series.EXIT_REASONS)
        self._rejected = words(
            "ivrd_handoffs_rejected_total", "Hand-overs that did not become a call.", "reason", series.REJECT_REASONS
        )
        self._reloads = words(
            "ivrd_config_reloads_total", "Reloads of the configuration.", "result", ("completed", "failed")
        )
        self._reloaded = Gauge(
            "ivrd_config_last_reload_successful",
            "Whether the last reload succeeded; 1 before the first one.",
            registry=registry,
        )
        self._reloaded.set(1)
        lag = Gauge(
            "ivrd_event_loop_lag_seconds",
            "Worst lateness of an event loop within the last half to whole minute.",
            ["process"],
            registry=registry,
        )
        self._lag = {process: Worst(clock) for process in series.PROCESSES}
        for process, worst in self._lag.items():
            lag.labels(process).set_function(worst.get)
        info = Gauge("ivrd_build_info", "The release of ivrd that runs, always 1.", ["version"], registry=registry)
        info.labels(__version__).set(1)
        registry.register(SnapshotCollector(snapshot))
        OwnProcess(registry=registry)

    # Facts.

    def set_apps(self, names: Iterable[str]) -> None:
        """Name the configured apps: each has its series from now on, at zero; those named before keep theirs."""
        for name in names:
            if name not in self._apps:
                self._apps[name] = AppSeries(name, self._families)

    def call_started(self, app: str, transport: str, handoff_s: float, queue_wait_s: float) -> None:
        """A worker has confirmed a call.

        Args:
            app: the app's name.
            transport: how it came, one of `series.TRANSPORTS`.
            handoff_s: seconds from its admission to now.
            queue_wait_s: of these, seconds until a worker was free.
        """
        own = self._app(app)
        observe(own.handoff(transport), handoff_s)
        observe(own.queue_wait, queue_wait_s)

    def call_ended(self, app: str, transport: str, result: Result, duration_s: float) -> None:
        """A call is over.

        Args:
            app: the app's name.
            transport: how it came, one of `series.TRANSPORTS`.
            result: how it ended.
            duration_s: seconds from its admission to now.
        """
        own = self._app(app)
        own.ended(transport, result).inc()
        if result != "rejected":
            observe(own.duration, duration_s)

    def handoff_rejected(self, reason: str) -> None:
        """A hand-over did not become a call, for one of `series.REJECT_REASONS`."""
        self._rejected.add(reason)

    def worker_exited(self, reason: str) -> None:
        """A worker's process has ended, for one of `series.EXIT_REASONS`."""
        self._exits.add(reason)

    def absorb(self, app: str, tally: Tally) -> None:
        """Add what a worker has counted since it last told: with each `Report`, and at the end of each call."""
        self._events.add_all(tally.events)
        self._events.add("malformed", tally.malformed)
        self._commands.add_all(tally.commands)
        self._refused.add_all(tally.refused)
        response = self._app(app).response
        for seconds in tally.responses:
            observe(response, seconds)

    def loop_lag(self, process: Process, seconds: float) -> None:
        """An event loop was late by so much; for `worker`, any of them."""
        self._lag[process].add(seconds)

    def worst_lag(self, process: Process) -> float:
        """Give the worst that `loop_lag` was told of late, as a scrape would see it."""
        return self._lag[process].get()

    def reload(self, ok: bool) -> None:
        """A reload has succeeded, or has changed nothing."""
        self._reloaded.set(ok)
        self._reloads.add("completed" if ok else "failed")

    def _app(self, name: str) -> AppSeries:
        own = self._apps.get(name)
        if own is None:
            self.set_apps([NO_APP])
            own = self._apps[NO_APP]
        return own

    # Figures.

    def collect(self) -> Iterator[Metric]:
        """Give the families one by one, each with its figures of that moment."""
        for metric in self._registry.collect():
            # When each series began is a third more lines that no query here asks for; the library's own switch for
            # them is one for the whole process.
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric

    def render(self) -> bytes:
        """Give all figures in Prometheus' text format."""
        return b"".join(self.pieces()[0])

    def pieces(self, accept: str = "") -> tuple[Iterator[bytes], str]:
        """Give all figures, a family at a time: all at once would hold the daemon's loop up for longer than a call may.

        Args:
            accept: a scraper's `Accept` header; where it does not ask for OpenMetrics, the text format is meant.

        Returns:
            The pieces of the body, made as they are asked for, and the `Content-Type`.
        """
        # The library's own reading of the header fails on versions that are no numbers, and would say them back.
        encode, content_type = choose_encoder(_OPENMETRICS if "application/openmetrics-text" in accept else "")
        return self._pieces(encode), content_type

    def _pieces(self, encode: Callable[[Collector], bytes]) -> Iterator[bytes]:
        end = b""
        for metric in self.collect():
            piece = encode(_Family(metric))
            if piece.endswith(_END):  # OpenMetrics closes each document, and these are parts of one
                end = _END
            yield piece.removesuffix(_END)
        yield end


class _Family(Collector):
    """One family, as an encoder of prometheus_client wants it."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterable[Metric]:
        return (self._metric,)
