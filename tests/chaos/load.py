"""Load: reloads under it, more of it than there is room for, a crash loop beside it, and a great deal of it."""

from __future__ import annotations

import os
import random
from collections import Counter
from itertools import cycle
from pathlib import Path

import trio

from ivrd.simulator.process import ProcessCall
from ivrd.simulator.records import Outcome
from ivrd.wire.control import AppStatus

from .report import Report, middle, percentile
from .rig import Pace, Rig, all_ended, open_rig

_CODE = 'CODE = {code}\n\n\nasync def main(call):\n    await call.set(CODE=str(CODE))\n    await call.play("beep")\n'
_MIB = 1 << 20

# What an operator may get wrong, as text that takes the place of the `[apps.code]` table or of its module.
_BAD_CONFIGS = (
    '[apps.code]\nhandler = "code_app:main"\nworkesr = 3\n',
    '[apps.code]\nhandler = "code_app:main"\nworkers = 0\n',
    '[apps.code]\nhandler = "no_such_module:main"\n',
    '[apps.code]\nhandler = "code_app:nothing"\n',
    '[apps.code]\nhandler = "code_app:main"\n[apps.new]\nhandler = "no_such_module:main"\n',
    '[apps.code]\nhandler = "code_app:main"\n[apps.code]\n',
    "what is this",
)
_BAD_CODE = ("raise RuntimeError('not today')\n", "def (:\n", "import sys\nsys.exit(3)\n")


def _went_well(call: ProcessCall) -> bool:
    return call.outcome is Outcome.CONTINUED and call.variables.get("IVRD_STATUS") == "OK"


async def reloads(report: Report, *, reloads: int = 200, refusals: int = 50, rate: float = 50.0) -> None:
    """Reloads at random moments under new calls, invalid ones among them; no call is lost or runs stale code."""
    config = '[apps.code]\nhandler = "code_app:main"\nworkers = 2\nqueue_timeout = 10\n'
    report.expect(reloads + refusals)
    kinds = ["good"] * reloads + ["bad"] * refusals
    random.shuffle(kinds)
    bad = cycle([*_BAD_CONFIGS, *_BAD_CODE])
    done = 0  # the newest code of which a reload was reported done
    calls: list[tuple[int, ProcessCall]] = []
    wrong: list[str] = []

    async def arrive() -> None:
        pace = Pace(rate)
        while True:
            calls.append((done, rig.dial("code")))
            await pace.next()

    async with open_rig(config, files={"code_app.py": _CODE.format(code=0)}) as rig:
        module = rig.service.apps / "code_app.py"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(arrive)
            for kind in kinds:
                await trio.sleep(random.uniform(0, 0.2))
                if kind == "good":
                    module.write_text(_CODE.format(code=done + 1))
                    problem = await rig.reload()
                    done += 1
                    if problem:
                        wrong.append(f"a good reload was refused: {problem}")
                else:
                    wrong += await _refused(rig, module, config, next(bad))
                    module.write_text(_CODE.format(code=done))
                report.step()
            nursery.cancel_scope.cancel()
        calls.append((done, rig.dial("code")))
        await all_ended(call for _, call in calls)
        # The workers of all generations but the last are gone, once they have finished what they had.
        await rig.until(lambda: _only(rig, 2), "the end of old workers")
        processes = len(rig.service.processes())
        apps = [app.name for app in (await rig.status()).apps]
    lost = [f"{call.channel.ended} {call.variables}" for _, call in calls if not _went_well(call)]
    stale = [call for least, call in calls if int(call.variables.get("CODE", least)) < least]
    report.none("calls lost", lost)
    report.none("calls on stale code", stale)
    report.none("reloads that went wrong", wrong)
    report.equal("processes afterwards", processes, 3)
    report.equal("apps afterwards", apps, ["code"])
    report.equal("the last call's code", calls[-1][1].variables.get("CODE"), str(done))
    report.tell("calls", str(len(calls)))


async def _only(rig: Rig, workers: int) -> bool:
    return len((await rig.app("code")).workers) == workers


async def _refused(rig: Rig, module: Path, config: str, bad: str) -> list[str]:
    before = await rig.app("code")
    _spoil(rig, module, bad)
    problem = await rig.reload()
    rig.service.configure(config)
    after = await rig.app("code")
    wrong = [] if problem else [f"it was not refused: {bad!r}"]
    if _in_force(after) != _in_force(before):
        wrong.append(f"something changed: {before} {after}")
    return wrong


def _spoil(rig: Rig, module: Path, bad: str) -> None:
    if bad in _BAD_CODE:
        module.write_text(bad)
    else:
        rig.service.configure(bad)


def _in_force(app: AppStatus) -> tuple[int, int, set[int]]:
    current = {worker.pid for worker in app.workers if worker.state == "ready" and worker.generation == app.generation}
    return app.generation, app.capacity, current


async def overload(report: Report, *, seconds: float = 60.0, rate: float = 120.0) -> None:
    """Three times as many calls as there is room for: each is served, or sent on with OVERLOADED, in time."""
    places = round(rate / 3)  # of calls that last a second each
    patience = 1.0
    config = (
        f'[apps.wait]\nhandler = "apps:wait"\nworkers = 2\nconcurrency = {max(1, places // 2)}\n'
        f'queue = {places}\nqueue_timeout = {patience}\non_overload = "exit"\n'
    )
    report.expect(seconds)
    calls: list[ProcessCall] = []
    async with open_rig(config) as rig:
        begun = trio.current_time()
        pace = Pace(rate)
        while (since := trio.current_time() - begun) < seconds:
            calls.append(rig.dial("wait", "1"))
            await pace.next()
            report.step(trio.current_time() - begun - since)
        await trio.sleep(2.0)
        after = [rig.dial("wait", "0") for _ in range(5)]
        await all_ended([*calls, *after])
    normal = [call.first_command_at or 99.0 for call in after if _went_well(call)]
    sent_on = [call for call in calls if call.variables.get("IVRD_STATUS") == "OVERLOADED"]
    served = [call for call in calls if _went_well(call)]
    other = [f"{c.channel.ended} {c.variables}" for c in calls if c not in set(sent_on) | set(served)]
    waits = [call.channel.ended.time for call in sent_on if call.channel.ended]
    starts = [call.channel.ended.time - 1.0 for call in served if call.channel.ended]
    report.none("neither served nor sent on", other)
    report.equal("sent on into the dialplan", {call.outcome for call in sent_on}, {Outcome.CONTINUED})
    report.at_most("longest until sent on", max(waits, default=0.0), patience + 0.3, "s")
    report.at_most("longest until served", max(starts, default=0.0), patience + 0.3, "s")
    report.at_least("served, of what there is room for", len(served) / (places * seconds), 0.8)
    report.at_least("sent on", len(sent_on), 1)
    report.equal("calls that go well after it", len(normal), len(after))
    report.at_most("slowest of them", max(normal, default=99.0), 0.5, "s")
    report.tell(
        "calls", f"{len(served)} served, {len(sent_on)} sent on; {len(calls) / seconds / places:.1f} times room"
    )


async def neighbours(report: Report, *, seconds: float = 30.0, flood: float = 100.0, rate: float = 10.0) -> None:
    """One app is flooded and its line is full; the other one's callers are served at once, all the while."""
    config = (
        '[apps.now]\nhandler = "apps:now"\nworkers = 1\n'
        '[apps.wait]\nhandler = "apps:wait"\nworkers = 1\nconcurrency = 2\nqueue = 500\nqueue_timeout = 2\n'
    )
    report.expect(1)
    failures: list[str] = []
    starts: list[float] = []
    crowd: list[ProcessCall] = []

    async def press_on() -> None:
        pace = Pace(flood)
        while True:
            crowd.append(rig.dial("wait", "1", fallback="exit"))
            await pace.next()

    async with open_rig(config) as rig:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(press_on)
            starts = await _window(rig, seconds, rate, failures)
            waiting = (await rig.app("wait")).waiting
            nursery.cancel_scope.cancel()
        await all_ended(crowd)
        report.step()
    report.at_least("callers in the flooded app's line", waiting, flood / 2)
    report.none("calls of the other app that went wrong", failures)
    report.at_most("median to their first command", middle(starts) * 1000, 50, "ms")
    report.at_most("slowest of them", max(starts, default=99.0) * 1000, 500, "ms")
    report.tell("calls", f"{len(starts)} beside a flood of {len(crowd)}")


_FRAGILE = """
import os

if os.path.exists(os.path.join(os.path.dirname(__file__), "broken")):
    raise RuntimeError("broken")


async def main(call):
    pass
"""


async def crash_loop(report: Report, *, windows: int = 6, seconds: float = 20.0, rate: float = 25.0) -> None:
    """An app that crashes at import beside a healthy one, which hardly notices; windows with and without it."""
    config = '[apps.now]\nhandler = "apps:now"\nworkers = 2\n[apps.fragile]\nhandler = "fragile:main"\nworkers = 2\n'
    report.expect(2 * windows)
    figures: dict[bool, list[float]] = {True: [], False: []}
    processor: dict[bool, float] = {True: 0.0, False: 0.0}
    failures: list[str] = []
    async with open_rig(config, files={"fragile.py": _FRAGILE}) as rig:
        await _window(rig, 1.0, rate, failures)  # nothing is cold any more
        for crashing in [True, False] * windows:
            await _break(rig, crashing)
            before = _processor_seconds(rig.service.pid)
            figures[crashing] += await _window(rig, seconds, rate, failures)
            processor[crashing] += _processor_seconds(rig.service.pid) - before
            report.step()
        loops = len(rig.service.lines("app_backs_off"))
    looping, calm = figures[True], figures[False]
    report.none("healthy calls that went wrong", failures)
    report.at_most("rise of the median to the first command", (middle(looping) / middle(calm) - 1) * 100, 10, "%")
    report.at_most("rise of p99", percentile(looping, 99) / percentile(calm, 99), 2, "times")
    share = (processor[True] - processor[False]) / (windows * seconds) * 100
    report.at_most("the daemon's CPU for the crash loop", share, 5, "%")
    report.at_least("back-offs", loops, windows)
    report.tell("medians, ms", f"{middle(looping) * 1000:.2f} with, {middle(calm) * 1000:.2f} without")


async def _break(rig: Rig, crashing: bool) -> None:
    flag = rig.service.apps / "broken"
    if crashing:
        flag.touch()
        for worker in (await rig.app("fragile")).workers:
            os.kill(worker.pid, 9)
    else:
        flag.unlink()

    async def so() -> object:
        app = await rig.app("fragile")
        return app.capacity == 0 and app.failure if crashing else app.capacity == 400

    await rig.until(so, "the app's breakdown" if crashing else "the app's recovery", 60)


async def _window(rig: Rig, seconds: float, rate: float, failures: list[str]) -> list[float]:
    calls = []
    until = trio.current_time() + seconds
    pace = Pace(rate)
    while trio.current_time() < until:
        calls.append(rig.dial("now"))
        await pace.next()
    await all_ended(calls)
    failures += [str(call.channel.ended) for call in calls if not _went_well(call)]
    return [call.first_command_at for call in calls if call.first_command_at is not None]


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def calls_in_a_row(report: Report, *, calls: int = 200_000, warm: int = 10_000, at_once: int = 8) -> None:
    """A great many short calls: descriptors, processes and memory are what they were."""
    config = '[apps.now]\nhandler = "apps:now"\nworkers = 2\n'
    at_once = max(4, at_once)
    report.expect(warm + calls)
    wrong: list[str] = []
    outcomes: Counter[str] = Counter()

    async def some(rig: Rig, count: int) -> None:
        for _ in range(count):
            call = rig.dial("now")
            await call.ended(60)
            outcomes["good" if _went_well(call) else f"{call.channel.ended} {call.variables}"] += 1
            await call.exited(60)
            report.step()

    async def many(rig: Rig, count: int) -> None:
        async with trio.open_nursery() as nursery:
            for place in range(at_once):
                nursery.start_soon(some, rig, count // at_once + (place < count % at_once))
        await rig.until(lambda: rig.books_are(0), "empty books", 10)
        await trio.sleep(1.0)  # for what is freed with the last reports

    async with open_rig(config) as rig:
        # A line for each call would be a large file; the reload takes effect in the workers as well.
        rig.service.configure(config, log_level="warning")
        wrong += [problem for problem in [await rig.reload()] if problem]
        await rig.until(lambda: _two(rig), "the end of old workers")
        await many(rig, warm)
        pids = [rig.service.pid, *(worker.pid for worker in (await rig.app("now")).workers)]
        memory = {pid: _resident(pid) for pid in pids}
        descriptors = {pid: len(os.listdir(f"/proc/{pid}/fd")) for pid in pids}
        begun = trio.current_time()
        await many(rig, calls)
        rate = calls / (trio.current_time() - begun)
        growth = {pid: (_resident(pid) - memory[pid]) / _MIB for pid in pids}
        more = {pid: len(os.listdir(f"/proc/{pid}/fd")) - descriptors[pid] for pid in pids}
        zombies = [pid for pid in pids if "Z" in _children_states(pid)]
    report.equal("outcomes", dict(outcomes), {"good": warm + calls})
    report.none("what went wrong", wrong)
    report.at_most("growth of the daemon", growth[pids[0]], 2, "MiB")
    report.at_most("growth of the workers, the greater", max(growth[pid] for pid in pids[1:]), 2, "MiB")
    report.equal("descriptors more than before", set(more.values()), {0})
    report.none("processes with zombies", zombies)
    report.tell("calls a second", f"{rate:.0f}")


async def _two(rig: Rig) -> bool:
    return len((await rig.app("now")).workers) == 2


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _children_states(pid: int) -> str:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return "".join(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] for child in children)
