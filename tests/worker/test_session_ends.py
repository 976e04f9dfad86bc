"""One call in a worker, in virtual time: option `i`, what is counted and said at its ends."""

from __future__ import annotations

import queue
import threading
from typing import Literal

import pytest
import trio
from trio.testing import MockClock

from ivrd import Call, CallEnded, SyncCall

from .inprocess import Running, running

Action = Literal["hangup", "exit"]


async def forever(call: Call) -> None:
    await trio.sleep_forever()


async def ended_after_hangup(one: Running) -> str:
    await trio.sleep(1)
    one.caller.hangup()
    ended = await one.end()
    assert one.caller.outcome == "continued"
    assert one.errors.lines == []
    return ended.result


async def test_under_option_i_the_handler_goes_on_after_the_hangup(autojump_clock: MockClock) -> None:
    async def handler(call: Call) -> None:
        with pytest.raises(CallEnded):
            await call.play("long")
        assert call.hungup
        for act in (lambda: call.play("short"), call.digits, lambda: call.menu("short", "1"), call.interrupt):
            with pytest.raises(CallEnded):
                await act()
        await trio.sleep(2)
        await call.set(AFTER=await call.get("BEFORE"))
        await call.log("still here")

    async with running(handler, options="i", variables={"BEFORE": "x"}) as one:
        assert await ended_after_hangup(one) == "hangup"
    assert one.caller.variables["AFTER"] == "x"
    assert one.at == pytest.approx(3, abs=0.1)


async def test_under_option_i_a_handler_may_let_call_ended_pass(autojump_clock: MockClock) -> None:
    async def handler(call: Call) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call.play, "long")
            await call.digits(timeout=30)

    async with running(handler, options="i") as one:
        assert await ended_after_hangup(one) == "hangup"


async def test_under_option_i_who_waits_for_a_key_is_told_of_the_hangup(autojump_clock: MockClock) -> None:
    async def handler(call: Call) -> None:
        await call.digits(timeout=30)

    async with running(handler, options="i") as one:
        assert await ended_after_hangup(one) == "hangup"
    assert one.at == pytest.approx(1, abs=0.1)


async def test_under_option_i_idle_time_counts_from_the_hangup(autojump_clock: MockClock) -> None:
    async def handler(call: Call) -> None:
        await call.queue("long")
        await trio.sleep_forever()

    async with running(handler, options="i", idle_timeout=20.0) as one:
        await trio.sleep(5)
        one.caller.hangup()
        assert (await one.end()).result == "timeout"
    assert one.at == pytest.approx(25, abs=0.1)


async def test_under_option_i_other_errors_are_errors(autojump_clock: MockClock) -> None:
    async def handler(call: Call) -> None:
        try:
            await call.play("long")
        except CallEnded:
            raise ValueError("bad") from None

    async with running(handler, options="i", on_error="exit") as one:
        await trio.sleep(1)
        one.caller.hangup()
        assert (await one.end()).result == "app_error"


@pytest.mark.parametrize(
    ("behind", "result"),
    [(b"H,1800000000\n", "hangup"), (b"I,1800000000,HANGUP\n", "hangup"), (b"E,1800000000\n", "completed")],
)
async def test_an_end_in_the_same_read_as_a_key_that_interrupts(
    autojump_clock: MockClock, behind: bytes, result: str
) -> None:
    """A loop that is late reads all at once: what the key would have stopped is over by then."""
    seen: list[str] = []

    async def handler(call: Call) -> None:
        try:
            await call.digits("long", max=4)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
                seen.append("cleaned up")

    async with running(handler) as one:
        await one.caller.hears("long")
        one.caller._write(b"5,1800000000\n" + behind)
        ended = await one.end()
    assert ended.result == result
    assert seen == ["cleaned up"]
    assert one.errors.lines == []


@pytest.mark.parametrize("end", [b"H,1800000000\n", b"E,1800000000\n"])
async def test_nothing_is_said_to_a_call_that_was_over_before_its_start(autojump_clock: MockClock, end: bytes) -> None:
    async with running(forever, set_call_id=True, early=b"5,1800000000\n" + end) as one:
        one.caller.hangup()
        await one.end()
    assert one.caller.commands == []


def test_a_thread_that_comes_back_when_all_is_over_is_told_so() -> None:
    blocked = threading.Event()
    seen: queue.Queue[BaseException] = queue.Queue()

    def handler(call: SyncCall) -> None:
        blocked.wait(30)
        try:
            call.log("hello?")
        except BaseException as error:
            seen.put(error)

    async def main() -> None:
        async with running(handler, hangup_grace=0.1) as one:
            await trio.sleep(0.1)
            one.caller.hangup()
            assert (await one.end()).result == "hangup"
            assert one.session.stuck

    trio.run(main)
    blocked.set()
    assert isinstance(seen.get(timeout=30), CallEnded)


async def test_the_call_id_is_set_and_logged_where_it_is_wanted(autojump_clock: MockClock) -> None:
    async with running(forever, set_call_id=True, log_call_id=True) as one:
        await trio.sleep(1)
        assert one.caller.commands == ["V,IVRD_CALL_ID=call1", "L,ivrd call call1"]
        one.caller.hangup()
        ended = await one.end()
    assert ended.tally.first_command is None


async def test_the_tally(autojump_clock: MockClock) -> None:
    async def handler(call: Call) -> None:
        await trio.sleep(2)
        await call.digits("long", max=2)
        await trio.sleep(0.25)
        await call.log("x")
        await trio.sleep(0.25)
        await call.log("y")

    async with running(handler) as one:
        await trio.sleep(3)
        one.caller._inbox += b"garbage\n"
        one.caller.press("12")
        await trio.sleep(0.1)
        part = one.session.count()
        ended = await one.end()
        rest = one.session.count()
    tally = ended.tally
    assert tally.events == {"key": 2, "T": 1, "E": 1}
    assert tally.commands == {"A": 1, "I": 1, "L": 2, "V": 1, "E": 1}
    assert tally.malformed == 1
    assert tally.first_command == pytest.approx(2, abs=0.01)
    assert tally.responses == [pytest.approx(0.25, abs=0.01)]
    assert part.events == {"key": 2, "T": 1}
    assert part.first_command == tally.first_command
    assert rest.events == {"E": 1}
    assert rest.commands == {"L": 2, "V": 1, "E": 1}
    assert rest.first_command is None
    assert rest.responses == tally.responses
    assert one.session.count().events == {}


async def test_cancelling_the_session_from_outside_ends_it_without_a_verdict_on_the_app(
    autojump_clock: MockClock,
) -> None:
    async with running(forever) as one:
        await trio.sleep(1)
    assert one.ended is None
    assert one.errors.lines == []
