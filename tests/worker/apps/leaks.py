"""Handlers that let a PIN out by every way there is but the one that is shut: they return nothing of it."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from ivrd import Call, SyncCall

pins: list[asyncio.Queue[str]] = []
tasks: set[asyncio.Task[None]] = set()


def fail(pin: str) -> None:
    raise ValueError(f"bad pin {pin}")


async def fail_later(pin: str) -> None:
    fail(pin)


async def asked(call: Call) -> str:
    return await call.digits(max=4, timeout=60, secret=True)


async def raises(call: Call) -> None:
    fail(await asked(call))


async def task_group(call: Call) -> None:
    pin = await asked(call)
    async with anyio.create_task_group() as group:
        group.start_soon(fail_later, pin)


async def leaves(call: Call) -> None:
    await call.exit(f"bad pin {await asked(call)}")


async def task(call: Call) -> None:
    pin = await asked(call)
    tasks.add(asyncio.create_task(fail_later(pin)))
    await asyncio.wait(tasks)
    tasks.clear()


async def short_secret(call: Call) -> None:
    """Two digits are covered where it is known whose they are."""
    pin = await call.digits(max=2, timeout=60, secret=True)
    tasks.add(asyncio.create_task(fail_later(f"{pin}, {await asked(call)}")))
    await asyncio.wait(tasks)
    tasks.clear()


async def callback(call: Call) -> None:
    asyncio.get_running_loop().call_soon(fail, await asked(call))
    await asyncio.sleep(0.01)


async def exits(call: Call) -> None:
    pin = await asked(call)

    async def leave() -> None:
        sys.exit(f"bad pin {pin}")

    await asyncio.wait({asyncio.create_task(leave())})


async def lifespans_task(call: Call) -> None:
    pins[0].put_nowait(await asked(call))
    await asyncio.wait(tasks)
    tasks.clear()


@asynccontextmanager
async def lifespan() -> AsyncIterator[None]:
    """A task that is no handler's takes the PINs of all calls."""
    pins.append(asyncio.Queue())

    async def check() -> None:
        fail(await pins[0].get())

    tasks.add(asyncio.create_task(check()))
    yield


def thread(call: SyncCall) -> None:
    pin = call.digits(max=4, timeout=60, secret=True)
    failing = threading.Thread(target=fail, args=(pin,), name=f"checks {pin}")
    failing.start()
    failing.join()


class Finalized:
    def __init__(self, pin: str) -> None:
        self.pin = pin

    def __del__(self) -> None:
        fail(self.pin)


async def finalizer(call: Call) -> None:
    Finalized(await asked(call))
