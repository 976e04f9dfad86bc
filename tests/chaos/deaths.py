"""Workers that die: what becomes of their calls, and of nobody else's."""

from __future__ import annotations

import os
import random
import signal
from collections import defaultdict

import trio

from ivrd.simulator.process import ProcessCall
from ivrd.simulator.records import Outcome

from .report import Report, middle
from .rig import all_ended, hears_echo, open_rig

SIGNALS = (signal.SIGKILL, signal.SIGSEGV, signal.SIGSTOP)


def _by_worker(calls: list[ProcessCall]) -> dict[int, list[ProcessCall]]:
    found = defaultdict(list)
    for call in calls:
        found[int(call.variables["PID"])].append(call)
    return found


async def worker_deaths(
    report: Report, *, deaths: int = 1000, calls: int = 500, workers: int = 20, heartbeat: float = 1.0
) -> None:
    """Workers die by KILL, SEGV and STOP by turns under live calls; each death ends its own calls and no others."""
    config = f'[apps.hold]\nhandler = "apps:hold"\nworkers = {workers}\nconcurrency = {calls}\nqueue = {calls}\n'
    config += f"queue_timeout = 15\nheartbeat_timeout = {heartbeat}\n"
    report.expect(deaths)
    quick: list[float] = []
    slow: list[float] = []
    wrong: list[str] = []
    async with open_rig(config) as rig:
        live = await rig.live(calls)
        for number in range(deaths):
            how = SIGNALS[number % len(SIGNALS)]
            pid, victims = random.choice(list(_by_worker(live).items()))
            before = {call: call.now() for call in victims}
            os.kill(pid, how)
            await all_ended(victims)
            for call in victims:
                ending = call.channel.ended
                if ending is None:
                    wrong.append(f"a call was forgotten after {how.name}")
                    continue
                (slow if how is signal.SIGSTOP else quick).append(ending.time - before[call])
                if (ending.outcome, call.variables.get("IVRD_STATUS")) != (Outcome.HUNGUP_BY_APP, "CRASHED"):
                    wrong.append(f"{how.name}: {ending.outcome} {ending.detail}")
            live = [call for call in live if call not in before]
            wrong += [f"another's call ended: {call.channel.ended}" for call in live if call.channel.ended]
            live = [call for call in live if not call.channel.ended]
            live += await rig.live(calls - len(live))
            report.step()
        deafs = [call for call in live if not await hears_echo(call, "5")]
        await rig.until(lambda: rig.books_are(calls), "the books' agreement", 5)
    report.at_most("median from KILL or SEGV to H", middle(quick) * 1000, 100, "ms")
    report.at_most("slowest from KILL or SEGV to H", max(quick) * 1000, 1000, "ms")
    report.at_most("slowest from STOP to H", max(slow, default=0.0), heartbeat + 2, "s")
    report.none("calls that ended otherwise", wrong)
    report.none("survivors that do not answer", deafs)
    report.tell("calls that lost their worker", str(len(quick) + len(slow)))


async def second_lives(
    report: Report, *, rounds: int = 60, calls: int = 50, workers: int = 4, heartbeat: float = 1.0
) -> None:
    """`on_crash = "retry"`: each call comes back once, on another worker, and hears nothing of its first life."""
    config = f'[apps.again]\nhandler = "apps:again"\nworkers = {workers}\nconcurrency = {calls}\nqueue = {calls}\n'
    config += f'queue_timeout = 15\non_crash = "retry"\nheartbeat_timeout = {heartbeat}\n'
    report.expect(rounds)
    wrong: list[str] = []
    back = 0
    async with open_rig(config) as rig:
        for number in range(rounds):
            how = SIGNALS[number % len(SIGNALS)]
            live = await rig.live(calls, "again")
            groups = _by_worker(live)
            pid, victims = random.choice(list(groups.items()))
            os.kill(pid, how)
            if how is signal.SIGSTOP:
                await trio.sleep(0.9)  # Asterisk throws keys away while it sends some itself
            for call in victims:
                call.press("7")
            for call in victims:
                await call.until(lambda call=call: call.variables["LIFE"] == "2", "a second life")  # type: ignore[misc]
                back += 1
                # A worker that is stopped reads nothing; one that is killed may have read the key before.
                expected = ("7",) if how is signal.SIGSTOP else ("", "7")
                if call.variables["SEEN"] or call.variables["KEYS"] not in expected:
                    wrong.append(f"{how.name}: {call.variables['SEEN']!r} {call.variables['KEYS']!r}")
                if call.variables["PID"] == str(pid):
                    wrong.append("the same worker")
            others = [call for call in live if call not in victims]
            wrong += [f"another's call: {c.variables}" for c in others if c.channel.ended or c.variables["LIFE"] != "1"]
            await _die_again(_by_worker(victims), wrong)
            for call in live:
                call.hangup()
            await all_ended(live)
            report.step()
        await rig.until(lambda: rig.books_are(0), "the books' agreement", 10)
    report.none("second lives that were not as they should be", wrong)
    report.tell("calls that came back", str(back))


async def _die_again(groups: dict[int, list[ProcessCall]], wrong: list[str]) -> None:
    """There is no third life."""
    pid, victims = next(iter(groups.items()))
    os.kill(pid, signal.SIGKILL)
    await all_ended(victims)
    wrong += [
        f"after a second death: {call.channel.ended}"
        for call in victims
        if (call.outcome, call.variables.get("IVRD_STATUS")) != (Outcome.HUNGUP_BY_APP, "CRASHED")
    ]


async def stacks(report: Report, *, heartbeat: float = 1.0) -> None:
    """A worker whose loop is blocked shows its stacks in the log before it goes."""
    source = (
        "import time\n\nasync def main(call):\n    a_place_to_find()\n\ndef a_place_to_find():\n    time.sleep(60)\n"
    )
    config = f'[apps.block]\nhandler = "block:main"\nworkers = 1\nheartbeat_timeout = {heartbeat}\n'
    async with open_rig(config, files={"block.py": source}) as rig:
        call = rig.dial("block")
        ending = await call.ended()
        await trio.lowlevel.checkpoint()
        report.at_most("from the block to H", ending.time, heartbeat + 2.5, "s")
        report.equal("status", call.variables.get("IVRD_STATUS"), "CRASHED")
        report.equal("the stack is in the log", "a_place_to_find" in rig.service.log, True)
