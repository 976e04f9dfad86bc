"""A session that is cancelled from outside, at each step of its life, leaves nothing behind."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from ivrd import Call

from .inprocess import Running, running


class AfterSteps(trio.abc.Instrument):
    """Cancels a scope when so many steps of tasks were made."""

    def __init__(self, steps: int, scope: trio.CancelScope) -> None:
        self.left = steps
        self.scope = scope

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.left -= 1
        if self.left == 0:
            self.scope.cancel()


async def talks(call: Call) -> None:
    try:
        await call.play("short", interrupt=True)
        await call.get("A", "B")
        await call.digits("welcome", max=2, timeout=1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call.play, "short")
            nursery.start_soon(call.log, "x")
        await call.send_dtmf("W")
        for number in range(5):
            await call.set(N=str(number))
    finally:
        with trio.CancelScope(shield=True):
            await trio.sleep(0.1)


async def act(one: Running, hangup: bool) -> None:
    await one.caller.hears("welcome")
    one.caller.press("1")
    if hangup:
        await trio.sleep(1.5)
        one.caller.hangup()
    await one.end()


@pytest.mark.parametrize("hangup", [False, True])
def test_cancelling_at_each_step_leaves_nothing(hangup: bool) -> None:
    async def main(steps: int) -> tuple[Running, bool]:
        with trio.CancelScope() as scope:
            instrument = AfterSteps(steps, scope)
            async with running(talks, room=1, hangup_grace=0.5) as one:
                trio.lowlevel.add_instrument(instrument)
                await act(one, hangup)
            trio.lowlevel.remove_instrument(instrument)
        # trio.run checks that no task is left; the fixture of all tests that no descriptor is.
        return one, scope.cancelled_caught

    steps, cancelled = 0, True
    while cancelled:
        steps += 1
        clock = trio.testing.MockClock(autojump_threshold=0)
        one, cancelled = trio.run(main, steps, clock=clock)
        assert one.caller.closed or (one.ended is None and steps < 5)
        assert one.errors.lines == [], (steps, one.errors.lines)
    assert steps > 50
    assert one.ended is not None
    assert one.ended.result == ("hangup" if hangup else "completed")
