"""Handlers that the tests run in real workers, on either backend."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import sniffio

from ivrd import Call, CallEnded, SyncCall

stuck = threading.Event()


async def hello(call: Call) -> None:
    name = await call.digits("welcome", max=4, timeout=60)
    await call.set(NAME=name, ARGS="|".join(call.args))
    await call.play("short")


async def environment(call: Call) -> None:
    await call.set(SPEC=os.environ.get("IVRD_WORKER", "gone"), BACKEND=sniffio.current_async_library())


async def naps(call: Call) -> None:
    """Blocks the whole worker for a moment."""
    await call.set(NAP="begun")
    time.sleep(1)  # noqa: ASYNC251 - that is what is tested
    await hold(call)


async def prints(call: Call) -> None:
    print("an app", "says something")
    await hold(call)


async def hold(call: Call) -> None:
    """Stays until the caller hangs up, answers keys meanwhile."""
    try:
        while True:
            await call.set(KEY=await call.digits(max=1, timeout=1000))
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(float(call.args[0]) if call.args else 0)


def call_back(call: SyncCall) -> None:
    played = call.play("short", interrupt=True)
    assert played.complete
    number = call.digits("welcome", max=3, timeout=60)
    choice = call.menu("short", {"1": "one"}, timeout=60)
    first, second = call.get("A", "B")
    events = call.events()
    call.log("hello")
    call.set(NUMBER=number, CHOICE=choice or "none", AB=first + second, PARAMS="|".join(call.params()))
    next(events)
    call.say_number(1)


def blocked(call: SyncCall) -> None:
    stuck.wait(60)


def waits(call: SyncCall) -> None:
    try:
        call.play("long")
    except CallEnded:
        os.write(2, b"told\n")
        raise


def leaves(call: SyncCall) -> None:
    if call.args == ("exit",):
        call.exit("enough")
    if call.args == ("threads",):
        threads = [threading.Thread(target=call.log, args=(str(n),)) for n in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return
    sys.exit(call.args[0])


async def task_left(call: Call) -> None:
    """asyncio only: tasks that outlive the handler, or raise what stops a loop."""

    async def linger() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            os.write(2, b"lingering task was cancelled\n")

    async def leave() -> None:
        sys.exit("from a task")

    async def nest() -> None:
        call_of_nest = asyncio.create_task(linger())
        await asyncio.sleep(0)
        del call_of_nest

    loop = asyncio.get_running_loop()
    loop.call_soon(sys.exit, "from a callback")
    tasks = [asyncio.create_task(nest()), asyncio.create_task(leave())]
    await call.play("short")
    del tasks


async def task_group(call: Call) -> None:
    """asyncio only: sys.exit in a task of a group of asyncio's own."""
    async with asyncio.TaskGroup() as group:
        group.create_task(_exit())
        await call.play("long")


async def _exit() -> None:
    sys.exit("from a group")


async def flood(call: Call) -> None:
    for number in range(5000):
        await call.set(N=str(number))


async def blocks_the_loop(call: Call) -> None:
    await call.play("short")
    time.sleep(1.5)  # noqa: ASYNC251 - that is what is tested


async def ignores(call: Call) -> None:
    with anyio.CancelScope(shield=True):
        await anyio.sleep(3)


@asynccontextmanager
async def lifespan() -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        os.write(2, b"entered\n")
        tasks.start_soon(anyio.sleep_forever)
        yield
        os.write(2, b"left\n")
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def slow_lifespan() -> AsyncIterator[None]:
    yield
    await anyio.sleep(60)


@asynccontextmanager
async def broken_lifespan() -> AsyncIterator[None]:
    raise OSError("no database")
    yield


@asynccontextmanager
async def breaking_lifespan() -> AsyncIterator[None]:
    async def lose() -> None:
        await anyio.sleep(0.5)
        raise OSError("database lost")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lose)
        yield


def not_a_lifespan() -> int:
    return 1


def no_argument() -> None:
    pass


constant = 1


async def flood_of_questions(call: Call) -> None:
    names = ["A"] * 5000
    await call.get(*names)
    await call.set(KEYS=await call.digits(max=1))


async def by_name(call: Call) -> None:
    """Runs the handler that the first argument names, so that different ones share a worker."""
    handler = globals()[call.args[0]]
    call.args = call.args[1:]
    await handler(call)


async def quick(call: Call) -> None:
    """Returns at once."""


async def busy(call: Call) -> None:
    """Asterisk is busy for two seconds with what this asks for, and closes only then."""
    await call.send_dtmf("WW")


async def leaves_a_backlog(call: Call) -> None:
    """Returns while Asterisk takes nothing and its pipe is full."""
    await call.send_dtmf("WW")
    with anyio.move_on_after(0.3):
        await call.play(*["short"] * 100)


async def tells_its_end(call: Call) -> None:
    try:
        await call.play("long", interrupt=True)
    except BaseException as error:
        os.write(2, f"{type(error).__name__}\n".encode())
        raise
