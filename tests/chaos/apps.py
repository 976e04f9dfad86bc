"""The apps that the scenarios call. Each says in channel variables what the scenario wants to know."""

import os
import time
from itertools import count

import anyio

from ivrd import Call, SyncCall


async def hold(call: Call) -> None:
    """Answers each key with how many there were in this life; # leaves."""
    events = call.events()
    await call.set(PID=str(os.getpid()), LIFE=str(call.attempt))
    numbers = count(1)
    async for event in events:
        key = getattr(event, "key", "")
        if key:
            await call.set(ECHO=f"{key}{next(numbers)}")
        if key == "#":
            return


async def now(call: Call) -> None:
    """Leaves at once."""


async def wait(call: Call) -> None:
    """Leaves after so many seconds."""
    await anyio.sleep(float(call.args[0]))


async def entry(call: Call) -> None:
    """Takes three keys."""
    await call.set(DIGITS=await call.digits(max=3, timeout=5))


async def again(call: Call) -> None:
    """Keeps events coming in its first life; tells in its second one what it got of them."""
    if call.attempt == 1:
        await call.queue("long", "longer", "longest")
        await call.set(PID=str(os.getpid()), LIFE="1")
        while True:
            # While keys are sent Asterisk handles nothing else: what is asked now is answered to whoever comes next.
            await call.send_dtmf("1", duration_ms=300)
            with anyio.move_on_after(0.01):
                await call.get("NOTHING")
            await anyio.sleep(0.7)
    seen = []
    events = call.events()
    with anyio.move_on_after(0.6):
        async for event in events:
            seen.append(type(event).__name__)  # noqa: PERF401 - cut short by the time limit
    keys = await call.digits(max=4, timeout=0.01, digit_timeout=0.01)
    await call.set(SEEN=" ".join(seen), KEYS=keys, PID=str(os.getpid()), LIFE=str(call.attempt))
    await call.events().__anext__()


async def deaf(call: Call) -> None:
    """Ignores its cancellation."""
    with anyio.CancelScope(shield=True):
        await anyio.sleep(30)


def stuck(call: SyncCall) -> None:
    """Sits on its thread."""
    time.sleep(30)
