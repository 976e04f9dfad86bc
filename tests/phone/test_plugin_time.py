"""The fixture `ivr` and time: that it is virtual, what it waits for, and what is told where it would wait for ever."""

from __future__ import annotations

import asyncio
import math
import socket
import threading
import time

import anyio
import pytest
import trio

from ivrd import Call, SyncCall
from ivrd.phone.caller import Ivr
from ivrd.phone.world import Hopeless
from ivrd.simulator.records import Outcome
from tests.phone.apps import menu


async def test_an_hour_takes_no_time(ivr: Ivr) -> None:
    began = time.process_time()
    caller = await ivr.dial(menu, keys="wait:welcome 2", max_duration=0, idle_timeout=0)
    ending = await caller.ended(timeout=4000)
    assert 3600 < ending.time < 3610
    assert time.process_time() - began < 1


async def test_the_apps_time_is_virtual_whatever_it_waits_with(ivr: Ivr, ivr_backend: str) -> None:
    waits: list[float] = []

    async def main(_call: Call) -> None:
        sleep = trio.sleep if ivr_backend == "trio" else asyncio.sleep
        for each in (sleep, anyio.sleep):
            began = anyio.current_time()
            await each(1000)
            waits.append(anyio.current_time() - began)

    caller = await ivr.dial(main, max_duration=0, idle_timeout=0)
    await caller.ended()
    assert waits == [1000, 1000]


async def test_time_waits_for_a_thread_that_works_and_goes_along_with_one_that_sleeps(
    ivr: Ivr, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(call: SyncCall) -> None:
        time.sleep(float(call.args[0]))
        call.play("done")

    # The other call's deadlines pass only when both wait.
    busy = await ivr.dial(menu, keys="wait:welcome 2", max_duration=0, idle_timeout=0)
    # On a busy machine work takes long, and the loop is late to see that it goes on.
    for seconds, free, least, most in (("0.1", 20, 0.0, 0.05), ("2", 0.25, 0.5, 60)):
        monkeypatch.setattr("ivrd.phone.virtual._FREE_S", free)
        caller = await ivr.dial(work, seconds)
        heard = await caller.hears("done")
        assert least <= heard.start <= most
        await caller.ended()
    assert busy.outcome is None
    await busy.hangup()


async def test_time_waits_for_the_threads_of_an_app_on_the_loop(ivr: Ivr, ivr_backend: str) -> None:
    async def main(call: Call) -> None:
        in_threads = [anyio.to_thread.run_sync] + [asyncio.to_thread] * (ivr_backend == "asyncio")
        for in_thread in in_threads:
            with anyio.fail_after(0.001):
                await in_thread(time.sleep, 0.05)
            await call.play("done")

    caller = await ivr.dial(main)
    await caller.ended()
    assert caller.prompts == ["done"] * (2 if ivr_backend == "asyncio" else 1)


async def test_time_waits_for_threads_under_limiters_of_the_apps_own(ivr: Ivr) -> None:
    async def main(call: Call) -> None:
        limiter = anyio.CapacityLimiter(2)
        for _ in range(3):
            with anyio.fail_after(0.001):
                await anyio.to_thread.run_sync(time.sleep, 0.05, limiter=limiter)
        await call.play("done")

    # A handler's own thread that waits for its call does not count, one that was given up neither.
    def waits(call: SyncCall) -> None:
        call.digits("long", timeout=2000)

    release = threading.Event()

    def stuck(call: SyncCall) -> None:
        release.wait()

    given_up = await ivr.dial(stuck, hangup_grace=1, max_duration=1)
    waiting = await ivr.dial(waits, max_duration=0, idle_timeout=0)
    await ivr.sleep(5)
    caller = await ivr.dial(main)
    await caller.ended()
    assert caller.prompts == ["done"]
    began = time.monotonic()
    assert (await waiting.ended(timeout=4000)).time > 2000
    assert time.monotonic() - began < 20
    release.set()
    assert "call.stuck" in given_up.unseen()[0]
    given_up._call.problems.clear()


async def test_what_never_comes_is_said_to_at_once(ivr: Ivr) -> None:
    async def main(_call: Call) -> None:
        await anyio.Event().wait()

    caller = await ivr.dial(main, max_duration=0, idle_timeout=0)
    began = time.monotonic()
    with pytest.raises(Hopeless, match=r"nothing will ever happen any more[^$]*hears|waits for something"):
        await caller.ended(timeout=math.inf)
    assert time.monotonic() - began < 20
    await caller.hangup()  # and it can go on
    assert (await caller.ended()).outcome is Outcome.HUNGUP_BY_CALLER


async def test_what_may_come_from_outside_is_waited_for(ivr: Ivr) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)

        async def main(call: Call) -> None:
            await anyio.wait_readable(ours)
            await call.play("done")

        caller = await ivr.dial(main, max_duration=0, idle_timeout=0)
        timer = threading.Timer(1.5, theirs.send, [b"x"])
        timer.start()
        await caller.ended(timeout=math.inf)
        timer.join()
    assert caller.prompts == ["done"]


async def test_callers_beside_each_other_and_time_between_steps(ivr: Ivr) -> None:
    callers = [await ivr.dial(menu, keys=f"pause:{n / 2} 1") for n in range(20)]
    await ivr.sleep(5.7)
    ended = [caller.outcome is not None for caller in callers]
    assert ended == [True] * 10 + [False] * 10
    for caller in callers:
        await caller.ended()
    assert {caller.variables["RESULT"] for caller in callers} == {"paid"}
