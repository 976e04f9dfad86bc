"""Runs inside the container, on the installed ivrd's own interpreter: plays Asterisk for many calls through real shims.

The rule here: one line of JSON in, `{"what": …, …}`, one line out. Calls that are held go on between the questions.

    hold    count           calls of app `hold`, each up and waiting for a key          -> how many
    rush    rate, options   begins calls of app `quick`, so many a second, for ever     -> nothing
    pace    rate            makes that so many a second                                 -> nothing
    rushing                 how far it is                                               -> how many were begun, outcomes
    rushed  least           goes on to so many, and waits until the last one is over    -> the same, the longest wait
    finish                  presses a key on every held call and sees it to its end     -> outcomes
    call    app, keys, heard    one call: waits for the prompt, presses the keys        -> outcome and variables
"""

import json
import math
import sys
from collections import Counter
from collections.abc import Sequence

import trio

from ivrd.simulator.process import Exchange, ProcessCall, open_exchange

SHIM = "/usr/bin/ivrd-shim"
# A busy machine may need longer than the usual two seconds to start the next daemon.
PATIENT = ("--timeout=15",)


class Driver:
    def __init__(self, exchange: Exchange, nursery: trio.Nursery) -> None:
        self.exchange = exchange
        self.nursery = nursery
        self.held: list[ProcessCall] = []
        self.outcomes: Counter[str] = Counter()
        self.slowest = 0.0
        self.begun = 0
        self.least = math.inf
        self.rate = 0.0
        self.over = trio.Event()

    async def hold(self, count: int) -> int:
        fresh = [self.exchange.dial([SHIM, *PATIENT, "hold", str(number)]) for number in range(count)]
        for call in fresh:
            await call.hears("beep", timeout=30)
            await call.exited(timeout=30)
        self.held += fresh
        return len(self.held)

    async def finish(self) -> dict[str, int]:
        for call in self.held:
            if call.outcome is None:
                call.press("7")
        outcomes = Counter([await self.outcome(call) for call in self.held])
        self.held.clear()
        return outcomes

    async def outcome(self, call: ProcessCall) -> str:
        ending = await call.ended(timeout=60)
        said = [f"{name}={call.variables[name]}" for name in ("IVRD_STATUS", "KEY", "BY") if name in call.variables]
        return " ".join([ending.outcome, *said])

    async def rush(self, rate: float, options: Sequence[str] = PATIENT) -> None:
        self.over = trio.Event()
        self.outcomes.clear()
        self.begun, self.least, self.rate = 0, math.inf, rate
        self.nursery.start_soon(self.dial_many, options)

    async def pace(self, rate: float) -> None:
        self.rate = rate

    async def dial_many(self, options: Sequence[str]) -> None:
        due = trio.current_time()
        async with trio.open_nursery() as calls:
            while self.begun < self.least:
                await trio.sleep_until(due)
                calls.start_soon(self.dial_one, options)
                self.begun += 1
                due += 1 / self.rate
        self.over.set()

    async def dial_one(self, options: Sequence[str]) -> None:
        call = self.exchange.dial([SHIM, *options, "quick"])
        self.outcomes[await self.outcome(call)] += 1
        self.slowest = max(self.slowest, call.first_command_at or 0.0)

    async def rushing(self) -> dict[str, object]:
        return {"begun": self.begun, "outcomes": self.outcomes}

    async def rushed(self, least: int) -> dict[str, object]:
        self.least = least
        await self.over.wait()
        return {**await self.rushing(), "slowest": round(self.slowest, 3)}

    async def call(self, app: str, keys: str = "", heard: str = "") -> dict[str, object]:
        call = self.exchange.dial([SHIM, *PATIENT, app])
        if heard:
            await call.hears(heard, timeout=30)
        if keys:
            call.press(keys)
        return {"outcome": await self.outcome(call), "variables": dict(call.variables)}


async def main() -> None:
    stdin = trio.lowlevel.FdStream(0)
    async with open_exchange() as exchange, trio.open_nursery() as nursery:
        driver = Driver(exchange, nursery)
        left = b""
        async for piece in stdin:
            *lines, left = (left + piece).split(b"\n")
            for line in lines:
                question = json.loads(line)
                answer = await getattr(driver, question.pop("what"))(**question)
                sys.stdout.write(json.dumps(answer) + "\n")
                sys.stdout.flush()
        nursery.cancel_scope.cancel()


trio.run(main)
