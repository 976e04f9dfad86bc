"""The ends of calls and of the service: on time, whatever an app does, and told to whoever waits."""

from __future__ import annotations

import os
import signal

import trio

from ivrd.simulator.process import ProcessCall
from ivrd.simulator.records import Outcome

from .report import Report
from .rig import all_ended, in_thread, open_rig


async def queued(report: Report, *, calls: int = 50) -> None:
    """While calls wait: a hangup is noticed at once, and keys reach the app."""
    config = (
        f'[apps.entry]\nhandler = "apps:entry"\nworkers = 1\nconcurrency = 1\nqueue = {3 * calls}\nqueue_timeout = 60\n'
    )
    report.expect(2)
    async with open_rig(config) as rig:
        first = rig.dial("entry")
        await first.exited()
        waiting = [rig.dial("entry") for _ in range(2 * calls)]

        async def in_line(count: int) -> bool:
            return (await rig.app("entry")).waiting == count

        await rig.until(lambda: in_line(2 * calls), "the line")
        for call in waiting[::2]:
            call.hangup()
        noticed = await rig.until(lambda: in_line(calls), "the hangups' notice", 10)
        report.step()
        kept = waiting[1::2]
        for number, call in enumerate(kept):
            call.press(f"{number % 1000:03d}")
        first.press("999")
        await all_ended([*waiting, first])
        exits = {await call.exited() for call in waiting[::2]}
        await rig.until(lambda: rig.books_are(0), "empty books")
        results = (await rig.status()).results
    wrong = [f"{n}: {c.variables}" for n, c in enumerate(kept) if c.variables.get("DIGITS") != f"{n % 1000:03d}"]
    report.at_most(f"until {calls} hangups were noticed", noticed, 0.5, "s")
    report.equal("the shims' exit statuses", exits, {0})
    report.none("keys that did not reach the app", wrong)
    report.equal("results", dict(sorted(results.items())), {"completed": calls + 1, "hangup": calls})


async def deadlines(report: Report, *, calls: int = 10) -> None:
    """Calls end on time even when their task will not be cancelled, their thread is stuck, or their worker stands."""
    limit, idle, beat = 1.0, 1.0, 1.0
    common = 'workers = 1\nqueue_timeout = 15\nhangup_grace = 1\non_timeout = "exit"\n'
    config = "".join(
        f'[apps.{name}]\nhandler = "apps:{handler}"\n{common}heartbeat_timeout = {heartbeat}\n{more}\n'
        for name, handler, heartbeat, more in (
            ("long", "deaf", 5, f"max_duration = {limit}"),
            ("idle", "deaf", 5, f"idle_timeout = {idle}"),
            ("stuck", "stuck", 5, f"max_duration = {limit}"),
            ("quiet", "stuck", 5, f"idle_timeout = {idle}"),
            # Its worker is stopped: the daemon's own limit comes first, for the heartbeat's is far away.
            ("stopped", "hold", 60, f"max_duration = {limit + 1}"),
            ("again", "now", 5, ""),
        )
    )
    report.expect(1)
    ends: dict[str, list[ProcessCall]] = {}
    async with open_rig(config) as rig:
        ends["stopped"] = await rig.live(calls, "stopped")
        for name in ("long", "idle", "stuck", "quiet"):
            ends[name] = [rig.dial(name) for _ in range(calls)]
        (worker,) = (await rig.app("stopped")).workers
        os.kill(worker.pid, signal.SIGSTOP)
        await all_ended([call for group in ends.values() for call in group])
        # The handlers that were given up do not count as calls, and their workers take new ones.
        await rig.until(lambda: rig.holds("long", 0), "the places' return", 10)
        os.kill(worker.pid, signal.SIGCONT)
        (more,) = [rig.dial("long")]
        await more.ended()
        processes = {row.pid: row.stuck for row in (await rig.app("stuck")).workers}
    for name, group in ends.items():
        wrong = [f"{c.channel.ended} {c.variables}" for c in group if c.variables.get("IVRD_STATUS") != "TIMEOUT"]
        report.none(f"{name}: ended otherwise", wrong)
        late = max((call.channel.ended.time for call in group if call.channel.ended), default=99.0)
        # The daemon lets a worker go first, by a second.
        most = limit + 2.0 if name == "stopped" else limit
        report.at_most(f"{name}: longest beyond its limit", late - most, beat, "s")
    report.equal("the worker with stuck threads lives on and says so", list(processes.values()), [calls])


async def drain(report: Report, *, calls: int = 100, seconds: float = 2.0) -> None:
    """SIGTERM: new calls fall back at once, live ones have their time, then the rest is ended, workers last."""
    config = '[apps.hold]\nhandler = "apps:hold"\nworkers = 2\nconcurrency = 500\n'
    report.expect(1)
    async with open_rig(config, drain_timeout=seconds) as rig:
        live = await rig.live(calls)
        done, stay = live[::2], live[1::2]
        rig.service.signal(signal.SIGTERM)
        begun = trio.current_time()
        await rig.until(lambda: rig.service.lines("draining"), "the drain's beginning")
        refused = [rig.dial("hold", fallback="exit") for _ in range(5)]
        await all_ended(refused)
        for call in done:
            call.press("1#")
        await all_ended(done)
        before = trio.current_time() - begun
        status = await in_thread(rig.service.wait)
        took = trio.current_time() - begun
        await all_ended(stay, 1)
        left = await in_thread(rig.service.processes)
    report.equal("new calls", {(c.outcome, c.variables.get("IVRD_STATUS")) for c in refused},
                 {(Outcome.CONTINUED, "DRAINING")})  # fmt: skip
    report.at_most("slowest of them", max(c.channel.ended.time for c in refused if c.channel.ended), 1.0, "s")
    report.equal("calls that finished", {c.outcome for c in done}, {Outcome.CONTINUED})
    report.equal("calls that did not", {(c.outcome, c.variables.get("IVRD_STATUS")) for c in stay},
                 {(Outcome.HUNGUP_BY_APP, "DRAINING")})  # fmt: skip
    report.at_least("the daemon's patience", took, seconds, "s")
    report.at_most("from the last deadline to the end", took - max(seconds, before), 4.0, "s")
    report.equal("exit status", status, 0)
    report.none("processes left", left)


async def hurry(report: Report, *, calls: int = 100) -> None:
    """A second SIGTERM ends at once."""
    config = '[apps.hold]\nhandler = "apps:hold"\nworkers = 2\nconcurrency = 500\n'
    report.expect(1)
    async with open_rig(config, drain_timeout=300) as rig:
        live = await rig.live(calls)
        rig.service.signal(signal.SIGTERM)
        await rig.until(lambda: rig.service.lines("draining"), "the drain's beginning")
        rig.service.signal(signal.SIGTERM)
        begun = trio.current_time()
        await all_ended(live)
        hung_up = trio.current_time() - begun
        status = await in_thread(rig.service.wait)
        took = trio.current_time() - begun
    report.equal("calls", {(c.outcome, c.variables.get("IVRD_STATUS")) for c in live},
                 {(Outcome.HUNGUP_BY_APP, "DRAINING")})  # fmt: skip
    report.at_most("until all were hung up", hung_up, 1.0, "s")
    report.at_most("until the daemon was gone", took, 4.0, "s")
    report.equal("exit status", status, 0)
