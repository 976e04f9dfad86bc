"""The daemon killed, stopped and replaced: the calls in workers go on, and the next daemon has them in its books."""

from __future__ import annotations

import random
import signal
from collections import Counter

import trio

from ivrd.simulator.process import ProcessCall
from ivrd.simulator.records import Outcome

from .report import Report, middle
from .rig import Pace, Rig, all_ended, hears_echo, in_thread, open_rig

_SHIM_S = 60.0  # the shims' patience, for a machine on which a daemon takes seconds to start


def _app(calls: int, workers: int, more: str = "") -> str:
    return (
        f'[apps.hold]\nhandler = "apps:hold"\nworkers = {workers}\nconcurrency = {calls}\nqueue = {calls}\n'
        f"queue_timeout = 15\n{more}"
    )


async def _all_answer(calls: list[ProcessCall]) -> list[ProcessCall]:
    """The calls that do not answer a key."""
    deaf: list[ProcessCall] = []

    async def one(call: ProcessCall) -> None:
        if not await hears_echo(call, "5"):
            deaf.append(call)

    async with trio.open_nursery() as nursery:
        for call in calls:
            nursery.start_soon(one, call)
    return deaf


async def _leave(calls: list[ProcessCall]) -> Counter[str]:
    for call in calls:
        call.press("#")
    await all_ended(calls)
    return Counter(str(call.outcome) for call in calls)


class _Arrivals:
    """Calls that come in while there may be no daemon; each is to be answered, or to fall back."""

    def __init__(self, rig: Rig, rate: float) -> None:
        self.rig = rig
        self.rate = rate
        self.calls: list[ProcessCall] = []
        self.served = 0
        self.fell_back: list[str] = []
        self.lost: list[str] = []

    async def run(self) -> None:
        pace = Pace(self.rate)
        while True:
            self.calls.append(self.rig.dial("now", timeout=_SHIM_S))
            await pace.next()

    async def judge(self) -> None:
        await all_ended(self.calls, 2 * _SHIM_S)
        for call in self.calls:
            if call.outcome is Outcome.CONTINUED and call.variables.get("IVRD_STATUS") == "OK":
                self.served += 1
            elif call.outcome is Outcome.HUNGUP_BY_APP and call.variables.get("IVRD_STATUS") == "UNAVAILABLE":
                self.fell_back.append(call.channel.ended.detail if call.channel.ended else "")
            else:
                self.lost.append(f"{call.channel.ended} {call.variables} {call.log[-1:]}")


_NOW = '[apps.now]\nhandler = "apps:now"\nworkers = 1\nqueue_timeout = 15\n'


async def daemon_kills(report: Report, *, kills: int = 100, calls: int = 1000, workers: int = 4) -> None:
    """`kill -9` of the daemon and a new one, again and again, under live calls and while others come in."""
    report.expect(kills)
    reunions: list[float] = []
    deaf: list[ProcessCall] = []
    async with open_rig(_app(calls, workers) + _NOW) as rig:
        live = await rig.live(calls)
        arrivals = _Arrivals(rig, rate=10)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(arrivals.run)
            for _ in range(kills):
                await trio.sleep(random.uniform(0, 0.3))
                await in_thread(rig.service.kill)
                # Between two daemons the callers notice nothing.
                deaf += await _all_answer(random.sample(live, min(20, calls)))
                await rig.start()
                reunions.append(await rig.until(lambda: rig.holds("hold", calls), "the reunion"))
                report.step()
            nursery.cancel_scope.cancel()
        await arrivals.judge()
        deaf += await _all_answer(live)
        outcomes = await _leave(live)
        await rig.until(lambda: rig.books_are(0), "empty books", 10)
    report.none("calls that did not answer a key", deaf)
    report.equal("calls that went their whole way", outcomes[Outcome.CONTINUED], calls)
    report.at_most(f"slowest from ready to all {calls} supervised", max(reunions), 1.0, "s")
    report.none("calls that came meanwhile and were lost", arrivals.lost)
    report.tell("calls that came meanwhile", f"{arrivals.served} served, {len(arrivals.fell_back)} fell back")


async def daemon_stopped(
    report: Report, *, seconds: float = 30.0, calls: int = 1000, workers: int = 4, heartbeat: float = 1.0
) -> None:
    """SIGSTOP for the daemon: every call goes on, keys are answered, deadlines hold; afterwards the books are right."""
    brief = max(1.0, seconds / 2)
    config = _app(calls, workers, f"heartbeat_timeout = {heartbeat}\n")
    config += f'[apps.brief]\nhandler = "apps:hold"\nworkers = 1\nmax_duration = {brief}\non_timeout = "exit"\n'
    few = max(2, calls // 20)
    report.expect(seconds)
    answers: list[float] = []
    deaf: list[ProcessCall] = []
    async with open_rig(config) as rig:
        live = await rig.live(calls)
        limited = await rig.live(few, "brief")
        rig.service.signal(signal.SIGSTOP)
        begun = trio.current_time()
        gone, live = live[:few], live[few:]
        for call in gone:
            call.hangup()
        while (since := trio.current_time() - begun) < seconds:
            call = random.choice(live)
            before = trio.current_time()
            if not await hears_echo(call, "3"):
                deaf.append(call)
            answers.append(trio.current_time() - before)
            await trio.sleep(0.02)
            report.step(trio.current_time() - begun - since)
        late = [call for call in limited if call.channel.ended is None]
        durations = [call.channel.ended.time for call in limited if call.channel.ended]
        rig.service.signal(signal.SIGCONT)
        settled = await rig.until(lambda: rig.books_are(len(live)), "the books' agreement", 10)
        results = (await rig.status()).results
        deaf += await _all_answer(live)
        outcomes = await _leave(live)
        killed = rig.service.lines("worker_stuck")
    report.none("calls that did not answer a key", deaf)
    report.at_most("median from key to answer", middle(answers) * 1000, 100, "ms")
    report.none("calls past max_duration", late)
    report.at_most("longest call under max_duration", max(durations, default=0) - brief, 0.5, "s too long")
    report.at_most("from SIGCONT to books that are right", settled, 2.0, "s")
    report.equal("results", dict(sorted(results.items())), {"hangup": few, "timeout": few})
    report.equal("calls that went their whole way", outcomes[Outcome.CONTINUED], len(live))
    report.none("workers killed for the daemon's silence", killed)


async def upgrades(report: Report, *, upgrades: int = 20, calls: int = 200, rate: float = 10.0) -> None:
    """SIGUSR2 and a new daemon, with calls up and new ones coming: none is lost, refused, or falls back."""
    report.expect(upgrades)
    left: list[int] = []
    async with open_rig(_app(calls, 2) + _NOW) as rig:
        live = await rig.live(calls)
        arrivals = _Arrivals(rig, rate)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(arrivals.run)
            for _ in range(upgrades):
                await trio.sleep(random.uniform(0.1, 0.5))
                rig.service.signal(signal.SIGUSR2)
                left.append(await in_thread(rig.service.wait))
                await rig.start()
                await rig.until(lambda: rig.holds("hold", calls), "the reunion")
                report.step()
            nursery.cancel_scope.cancel()
        await arrivals.judge()
        deaf = await _all_answer(live)
        outcomes = await _leave(live)
        await rig.until(lambda: rig.books_are(0), "empty books", 10)
    report.equal("exit statuses", set(left), {0})
    report.none("calls that did not answer a key", deaf)
    report.equal("calls that went their whole way", outcomes[Outcome.CONTINUED], calls)
    report.none("new calls lost", arrivals.lost)
    report.none("new calls fallen back", arrivals.fell_back)
    report.at_least("new calls served", arrivals.served, upgrades)


async def workers_without_daemon(report: Report, *, calls: int = 4) -> None:
    """A daemon that does not come back: workers let their calls finish, with keys answered, and then go."""
    async with open_rig(_app(10, 2)) as rig:
        live = await rig.live(calls)
        await in_thread(rig.service.kill)
        deaf = await _all_answer(live)
        outcomes = await _leave(live)
        left = rig.service.processes()
        await rig.start()
        app = await rig.app("hold")
    report.none("calls that did not answer a key", deaf)
    report.equal("calls that went their whole way", outcomes[Outcome.CONTINUED], calls)
    report.equal("the next daemon has the same workers", {w.pid for w in app.workers} == set(left), True)
