"""How calls end: once, with one result, on time, whatever the handler does; in virtual time."""

from __future__ import annotations

import sys
from typing import Literal

import pytest
import trio
from trio.testing import MockClock

from ivrd import Call

from .inprocess import running, stopwatch

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
        one.caller.channel.stderr(b"half a line", one.caller.now())  # for the rest of which it waits

    async with running(handler) as one:
        ended = await one.end()
        assert ended.result == "completed"
        assert one.at == pytest.approx(5, abs=0.1)
        assert one.caller.closed
        assert one.caller.outcome is None


async def test_a_call_that_leaves_is_held_until_the_last_key_is_sent(autojump_clock: MockClock) -> None:
    """Asterisk reads nothing meanwhile; closed before it has read the `E`, it would hang up."""

    async def handler(call: Call) -> None:
        await call.send_dtmf("1" * 20)  # for seven seconds
        await call.send_dtmf("W" * 60)  # and a minute

    async with running(handler, idle_timeout=1.0) as one:
        ended = await one.end()
        assert ended.result == "completed"
        assert one.at == pytest.approx(0.1 + 20 * 0.35 + 0.1 + 60, abs=0.1)
        assert one.caller.outcome == "continued"


async def test_a_call_that_leaves_while_keys_are_sent_ends_when_the_caller_hangs_up(autojump_clock: MockClock) -> None:
    async def handler(call: Call) -> None:
        await call.send_dtmf("W" * 60)

    async with running(handler) as one:
        await trio.sleep(20)
        one.caller.hangup()
        await one.end()
        assert one.at == pytest.approx(20, abs=0.1)


async def test_a_call_that_is_hung_up_waits_for_no_keys(autojump_clock: MockClock) -> None:
    async def handler(call: Call) -> None:
        await call.send_dtmf("W" * 60)
        await call.hangup()

    async with running(handler) as one:
        await one.end()
        assert one.at == pytest.approx(5, abs=0.1)


async def test_while_keys_are_sent_a_call_is_not_idle(autojump_clock: MockClock) -> None:
    async def handler(call: Call) -> None:
        await call.send_dtmf("W" * 60)
        await trio.sleep_forever()

    async with running(handler, idle_timeout=10.0) as one:
        assert (await one.end()).result == "timeout"
        assert one.at == pytest.approx(70, abs=0.2)


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
