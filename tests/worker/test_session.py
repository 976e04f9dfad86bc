"""How calls end: once, with one result, on time, whatever the handler does; in virtual time."""

from __future__ import annotations

import queue
import sys
import threading
from typing import Literal

import pytest
import trio
from trio.testing import MockClock

from ivrd import Call, CallEnded, SyncCall

from .inprocess import Running, running, stopwatch

Action = Literal["hangup", "exit"]


async def forever(call: Call) -> None:
    await trio.sleep_forever()


async def test_hangup_cancels_the_handler(autojump_clock: MockClock) -> None:
    clock = stopwatch()
    seen: list[float] = []

    async def handler(call: Call) -> None:
        try:
            await call.play("long")
        finally:
            assert call.hungup
            seen.append(clock())

    async with running(handler) as one:
        await trio.sleep(3)
        one.caller.hangup()
        ended = await one.end()
    assert seen == [pytest.approx(3, abs=0.1)]
    assert (ended.result, ended.detail) == ("hangup", "the caller hung up")
    assert one.caller.commands == ["A,long"]
    assert one.caller.closed


async def test_clean_up_has_its_time_and_no_more(autojump_clock: MockClock) -> None:
    seen: list[str] = []

    async def clean_up(call: Call) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(4)
                seen.append("cleaned up")

    async with running(clean_up, hangup_grace=5.0) as one:
        one.caller.hangup()
        await one.end()
        assert one.at == pytest.approx(4, abs=0.1)
        assert not one.session.stuck
    assert seen == ["cleaned up"]
    assert one.errors.lines == []

    async with running(clean_up, hangup_grace=3.0) as one:
        one.caller.hangup()
        ended = await one.end()
        assert one.at == pytest.approx(3, abs=0.1)
        assert ended.result == "hangup"
        assert one.session.stuck
        assert one.errors.events == ["call.stuck"]
        assert seen == ["cleaned up"]
        await trio.sleep(2)
        assert not one.session.stuck


async def test_an_exception_in_cleanup_is_logged_and_changes_nothing(autojump_clock: MockClock) -> None:
    async def handler(call: Call) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("in cleanup")

    async with running(handler) as one:
        one.caller.hangup()
        ended = await one.end()
    assert ended.result == "hangup"
    assert one.errors.events == ["call.cleanup_error"]
    assert "in cleanup" in str(one.errors.lines[0][1]["exception"])


@pytest.mark.parametrize("on_error", ["hangup", "exit"])
@pytest.mark.parametrize("error", [ValueError("bad"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
async def test_whatever_a_handler_raises_is_an_error_of_the_app(
    autojump_clock: MockClock, error: BaseException, on_error: Action
) -> None:
    async def handler(call: Call) -> None:
        raise error

    async with running(handler, on_error=on_error) as one:
        ended = await one.end()
    name = type(error).__name__
    assert ended.result == "app_error"
    assert ended.detail.startswith(name)
    assert one.caller.variables == {"IVRD_STATUS": "ERROR"}
    assert one.caller.outcome == ("continued" if on_error == "exit" else "hungup_by_app")
    (line,) = [line.text for line in one.caller.log if line.text.startswith("stderr:")]
    assert line.startswith(f"stderr: ivrd: app menu failed in call call1: {name}")
    ((event, fields),) = one.errors.lines
    assert event == "call.app_error"
    assert "Traceback" in str(fields["exception"])


async def test_sys_exit_in_a_task_of_the_handlers(autojump_clock: MockClock) -> None:
    async def leave() -> None:
        sys.exit("bye")

    async def handler(call: Call) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(leave)
            await call.play("long")

    async with running(handler) as one:
        assert (await one.end()).result == "app_error"


@pytest.mark.parametrize("child", [False, True])
@pytest.mark.parametrize("shielded", [False, True])
async def test_exit_inside_a_play_leaves_at_once(autojump_clock: MockClock, child: bool, shielded: bool) -> None:
    seen: list[str] = []

    async def leave(call: Call) -> None:
        await trio.sleep(2)
        try:
            with trio.CancelScope(shield=shielded):
                await call.exit("enough")
        finally:
            seen.append("unwound")

    async def handler(call: Call) -> None:
        async with trio.open_nursery() as nursery:
            if child:
                nursery.start_soon(leave, call)
                await call.play("long")
            else:
                nursery.start_soon(call.play, "long")
                await leave(call)

    async with running(handler) as one:
        ended = await one.end()
    assert (ended.result, ended.detail) == ("completed", "enough")
    assert one.at == pytest.approx(2, abs=0.1)
    assert one.caller.outcome == "continued"
    assert one.caller.variables == {"IVRD_STATUS": "OK"}
    assert one.sent("E") == ["enough"]
    assert seen == ["unwound"]
    assert one.errors.lines == []


async def test_hangup_by_the_app(autojump_clock: MockClock) -> None:
    async def handler(call: Call) -> None:
        await call.hangup("go away")
        raise AssertionError("not reached")

    async with running(handler) as one:
        ended = await one.end()
    assert (ended.result, ended.detail) == ("hangup", "go away")
    assert one.caller.outcome == "hungup_by_app"
    assert one.caller.commands == ["H,go away"]


@pytest.mark.parametrize("on_timeout", ["hangup", "exit"])
async def test_max_duration_counts_from_the_admission(autojump_clock: MockClock, on_timeout: Action) -> None:
    async with running(forever, age=40.0, max_duration=100.0, idle_timeout=0.0, on_timeout=on_timeout) as one:
        ended = await one.end()
    assert (ended.result, ended.detail) == ("timeout", "max_duration of 100 s is over")
    assert one.at == pytest.approx(60, abs=0.1)
    assert one.caller.variables == {"IVRD_STATUS": "TIMEOUT"}
    assert one.caller.outcome == ("continued" if on_timeout == "exit" else "hungup_by_app")


async def test_idle_time_counts_from_the_last_event_or_command_and_not_while_a_prompt_plays(
    autojump_clock: MockClock,
) -> None:
    async def handler(call: Call) -> None:
        await trio.sleep(5)
        await call.log("a command")  # at 5
        await call.play("long")  # to 65
        await trio.sleep_forever()

    async with running(handler, idle_timeout=10.0) as one:
        await trio.sleep(70)
        one.caller.press("1")
        ended = await one.end()
    assert (ended.result, ended.detail) == ("timeout", "idle_timeout of 10 s is over")
    assert one.at == pytest.approx(80, abs=0.1)


async def test_a_prompt_that_never_ends_does_not_hold_the_idle_timeout_up_for_ever(autojump_clock: MockClock) -> None:
    async def handler(call: Call) -> None:
        await call.queue("locked")
        await trio.sleep_forever()

    async with running(handler, idle_timeout=10.0) as one:
        assert (await one.end()).result == "timeout"
    assert one.at == pytest.approx(610, abs=0.1)


async def test_a_deadline_holds_even_if_the_task_ignores_its_cancellation(autojump_clock: MockClock) -> None:
    async def handler(call: Call) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(1000)

    async with running(handler, max_duration=10.0, hangup_grace=2.0) as one:
        await one.caller.ended(20.0)
        assert one.caller.now() == pytest.approx(10, abs=0.1)
        ended = await one.end()
    assert ended.result == "timeout"
    assert one.at == pytest.approx(12, abs=0.1)


async def test_a_call_that_asterisk_does_not_close_is_closed_in_time(autojump_clock: MockClock) -> None:
    async def handler(call: Call) -> None:
        await call.send_dtmf("W" * 60)  # the channel thread is busy for a minute

    async with running(handler) as one:
        ended = await one.end()
        assert ended.result == "completed"
        assert one.at == pytest.approx(5, abs=0.1)
        assert one.caller.closed
        assert one.caller.outcome is None


async def test_asterisk_dies(autojump_clock: MockClock) -> None:
    async with running(forever) as one:
        one.caller.crash()
        ended = await one.end()
    assert (ended.result, ended.detail) == ("hangup", "Asterisk closed its side without a word")


async def test_a_call_hung_up_before_its_start_never_meets_the_app(autojump_clock: MockClock) -> None:
    async def handler(call: Call) -> None:
        raise AssertionError("not to be run")

    async with running(handler, early=b"1,1800000000\nH,1800000000\n") as one:
        one.caller.hangup()
        ended = await one.end()
    assert ended.result == "hangup"
    assert one.caller.commands == []
    assert one.errors.lines == []


async def test_a_dropped_call_says_nothing_more(autojump_clock: MockClock) -> None:
    async with running(forever) as one:
        await trio.sleep(1)
        one.session.drop()
        ended = await one.end()
        assert one.at == pytest.approx(1, abs=0.1)
    assert ended.result == "operator"
    assert one.caller.commands == []


async def test_a_stopping_service_hangs_up(autojump_clock: MockClock) -> None:
    async with running(forever) as one:
        await trio.sleep(1)
        one.session.stop()
        ended = await one.end()
    assert ended.result == "drained"
    assert one.caller.commands == ["H,ivrd stops"]


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
