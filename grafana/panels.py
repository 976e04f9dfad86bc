"""What the dashboard shows: rows of panels, each with its queries, unit, limits, and a sentence for whoever wonders.

The rule that holds here: what a panel asks and says stands here; how Grafana is told stands in `generate`.
"""

from __future__ import annotations

from typing import Final

from grafana.words import Annotation, Panel, Query, Row, Variable

__all__ = ["ANNOTATIONS", "ROWS", "VARIABLES"]

APP: Final = 'instance=~"$instance", app=~"$app"'
HOST: Final = 'instance=~"$instance"'
RATE: Final = "$__rate_interval"


def quantiles(metric: str, by: str = "") -> tuple[Query, ...]:
    """The median, and what one in twenty and one in a hundred exceed, of a histogram by app."""
    labels = f"{by}, le" if by else "le"
    legend = f"{{{{{by}}}}} " if by else ""
    return tuple(
        Query(
            f"histogram_quantile({q}, sum by ({labels}) (rate({metric}_bucket{{{APP}}}[{RATE}])))", f"{legend}p{name}"
        )
        for q, name in ((0.5, "50"), (0.95, "95"), (0.99, "99"))
    )


VARIABLES: Final = (
    Variable("instance", "Instance", "The daemons that Prometheus scrapes.", "label_values(ivrd_build_info, instance)"),
    Variable("app", "App", "The apps of these daemons.", 'label_values(ivrd_workers{instance=~"$instance"}, app)'),
)

ANNOTATIONS: Final = (
    Annotation(
        "Restarts",
        f"changes(process_start_time_seconds{{{HOST}}}[1m]) > 0",
        "ivrd on {{instance}} was started",
        "orange",
    ),
    Annotation(
        "Reloads",
        f"sum by (instance, result) (increase(ivrd_config_reloads_total{{{HOST}}}[1m])) > 0",
        "reload on {{instance}}: {{result}}",
        "blue",
    ),
    Annotation("Alerts", f'ALERTS{{alertstate="firing", alertname=~"Ivrd.*", {HOST}}}', "{{alertname}} {{app}}", "red"),
)

OVERVIEW: Final = Row(
    "Overview",
    (
        Panel(
            "Live calls",
            "Calls that are up now, those that wait included.",
            "short",
            (Query(f"sum(ivrd_calls_active{{{APP}}})", "live"),),
            kind="stat",
            width=4,
        ),
        Panel(
            "Calls per second",
            "Calls that end, a second.",
            "cps",
            (Query(f"sum(rate(ivrd_calls_total{{{APP}}}[{RATE}]))", "calls"),),
            kind="stat",
            width=4,
        ),
        Panel(
            "Ended well",
            "Share of the calls that the app or the caller ended, rather than an error, a death or want of room.",
            "percentunit",
            (
                Query(
                    f'sum(rate(ivrd_calls_total{{{APP}, result=~"completed|hangup"}}[{RATE}]))'
                    f" / (sum(rate(ivrd_calls_total{{{APP}}}[{RATE}])) > 0)",
                    "ended well",
                ),
            ),
            limits=(0.95, 0.99),
            below=True,
            kind="stat",
            width=4,
        ),
        Panel(
            "Response, p95",
            "One key in twenty waits longer for the app's next command: what callers feel.",
            "s",
            quantiles("ivrd_response_seconds")[1:2],
            limits=(0.3, 1.0),
            kind="stat",
            width=4,
        ),
        Panel(
            "Workers ready",
            "Workers that take calls. Without any, callers wait and are then sent on or hung up.",
            "short",
            (Query(f'sum(ivrd_workers{{{APP}, state="ready"}})', "ready"),),
            limits=(1.0, 1.0),
            below=True,
            kind="stat",
            width=4,
        ),
        Panel(
            "Alerts firing",
            "Of the alerts in deploy/prometheus; docs/runbook.md says what to do about each.",
            "short",
            (Query(f'count(ALERTS{{alertstate="firing", alertname=~"Ivrd.*", {HOST}}}) or vector(0)', "firing"),),
            limits=(1.0,),
            kind="stat",
            width=4,
        ),
    ),
)

CALLS: Final = Row(
    "Calls",
    (
        Panel(
            "Calls by result",
            "How calls end, a second. `completed` and `hangup` are as it should be; a band of another colour is not.",
            "cps",
            (Query(f"sum by (result) (rate(ivrd_calls_total{{{APP}}}[{RATE}]))", "{{result}}"),),
            stacked=True,
        ),
        Panel(
            "Share that did not end well, by app",
            "Errors, deaths, time-outs and refusals as a share of all calls of an app.",
            "percentunit",
            (
                Query(
                    f'sum by (app, result) (rate(ivrd_calls_total{{{APP}, result!~"completed|hangup"}}[{RATE}]))'
                    f" / on (app) group_left () (sum by (app) (rate(ivrd_calls_total{{{APP}}}[{RATE}])) > 0)",
                    "{{app}} {{result}}",
                ),
            ),
            limits=(0.01, 0.02),
        ),
        Panel(
            "Live calls by app",
            "Calls that are up, against the calls that the workers can hold at once (dashed).",
            "short",
            (
                Query(f"sum by (app) (ivrd_calls_active{{{APP}}})", "{{app}}"),
                Query(f"sum by (app) (ivrd_slots{{{APP}}})", "{{app}} limit"),
            ),
        ),
        Panel(
            "Duration",
            "From a call's admission to its end. A sudden drop may mean that callers give up.",
            "s",
            quantiles("ivrd_call_duration_seconds"),
            limits=(1800.0, 3600.0),
        ),
        Panel(
            "Hand-over",
            "From the shim's hello to the worker's word that it has the call, the wait in the queue included.",
            "s",
            quantiles("ivrd_handoff_seconds"),
            limits=(0.05, 0.1),
        ),
        Panel(
            "Hand-over, all of it",
            "How many calls took how long to reach their app. A second cloud is a queue or a slow machine.",
            "s",
            (Query(f"sum by (le) (increase(ivrd_handoff_seconds_bucket{{{APP}}}[{RATE}]))", "{{le}}"),),
            limits=(0.1,),
            kind="heatmap",
        ),
        Panel(
            "Response to a key",
            "From a key to the app's next command, which is what a caller feels.",
            "s",
            quantiles("ivrd_response_seconds"),
            limits=(0.3, 1.0),
        ),
        Panel(
            "Response to a key by app, p95",
            "Which app is slow: look at what it calls between key and prompt.",
            "s",
            quantiles("ivrd_response_seconds", "app")[1:2],
            limits=(0.3, 1.0),
        ),
        Panel(
            "Events and commands",
            "What Asterisk says to the apps and they to it, a second.",
            "cps",
            (
                Query(f"sum(rate(ivrd_events_total{{{HOST}}}[{RATE}]))", "events"),
                Query(f"sum(rate(ivrd_commands_total{{{HOST}}}[{RATE}]))", "commands"),
            ),
        ),
    ),
)

POOL: Final = Row(
    "Pool",
    (
        Panel(
            "Workers by state",
            "Workers of all chosen apps, against the most that may take calls (dashed). Many that start: a crash loop.",
            "short",
            (
                Query(f"sum by (state) (ivrd_workers{{{APP}}})", "{{state}}"),
                Query(f"sum(ivrd_workers_max{{{APP}}})", "limit"),
            ),
        ),
        Panel(
            "Workers ready by app",
            "Against the fewest that an app is to have (dashed).",
            "short",
            (
                Query(f'sum by (app) (ivrd_workers{{{APP}, state="ready"}})', "{{app}}"),
                Query(f"sum by (app) (ivrd_workers_min{{{APP}}})", "{{app}} limit"),
            ),
            limits=(1.0, 1.0),
            below=True,
        ),
        Panel(
            "Places taken",
            "Share of the places for calls that are taken. At 100 % callers queue.",
            "percentunit",
            (
                Query(
                    f"sum by (app) (ivrd_slots_taken{{{APP}}}) / (sum by (app) (ivrd_slots{{{APP}}}) > 0)",
                    "{{app}}",
                ),
            ),
            limits=(0.8, 1.0),
        ),
        Panel(
            "Queue",
            "Callers who wait in silence for a place.",
            "short",
            (Query(f"sum by (app) (ivrd_queue_depth{{{APP}}})", "{{app}}"),),
            limits=(1.0, 20.0),
        ),
        Panel(
            "Wait in the queue, p95",
            "One caller in twenty waits longer for a place.",
            "s",
            quantiles("ivrd_queue_wait_seconds", "app")[1:2],
            limits=(0.1, 0.5),
        ),
        Panel(
            "Worker exits by reason",
            "`retired` is planned. `killed`, `exited`, `stuck` and `unknown` take their calls with them.",
            "short",
            (Query(f"sum by (reason) (increase(ivrd_worker_exits_total{{{HOST}}}[{RATE}]))", "{{reason}}"),),
            limits=(1.0, 3.0),
            stacked=True,
        ),
        Panel(
            "Back-off",
            "Time until the next worker of an app is started, where its workers die early; 0 is well.",
            "s",
            (Query(f"max by (app) (ivrd_worker_backoff_seconds{{{APP}}})", "{{app}}"),),
            limits=(0.1, 10.0),
        ),
        Panel(
            "Memory of the workers",
            "Resident memory of all workers of an app. A line that only rises is a leak: see `max_memory`.",
            "bytes",
            (Query(f"sum by (app) (ivrd_workers_resident_memory_bytes{{{APP}}})", "{{app}}"),),
            width=16,
        ),
    ),
)

RUNTIME: Final = Row(
    "Runtime",
    (
        Panel(
            "Event loop lag",
            "Worst lateness of an event loop within half a minute: a handler that blocks, or no CPU.",
            "s",
            (Query(f"max by (process) (ivrd_event_loop_lag_seconds{{{HOST}}})", "{{process}}"),),
            limits=(0.05, 0.25),
        ),
        Panel(
            "Descriptors of the daemon",
            "Share of the limit on open files. Each call needs three; at the limit calls wait at the door.",
            "percentunit",
            (Query(f"process_open_fds{{{HOST}}} / process_max_fds{{{HOST}}}", "{{instance}}"),),
            limits=(0.7, 0.85),
        ),
        Panel(
            "Memory of the daemon",
            "Resident memory of the daemon itself.",
            "bytes",
            (Query(f"process_resident_memory_bytes{{{HOST}}}", "{{instance}}"),),
            limits=(500e6, 1e9),
        ),
        Panel(
            "CPU of the daemon",
            "Of one core; it has one thread, so 100 % is the end.",
            "percentunit",
            (Query(f"rate(process_cpu_seconds_total{{{HOST}}}[{RATE}])", "{{instance}}"),),
            limits=(0.6, 0.85),
        ),
        Panel(
            "Reloads",
            "Reloads of the configuration, by outcome.",
            "short",
            (Query(f"sum by (result) (increase(ivrd_config_reloads_total{{{HOST}}}[{RATE}]))", "{{result}}"),),
            stacked=True,
            width=6,
        ),
        Panel(
            "Last reload",
            "1 when it succeeded; at 0 the old configuration and the old code are in force.",
            "short",
            (Query(f"min(ivrd_config_last_reload_successful{{{HOST}}})", "succeeded"),),
            limits=(1.0, 1.0),
            below=True,
            kind="stat",
            width=3,
        ),
        Panel(
            "Up since",
            "Age of the youngest of these daemons. Restarts are marked in all graphs; calls survive them.",
            "s",
            (Query(f"time() - max(process_start_time_seconds{{{HOST}}})", "age"),),
            limits=(60.0, 300.0),
            below=True,
            kind="stat",
            width=4,
        ),
        Panel(
            "Release",
            "How many daemons run which release; more than one only in the middle of an upgrade.",
            "short",
            (Query(f"count by (version) (ivrd_build_info{{{HOST}}})", "{{version}}"),),
            kind="stat",
            width=3,
        ),
    ),
)

SECURITY: Final = Row(
    "Security",
    (
        Panel(
            "Hand-overs refused",
            "`denied`: a user who is not in allow_users. `malformed`: not a shim of this version. `unknown_app`: a "
            "mistake in the dialplan.",
            "cps",
            (Query(f"sum by (reason) (rate(ivrd_handoffs_rejected_total{{{HOST}}}[{RATE}]))", "{{reason}}"),),
            limits=(0.01, 1.0),
            stacked=True,
        ),
        Panel(
            "Commands refused",
            "`invalid_value`: an app tried what cannot be said to Asterisk safely, perhaps on behalf of somebody's "
            "attack. Nothing reached Asterisk.",
            "cps",
            (Query(f"sum by (reason) (rate(ivrd_commands_refused_total{{{HOST}}}[{RATE}]))", "{{reason}}"),),
            limits=(0.05, 1.0),
            stacked=True,
        ),
        Panel(
            "Malformed events",
            "Lines that Asterisk never sends: somebody else is at the other end of the pipe, or a value had a newline.",
            "cps",
            (Query(f'sum by (instance) (rate(ivrd_events_total{{{HOST}, tag="malformed"}}[{RATE}]))', "{{instance}}"),),
            limits=(0.01, 1.0),
        ),
    ),
)

ROWS: Final = (OVERVIEW, CALLS, POOL, RUNTIME, SECURITY)
