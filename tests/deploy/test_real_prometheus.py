"""A real Prometheus beside a real ivrd under load: all that is asked of it has an answer, and the figures are right."""

from __future__ import annotations

import os
import resource
import subprocess
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import trio

from ivrd.simulator.process import ProcessCall
from tests.chaos.rig import Rig, all_ended, in_thread, open_rig
from tests.deploy.expressions import dashboard_expressions
from tests.deploy.prometheus import WINDOW, Prometheus, free_port, open_prometheus, program

SOURCE = """
import os
import time
import anyio
from ivrd import InvalidValue

async def boom(call):
    raise RuntimeError("not today")

async def die(call):
    os._exit(9)

async def slow(call):
    await call.digits(max=1, timeout=10)
    await anyio.sleep(3)
    await call.set(DONE="yes")

async def block(call):
    time.sleep(3)

async def stick(call):
    time.sleep(60)

async def attack(call):
    for _ in range(10):
        try:
            await call.set(NAME="Bob,FILE(/etc/passwd)=x")
        except InvalidValue:
            pass

async def patient(call):
    await anyio.sleep(1.2)
"""


def table(app: str, handler: str = "", **keys: object) -> str:
    """An app's table in ivrd.toml; handlers without a module are in SOURCE."""
    lines = [f"[apps.{app}]", f'handler = "{handler or f"faults:{app}"}"', "workers = 1", "queue_timeout = 20"]
    given = [f"{key} = {value}" for key, value in keys.items()]
    return "\n".join([*(line for line in lines if line.partition(" ")[0] not in keys), *given, ""])


@asynccontextmanager
async def watched(*tables: str, **server: object) -> AsyncIterator[tuple[Rig, Prometheus, str]]:
    """A daemon, a Prometheus that scrapes it, and where it does."""
    program("prometheus")  # before anything is started
    port = free_port()
    config = "\n".join(tables)
    async with (
        open_rig(config, files={"faults.py": SOURCE}, env=None, metrics=f"127.0.0.1:{port}", **server) as rig,
        open_prometheus(port) as prometheus,
    ):
        yield rig, prometheus, f"http://127.0.0.1:{port}/metrics"


async def dial_all(rig: Rig, app: str, count: int, *args: str) -> list[ProcessCall]:
    """So many calls, one after the other, each to its end."""
    calls = []
    for _ in range(count):
        call = rig.dial(app, *args)
        await call.ended(30)
        calls.append(call)
    return calls


async def every_result(rig: Rig) -> tuple[Counter[tuple[str, str]], Counter[str]]:
    """Calls of every result but `drained`: how many of each the caller's side has seen, and other counts."""
    seen: Counter[tuple[str, str]] = Counter()
    other: Counter[str] = Counter()
    for app, result, count in (("now", "completed", 40), ("boom", "app_error", 7), ("die", "worker_died", 3)):
        await dial_all(rig, app, count)
        seen[app, result] += count
    await all_ended([rig.dial("short") for _ in range(5)])
    seen["short", "timeout"] += 5

    live = await rig.live(12)
    for call in live:
        for number in range(1, 4):
            call.press("5")
            await call.until(lambda call=call, number=number: call.variables.get("ECHO") == f"5{number}", "an echo", 30)  # type: ignore[misc]
            other["keys"] += 1
    for row in (await rig.calls())[:2]:
        await in_thread(rig.service.ctl, "hangup", row.id)
        seen["hold", "operator"] += 1
    for call in live:
        call.hangup()
    seen["hold", "hangup"] += 10

    first = await rig.live(1, "full")
    for call in await dial_all(rig, "full", 6):
        assert call.variables["IVRD_STATUS"] == "OVERLOADED"
        seen["full", "rejected"] += 1
    first[0].hangup()
    seen["full", "hangup"] += 1
    await all_ended([*live, *first])

    await dial_all(rig, "nope", 4)
    other["unknown_app"] += 4
    await dial_all(rig, "attack", 1)
    seen["attack", "completed"] += 1
    other["refused"] += 10
    return seen, other


async def test_every_expression_has_data_and_the_figures_agree_to_the_call() -> None:
    tables = (
        table("now", "apps:now"),
        table("hold", "apps:hold"),
        table("full", "apps:hold", concurrency=1, queue=0, on_overload='"exit"'),
        table("short", "apps:hold", max_duration=0.5),
        table("boom"),
        table("die", workers=3),
        table("attack"),
    )
    async with watched(*tables) as (rig, prometheus, url):
        seen, other = await every_result(rig)
        assert await rig.reload() == ""
        total = sum(seen.values())
        await prometheus.until('ivrd_config_reloads_total{result="completed"} == 1', "the reload in Prometheus")
        await prometheus.until(f"sum(ivrd_calls_total) == {total}", f"{total} calls in Prometheus")

        counted = {
            (labels["app"], labels["result"]): value
            for labels, value in await prometheus.query("sum by (app, result) (ivrd_calls_total) > 0")
        }
        assert counted == seen
        rejected = sum(count for (_, result), count in seen.items() if result == "rejected")
        for expr, expected in {
            "sum(ivrd_call_duration_seconds_count)": total - rejected,
            "sum(ivrd_handoff_seconds_count)": total - rejected,
            "sum(ivrd_queue_wait_seconds_count)": total - rejected,
            "sum(ivrd_calls_active)": 0,
            'ivrd_events_total{tag="key"}': other["keys"],
            'ivrd_response_seconds_count{app="hold"}': other["keys"],
            'ivrd_handoffs_rejected_total{reason="unknown_app"}': other["unknown_app"],
            'ivrd_commands_refused_total{reason="invalid_value"}': other["refused"],
            'sum(ivrd_worker_exits_total{reason="exited"})': seen["die", "worker_died"],
        }.items():
            assert [value for _, value in await prometheus.query(expr)] == [expected], expr

        # As operators look: while calls come in.
        expressions = dashboard_expressions(WINDOW)
        for expr in expressions.values():
            assert await prometheus.get("/api/v1/format_query", query=expr)
        del expressions["mark Restarts"]  # there was none; see the last test
        wanting = dict(expressions)
        with trio.move_on_after(30):
            while wanting:
                await dial_all(rig, "boom", 1)
                wanting = {name: expr for name, expr in wanting.items() if not await prometheus.query(expr)}
        assert wanting == {}

        groups = (await prometheus.get("/api/v1/rules"))["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        assert len(rules) > 20
        assert [rule["name"] for rule in rules if rule["health"] != "ok" or rule.get("lastError")] == []
        for rule in rules:
            assert await prometheus.get("/api/v1/format_query", query=rule["query"])
            if rule["type"] == "recording":
                assert await prometheus.query(rule["name"]), rule["name"]

        text = await in_thread(lambda: urllib.request.urlopen(url, timeout=10).read())
        lint = [program("promtool"), "check", "metrics"]
        done = await in_thread(lambda: subprocess.run(lint, input=text, capture_output=True, check=False))
        assert (done.returncode, done.stdout + done.stderr) == (0, b"")


async def test_what_goes_wrong_in_an_app_fires_for_that_app_only() -> None:
    tables = (
        table("now", "apps:now"),
        table("boom"),
        table("die", workers=2),
        table("full", "apps:hold", concurrency=1, queue=0),
        table("short", "apps:hold", max_duration=0.3),
        table("slow"),
        table("patient", concurrency=1),
    )
    expected = {
        ("IvrdAppErrors", "boom"),
        ("IvrdCallsLostToCrashes", "die"),
        ("IvrdOverloaded", "full"),
        ("IvrdCallsTimeOut", "short"),
        ("IvrdResponseSlow", "slow"),
        ("IvrdCallersQueue", "patient"),
        ("IvrdHandoffSlow", "patient"),  # the wait is part of it
    }
    async with watched(*tables) as (rig, prometheus, _):
        await rig.live(1, "full")
        slow = [rig.dial("slow") for _ in range(5)]
        for call in slow:
            await call.until(lambda call=call: call.first_command_at or call.exit_status is not None, "the app", 30)  # type: ignore[misc]
            call.press("1")
        await dial_all(rig, "die", 1)  # its alert does not last, so that it has to be looked for at once

        async def trouble() -> None:
            while True:
                rig.dial("patient")
                await dial_all(rig, "now", 1)
                await dial_all(rig, "boom", 1)
                await dial_all(rig, "full", 1)
                await dial_all(rig, "short", 1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trouble)
            await prometheus.until_firing(expected)
            nursery.cancel_scope.cancel()


async def test_what_goes_wrong_around_the_apps_fires_for_that_only() -> None:
    tables = (
        table("now", "apps:now", workers=4),
        table("attack"),
        table("block"),
        table("stick", heartbeat_timeout=1.5),
        table("gone", "no_such_module:main"),
    )
    expected = {
        ("IvrdHandoffsRejected", "unknown_app"),
        ("IvrdCommandsRefused", "invalid_value"),
        ("IvrdWorkersCrash", ""),
        ("IvrdWorkerStuck", ""),
        ("IvrdCallsLostToCrashes", "stick"),
        ("IvrdReloadFailed", ""),
        ("IvrdLoopLag", "worker"),
        ("IvrdAppWithoutWorkers", "gone"),
        ("IvrdAppBackingOff", "gone"),
    }
    async with watched(*tables) as (rig, prometheus, _):
        rig.dial("block")
        rig.dial("stick")
        for pid in rig.service.workers("now")[:3]:
            with suppress(ProcessLookupError):
                os.kill(pid, 9)
        rig.service.config_file.write_text(rig.service.config_file.read_text() + "[apps.now]\n")
        assert await rig.reload()

        async def trouble() -> None:
            while True:
                await dial_all(rig, "nope", 1)
                await dial_all(rig, "attack", 1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trouble)
            await prometheus.until_firing(expected)
            nursery.cancel_scope.cancel()


async def test_a_good_day_is_quiet_and_a_stop_and_restarts_are_seen() -> None:
    async with watched(table("hold", "apps:hold"), drain_timeout=0.2, close_timeout=8) as (rig, prometheus, _):
        for scrape in range(2, 9, 2):
            for call in await rig.live(5):
                call.hangup()
            await prometheus.until(f"count_over_time(up[5m]) > {scrape}", "a scrape")
        assert await prometheus.firing() == set()

        most = resource.prlimit(rig.service.pid, resource.RLIMIT_NOFILE)
        held = len(os.listdir(f"/proc/{rig.service.pid}/fd"))
        resource.prlimit(rig.service.pid, resource.RLIMIT_NOFILE, (round(held / 0.9), most[1]))
        await prometheus.until_firing({("IvrdDescriptorsScarce", "")})
        resource.prlimit(rig.service.pid, resource.RLIMIT_NOFILE, most)
        await prometheus.until("absent(ALERTS)", "the end of the alert")

        # Of the calls at the end of a drain one closes at once; the other one's Asterisk has the pipes open for a
        # while, in which the daemon can still be asked.
        await rig.live(1)
        shim = [str(rig.service.shim), f"--socket={rig.service.socket}", "hold"]
        pipe = subprocess.PIPE
        stuck = await trio.lowlevel.open_process(shim, stdin=pipe, stdout=pipe, stderr=pipe)
        async with trio.open_nursery() as nursery:
            await rig.until(lambda: rig.books_are(2), "two calls")
            nursery.start_soon(in_thread, rig.service.terminate, 30.0)
            await prometheus.until('sum(ivrd_calls_total{result="drained"}) == 1', "the drained call in Prometheus")
            for end in (stuck.stdin, stuck.stdout, stuck.stderr):
                assert end is not None
                await end.aclose()
        await stuck.wait()
        await prometheus.until_firing({("IvrdDown", "")})

        # Enough of them that those in the alert's window suffice, wherever it begins.
        for _ in range(5):
            await in_thread(rig.service.restart)
            await prometheus.until('up{job="ivrd"} == 1', "a scrape of the new daemon")
        await prometheus.until('ALERTS{alertname="IvrdRestarts", alertstate="firing"}', "IvrdRestarts")
        (mark,) = (expr for name, expr in dashboard_expressions(WINDOW).items() if name == "mark Restarts")
        assert await prometheus.query(mark)
