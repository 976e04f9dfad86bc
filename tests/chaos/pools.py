"""Pools that grow and shrink, and workers that are replaced: never at the cost of a call."""

from __future__ import annotations

from collections import Counter
from functools import partial

import trio

from ivrd.simulator.records import Outcome

from .report import Report
from .rig import Rig, all_ended, open_rig


async def _ready(rig: Rig, count: int) -> bool:
    return sum(worker.state == "ready" for worker in (await rig.app("hold")).workers) == count


async def elastic(report: Report, *, workers: int = 5, rounds: int = 3) -> None:
    """A pool grows before its spare places are used up, and lets go of what had nothing to do."""
    places, spare = 10, 5
    config = (
        f'[apps.hold]\nhandler = "apps:hold"\nmin_workers = 1\nmax_workers = {workers}\nspare_slots = {spare}\n'
        f"concurrency = {places}\nqueue = 10\nqueue_timeout = 15\nshrink_after = 1\n"
    )
    report.expect(rounds)
    waited: list[str] = []
    outcomes = set()
    async with open_rig(config) as rig:
        for _ in range(rounds):
            live = []
            for step in range(1, workers):
                # So many fill all places of one worker less; the next one is there before anybody waits for it.
                live += await rig.live(places)
                await rig.until(partial(_ready, rig, step + 1), f"growth to {step + 1} workers")
                waited += [row.id for row in await rig.calls() if row.state != "running"]
            await rig.until(partial(rig.books_are, len(live)), "the books' agreement")
            for call in live:
                call.press("#")
            await all_ended(live)
            outcomes |= {call.outcome for call in live}
            await rig.until(lambda: _ready(rig, 1), "shrinking to 1 worker")
            report.step()
        exits = {line["reason"] for line in rig.service.lines("worker_gone")}
    report.none("calls that had to wait", waited)
    report.equal("outcomes", outcomes, {Outcome.CONTINUED})
    report.equal("how workers left", exits, {"retired"})


async def recycling(report: Report, *, replacements: int = 30, per_worker: int = 20) -> None:
    """Workers are replaced after so many calls, while calls are up: none is cut, and all are taken."""
    config = (
        f'[apps.hold]\nhandler = "apps:hold"\nworkers = 2\nconcurrency = 50\nqueue_timeout = 15\n'
        f"max_calls_per_worker = {per_worker}\n"
    )
    report.expect(replacements)
    outcomes: Counter[str] = Counter()
    retired: list[str] = []

    async def call_again_and_again(rig: Rig) -> None:
        while len(retired) < replacements:
            (call,) = await rig.live(1)
            call.press("1#")
            outcomes[str((await call.ended()).outcome)] += 1

    async def count(rig: Rig) -> None:
        while len(retired) < replacements:
            found = [line["reason"] for line in rig.service.lines("worker_retires")]
            report.step(len(found) - len(retired))
            retired[:] = found
            await trio.sleep(0.2)

    async with open_rig(config) as rig:
        (witness,) = await rig.live(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(count, rig)
            for _ in range(8):
                nursery.start_soon(call_again_and_again, rig)
        stayed = witness.channel.ended is None
        witness.press("#")
        outcomes[str((await witness.ended()).outcome)] += 1
        await rig.until(lambda: _ready(rig, 2), "two workers")
        exits = {line["reason"] for line in rig.service.lines("worker_gone")}
    report.equal("outcomes", set(outcomes), {str(Outcome.CONTINUED)})
    report.equal("a call that outlives all others stays", stayed, True)
    report.equal("why workers were replaced", set(retired), {"max_calls"})
    report.equal("how workers left", exits, {"retired"})
    report.tell("calls", str(outcomes.total()))
