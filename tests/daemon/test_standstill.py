"""Workers that are blocked, a daemon that is stopped, a machine that stands still: no caller pays for what time did."""

from __future__ import annotations

import os
import resource
import signal
from collections import Counter
from contextlib import suppress

import trio

from ivrd.wire.messages import Result
from tests.chaos.rig import Rig, all_ended, open_rig

NAP = """
import time
from ivrd import Call

async def main(call: Call) -> None:
    if call.args:
        time.sleep(float(call.args[0]))
    await call.set(PID="1")
    async for event in call.events():
        pass
"""


async def results(rig: Rig, expected: dict[Result, int]) -> None:
    async def match() -> bool:
        return (await rig.status()).results == expected

    await rig.until(match, f"the books' {expected}")


async def test_a_blocked_worker_gets_no_new_callers_and_loses_none_to_the_other() -> None:
    async with open_rig('[apps.x]\nhandler = "nap:main"\nworkers = 2\n', files={"nap.py": NAP}) as rig:
        blocker = rig.dial("x", "5")
        await blocker.exited()
        calls = []
        for _ in range(10):
            calls.append(rig.dial("x"))
            await trio.sleep(0.1)
        for call in calls:
            await call.until(lambda call=call: "PID" in call.variables, "the other worker", 4)  # type: ignore[misc]
        assert "PID" not in blocker.variables, "it is blocked all the while"
        for call in (blocker, *calls):
            call.hangup()
        # What was taken back from it is no call of its own once it comes to itself, and its places are free.
        await rig.until(lambda: rig.books_are(0), "empty books")
        status = await rig.app("x")
        assert (status.busy, status.capacity) == (0, 400)


async def test_a_worker_out_of_descriptors_keeps_no_place_for_a_call_that_never_came() -> None:
    config = '[apps.hold]\nhandler = "apps:hold"\nworkers = 1\nconcurrency = 20\nqueue_timeout = 1\n'
    async with open_rig(config) as rig:
        (worker,) = rig.service.workers("hold")
        (live,) = await rig.live(1)
        limit = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{worker}/fd")) + 1, limit[1]))
        calls = [rig.dial("hold") for _ in range(4)]
        await all_ended(calls)
        assert {call.variables["IVRD_STATUS"] for call in calls} == {"OVERLOADED"}
        resource.prlimit(worker, resource.RLIMIT_NOFILE, limit)

        async def one_is_taken() -> bool:
            return (await rig.app("hold")).busy == 1

        await rig.until(one_is_taken, "the places of calls that never came")
        (again,) = await rig.live(1)
        for call in (live, again):
            call.hangup()
        await all_ended([live, again])


async def test_a_machine_that_stood_still_cuts_no_call() -> None:
    """As `docker pause`, a frozen cgroup or a virtual machine that was moved."""
    async with open_rig('[apps.hold]\nhandler = "apps:hold"\nworkers = 3\nheartbeat_timeout = 1\n') as rig:
        live = await rig.live(9)
        everybody = [rig.service.pid, *rig.service.workers("hold")]
        for pid in everybody:
            os.kill(pid, signal.SIGSTOP)
        await trio.sleep(2)
        for pid in everybody:
            os.kill(pid, signal.SIGCONT)
        await trio.sleep(1.5)  # in which one that is judged by the clock would be killed
        assert rig.service.lines("worker_stuck") == []
        assert await rig.books_are(9)
        for call in live:
            call.hangup()
        await all_ended(live)


async def test_calls_that_ended_while_the_daemon_was_stopped_are_booked_as_they_ended() -> None:
    async with open_rig('[apps.wait]\nhandler = "apps:wait"\nworkers = 2\nmax_duration = 1.5\n') as rig:
        calls = [rig.dial("wait", "1.0") for _ in range(30)]
        for call in calls:
            await call.exited()
        rig.service.signal(signal.SIGSTOP)
        await all_ended(calls)
        await trio.sleep(2.5)  # beyond what the daemon itself would hold them to
        rig.service.signal(signal.SIGCONT)
        await results(rig, {"completed": 30})


async def test_a_call_that_began_while_the_daemon_was_stopped_goes_on() -> None:
    async with open_rig('[apps.hold]\nhandler = "apps:hold"\nworkers = 1\n') as rig:
        (worker,) = rig.service.workers("hold")

        async def given() -> bool:
            return (await rig.status()).calls == {"starting": 1}

        while True:
            os.kill(worker, signal.SIGSTOP)
            call = rig.dial("hold")
            await rig.until(given, "the hand-over")
            rig.service.signal(signal.SIGSTOP)
            os.kill(worker, signal.SIGCONT)
            with suppress(AssertionError):
                await call.until(lambda call=call: "PID" in call.variables, "the app's start", 3)  # type: ignore[misc]
                break
            # We were too slow, and the call was taken back before the daemon stood still.
            rig.service.signal(signal.SIGCONT)
            call.hangup()
            await rig.until(lambda: rig.books_are(0), "another try")
            rig.service.clear_log()
        await trio.sleep(1.5)
        rig.service.signal(signal.SIGCONT)
        await rig.until(lambda: rig.books_are(1), "the running call")
        assert call.channel.ended is None
        call.hangup()
        await all_ended([call])
        assert Counter(line["result"] for line in rig.service.wait_lines("ivrd_call")) == {"hangup": 1}
