"""Figures to the count, and a number of series that nobody from outside can raise."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.process_collector import ProcessCollector

from ivrd import __version__, eivr
from ivrd.observe.gauges import CALL_STATES, WORKER_STATES, OwnProcess
from ivrd.observe.metrics import AppFigures, Metrics, Snapshot
from ivrd.observe.series import COMMAND_TAGS, LAG_WINDOW, NO_APP, RESULTS
from ivrd.wire.messages import Result, Tally

ALLOWED_LABELS = {"app", "result", "reason", "state", "transport", "tag", "process"}
DESIGNED = {
    "ivrd_calls_total",
    "ivrd_calls_active",
    "ivrd_call_duration_seconds",
    "ivrd_handoff_seconds",
    "ivrd_queue_depth",
    "ivrd_queue_wait_seconds",
    "ivrd_response_seconds",
    "ivrd_events_total",
    "ivrd_commands_total",
    "ivrd_commands_refused_total",
    "ivrd_workers",
    "ivrd_worker_exits_total",
    "ivrd_worker_backoff_seconds",
    "ivrd_handoffs_rejected_total",
    "ivrd_event_loop_lag_seconds",
    "ivrd_config_last_reload_successful",
    "ivrd_build_info",
}


def of(*apps: str, snapshot: Callable[[], Snapshot] = Snapshot) -> Metrics:
    metrics = Metrics(snapshot)
    metrics.set_apps(apps)
    return metrics


def value(metrics: Metrics, name: str, **labels: str) -> float:
    """The one sample of that name and those labels."""
    (found,) = (
        sample.value
        for family in parse_text(metrics.render().decode())
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    )
    return found


def series(metrics: Metrics) -> set[tuple[str, ...]]:
    return {
        (sample.name, *(f"{key}={value}" for key, value in sorted(sample.labels.items())))
        for family in parse_text(metrics.render().decode())
        for sample in family.samples
        if sample.name.startswith("ivrd_")
    }


def busy() -> Metrics:
    """Two apps with something of each kind."""
    figures = AppFigures(calls={"running": 3, "queued": 1}, queue=1, workers={"ready": 2}, backoff=1.5, rss=4096)
    metrics = of("menu", "survey", snapshot=lambda: Snapshot(apps={"menu": figures, "survey": AppFigures()}))
    metrics.call_started("menu", "pipe", 0.0008, 0.0002)
    metrics.call_ended("menu", "pipe", "completed", 12.0)
    metrics.absorb("menu", Tally(events={"key": 2}, commands={"S": 3}, refused={"invalid_value": 1}, responses=[0.02]))
    metrics.handoff_rejected("denied")
    metrics.worker_exited("killed")
    metrics.loop_lag("daemon", 0.25)
    metrics.reload(False)
    return metrics


def test_has_all_that_the_design_names() -> None:
    there = {line.split()[2] for line in of().render().decode().splitlines() if line.startswith("# TYPE")}
    assert there >= DESIGNED
    assert {name for name in there if not name.startswith("ivrd_")} >= {
        "process_open_fds",
        "process_max_fds",
        "process_resident_memory_bytes",
    }


def test_no_series_says_when_another_began() -> None:
    assert b"_created" not in busy().render()


def test_only_the_designed_labels() -> None:
    for family in parse_text(busy().render().decode()):
        for sample in family.samples:
            allowed = ALLOWED_LABELS | ({"version"} if sample.name == "ivrd_build_info" else set())
            assert set(sample.labels) - {"le"} <= allowed, sample


def test_calls_are_counted_by_app_transport_and_result() -> None:
    metrics = of("menu", "survey")
    for result, count in zip(RESULTS, range(1, 99), strict=False):
        for _ in range(count):
            metrics.call_ended("menu", "pipe", cast("Result", result), 1.0)
    metrics.call_ended("survey", "tcp", "hangup", 1.0)
    for result, count in zip(RESULTS, range(1, 99), strict=False):
        assert value(metrics, "ivrd_calls_total", app="menu", transport="pipe", result=result) == count
        assert value(metrics, "ivrd_calls_total", app="survey", transport="pipe", result=result) == 0
    assert value(metrics, "ivrd_calls_total", app="survey", transport="tcp", result="hangup") == 1
    assert set(RESULTS) == set(get_args(Result))


def test_durations_leave_rejected_calls_out() -> None:
    metrics = of("menu")
    metrics.call_ended("menu", "pipe", "completed", 45.0)
    metrics.call_ended("menu", "pipe", "rejected", 0.1)
    assert value(metrics, "ivrd_call_duration_seconds_count", app="menu") == 1
    assert value(metrics, "ivrd_call_duration_seconds_sum", app="menu") == 45.0
    assert value(metrics, "ivrd_call_duration_seconds_bucket", app="menu", le="30.0") == 0
    assert value(metrics, "ivrd_call_duration_seconds_bucket", app="menu", le="60.0") == 1


def test_a_start_is_a_handoff_and_a_wait() -> None:
    metrics = of("menu")
    metrics.call_started("menu", "pipe", 0.0009, 0.003)
    assert value(metrics, "ivrd_handoff_seconds_bucket", app="menu", transport="pipe", le="0.0005") == 0
    assert value(metrics, "ivrd_handoff_seconds_bucket", app="menu", transport="pipe", le="0.001") == 1
    assert value(metrics, "ivrd_queue_wait_seconds_sum", app="menu") == 0.003


@pytest.mark.parametrize(
    ("name", "labels", "least", "most"),
    [
        ("ivrd_handoff_seconds", {"app": "menu", "transport": "pipe"}, 0.00025, 2.0),
        ("ivrd_response_seconds", {"app": "menu"}, 0.001, 10.0),
        ("ivrd_call_duration_seconds", {"app": "menu"}, 1.0, 3600.0),
    ],
)
def test_buckets_span_what_is_to_be_told_apart(name: str, labels: dict[str, str], least: float, most: float) -> None:
    metrics = of("menu")
    bounds = [
        float(sample.labels["le"])
        for family in parse_text(metrics.render().decode())
        for sample in family.samples
        if sample.name == f"{name}_bucket" and sample.labels.items() >= labels.items()
    ]
    assert bounds[0] == least
    assert bounds[-2:] == [most, math.inf]


def test_tallies_of_all_workers_add_up() -> None:
    metrics = of("menu", "survey")
    for app in ("menu", "menu", "survey"):
        metrics.absorb(
            app,
            Tally(
                events={"key": 4, "F": 2},
                commands={"S": 3},
                refused={"call_ended": 1},
                malformed=5,
                responses=[0.02, 0.3],
            ),
        )
    assert value(metrics, "ivrd_events_total", tag="key") == 12
    assert value(metrics, "ivrd_events_total", tag="F") == 6
    assert value(metrics, "ivrd_events_total", tag="malformed") == 15
    assert value(metrics, "ivrd_commands_total", tag="S") == 9
    assert value(metrics, "ivrd_commands_refused_total", reason="call_ended") == 3
    assert value(metrics, "ivrd_response_seconds_count", app="menu") == 4
    assert value(metrics, "ivrd_response_seconds_sum", app="survey") == 0.32


def test_nonsense_from_a_worker_spoils_nothing() -> None:
    metrics = of("menu")
    metrics.absorb("menu", Tally(events={"key": -3}, malformed=-1, responses=[math.nan, math.inf, -1.0, 0.5]))
    assert value(metrics, "ivrd_events_total", tag="key") == 0
    assert value(metrics, "ivrd_response_seconds_count", app="menu") == 1
    assert value(metrics, "ivrd_response_seconds_sum", app="menu") == 0.5


def test_gauges_are_read_at_the_scrape() -> None:
    apps: dict[str, AppFigures] = {}
    metrics = of("menu", snapshot=lambda: Snapshot(apps=apps))
    assert not any(name == "ivrd_calls_active" for name, *_ in series(metrics))
    apps["menu"] = AppFigures(
        calls={"running": 7}, queue=2, workers={"ready": 3}, backoff=4.5, rss=1 << 20, least=2, most=5, slots=600,
        slots_taken=7,
    )  # fmt: skip
    for state in CALL_STATES:
        assert value(metrics, "ivrd_calls_active", app="menu", state=state) == (7 if state == "running" else 0)
    for state in WORKER_STATES:
        assert value(metrics, "ivrd_workers", app="menu", state=state) == (3 if state == "ready" else 0)
    assert value(metrics, "ivrd_queue_depth", app="menu") == 2
    assert value(metrics, "ivrd_worker_backoff_seconds", app="menu") == 4.5
    assert value(metrics, "ivrd_workers_resident_memory_bytes", app="menu") == 1 << 20
    limits = ("ivrd_workers_min", "ivrd_workers_max", "ivrd_slots", "ivrd_slots_taken")
    assert [value(metrics, name, app="menu") for name in limits] == [2, 5, 600, 7]


def test_the_process_is_seen_where_only_processes_are(tmp_path: Path) -> None:
    """As under the unit's `ProcSubset=pid`, where the library alone says nothing."""
    (tmp_path / "self").symlink_to("/proc/self")
    assert list(ProcessCollector(proc=str(tmp_path), registry=None).collect()) == []
    ours = {family.name: family.samples[0].value for family in OwnProcess(proc=str(tmp_path), registry=None).collect()}
    whole = {family.name: family.samples[0].value for family in ProcessCollector(registry=None).collect()}
    assert ours.keys() == whole.keys() >= {"process_open_fds", "process_max_fds", "process_resident_memory_bytes"}
    assert abs(ours["process_start_time_seconds"] - whole["process_start_time_seconds"]) < 2


def test_nobody_is_asked_before_the_first_scrape() -> None:
    def snapshot() -> Snapshot:
        raise AssertionError("there is no daemon yet")

    Metrics(snapshot).set_apps(["menu"])


def test_a_removed_app_keeps_its_counts() -> None:
    metrics = of("menu", "survey")
    metrics.call_ended("survey", "pipe", "completed", 1.0)
    metrics.set_apps(["menu"])
    metrics.call_ended("survey", "pipe", "completed", 1.0)
    metrics.set_apps(["menu", "survey"])
    assert value(metrics, "ivrd_calls_total", app="survey", transport="pipe", result="completed") == 2


def test_reloads() -> None:
    metrics = of()
    assert value(metrics, "ivrd_config_last_reload_successful") == 1
    metrics.reload(False)
    assert value(metrics, "ivrd_config_last_reload_successful") == 0
    metrics.reload(True)
    assert value(metrics, "ivrd_config_last_reload_successful") == 1
    assert value(metrics, "ivrd_config_reloads_total", result="completed") == 1
    assert value(metrics, "ivrd_config_reloads_total", result="failed") == 1


def test_a_spike_of_lag_is_seen_by_each_scraper_and_then_forgotten() -> None:
    now = 100.0
    metrics = Metrics(Snapshot, clock=lambda: now)

    def lag() -> float:
        return value(metrics, "ivrd_event_loop_lag_seconds", process="worker")

    now += LAG_WINDOW - 1
    metrics.loop_lag("worker", 0.5)
    metrics.loop_lag("worker", 0.01)
    assert lag() == lag() == 0.5
    now += LAG_WINDOW - 1
    assert lag() == 0.5
    now += LAG_WINDOW
    assert lag() == 0
    metrics.loop_lag("worker", 0.02)
    now += 2 * LAG_WINDOW
    assert lag() == 0
    assert value(metrics, "ivrd_event_loop_lag_seconds", process="daemon") == 0


def test_each_event_and_command_has_its_tag() -> None:
    metrics = of("menu")
    metrics.absorb("menu", Tally(events=dict.fromkeys(eivr.TAGS, 1), commands=dict.fromkeys(COMMAND_TAGS, 1)))
    assert value(metrics, "ivrd_events_total", tag="other") == 0
    assert value(metrics, "ivrd_commands_total", tag="other") == 0
    made = {eivr.command_tag(line) for line in (eivr.play_now("beep"), eivr.hangup("x"), eivr.get_params())}
    assert made <= set(COMMAND_TAGS)


words = st.text(max_size=12) | st.sampled_from(["menu", NO_APP, "other", "pipe", "hangup", "key", "denied", "killed"])
facts = st.one_of(
    st.tuples(st.just("call_ended"), words, words, words, st.floats()),
    st.tuples(st.just("call_started"), words, words, st.floats(), st.floats()),
    st.tuples(st.just("handoff_rejected"), words),
    st.tuples(st.just("worker_exited"), words),
    st.tuples(
        st.just("absorb"),
        words,
        st.builds(
            Tally,
            events=st.dictionaries(words, st.integers()),
            commands=st.dictionaries(words, st.integers()),
            refused=st.dictionaries(words, st.integers()),
            malformed=st.integers(),
            responses=st.lists(st.floats()),
        ),
    ),
)


def all_series() -> set[tuple[str, ...]]:
    """Every series that one app may ever have, with those of apps that are not configured."""
    metrics = of("menu")
    for app in ("menu", "stranger"):
        for transport in ("pipe", "tcp", "smoke signals"):
            metrics.call_started(app, transport, 0.0, 0.0)
            for result in (*RESULTS, "?"):
                metrics.call_ended(app, transport, cast("Result", result), 1.0)
    return series(metrics)


BOUND = all_series()


@given(st.lists(facts, max_size=20))
def test_whatever_comes_in_the_series_are_bounded(said: list[tuple[Any, ...]]) -> None:
    metrics = of("menu")
    for fact, *arguments in said:
        getattr(metrics, fact)(*arguments)
    assert series(metrics) <= BOUND
    for family in parse_text(metrics.render().decode()):
        assert not any(math.isnan(sample.value) for sample in family.samples)


def test_the_stranger_is_no_app() -> None:
    metrics = of("menu")
    metrics.call_ended("x' OR 1=1", "pipe", "rejected", 0.0)
    assert value(metrics, "ivrd_calls_total", app=NO_APP, transport="pipe", result="rejected") == 1
    assert not any("app=x" in label for labels in series(metrics) for label in labels)


def test_openmetrics_when_asked_for() -> None:
    pieces, content_type = busy().pieces("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5")
    body = b"".join(pieces).decode()
    assert content_type.startswith("application/openmetrics-text")
    # The parser wants exactly one end, at the end.
    parsed = parse_openmetrics(body)  # type: ignore[no-untyped-call] # the library has no types there
    families = {family.name: family for family in parsed}
    assert families["ivrd_calls"].type == "counter"
    assert value(busy(), "ivrd_build_info", version=__version__) == 1


@given(st.text() | st.builds("application/openmetrics-text; version={}; escaping={}".format, st.text(), st.text()))
def test_any_accept_header_gets_figures(accept: str) -> None:
    pieces, content_type = of().pieces(accept)
    assert b"ivrd_build_info{" in b"".join(pieces)
    assert content_type.isprintable()


def test_figures_come_in_pieces_that_make_one_text() -> None:
    metrics = of(*(f"app{number}" for number in range(10)))
    pieces, _ = metrics.pieces()
    lines = [piece.count(b"\n") for piece in pieces]
    assert max(lines) < 200 < sum(lines)  # some 20 µs a line is what the event loop waits for each piece


def test_promtool_finds_nothing_to_say() -> None:
    if shutil.which("promtool") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("with CI=true nothing is left out: promtool is missing (Debian: apt install prometheus)")
        pytest.skip("promtool is not here (Debian: apt install prometheus)")
    said = subprocess.run(
        ["promtool", "check", "metrics"], input=busy().render(), capture_output=True, check=False, timeout=60
    )
    assert (said.returncode, said.stdout, said.stderr) == (0, b"", b"")
