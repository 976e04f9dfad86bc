"""The app API against the model of Asterisk, in virtual time: variables, options, events, secrets and refusals."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from ivrd import Call, CallEnded, InvalidValue, NotAnswered, Played, eivr

from .inprocess import running


async def test_what_makes_no_sense_is_refused_before_anything_is_sent(autojump_clock: MockClock) -> None:
    async def handler(call: Call) -> None:
        for wrong in (
            lambda: call.digits(max=0),
            lambda: call.digits(terminators="x"),
            lambda: call.menu("short", {"12": 1}),
            lambda: call.play("short", ""),
            lambda: call.say_digits("1a"),
            lambda: call.say_number(10**9),
            lambda: call.send_dtmf("x"),
            lambda: call.get("A,B"),
            lambda: call.set(A="1,B=2"),
            lambda: call.set_function("SHELL(rm)", "x"),
        ):
            with pytest.raises(InvalidValue):
                await wrong()

    async with running(handler, allow_functions=("CALLERID",)) as one:
        ended = await one.end()
    assert ended.result == "completed", one.errors.lines
    assert one.caller.commands == ["V,IVRD_STATUS=OK", "E,the handler returned"]
    assert ended.tally.refused == {"invalid_value": 7}


async def test_a_caller_id_that_would_write_a_file_is_refused_and_the_app_goes_on(autojump_clock: MockClock) -> None:
    async def handler(call: Call) -> None:
        try:
            await call.set(NAME=call.args[0])
        except InvalidValue:
            await call.set(NAME="unknown")

    async with running(handler, b"Bob,FILE(/tmp/x)=y") as one:
        assert (await one.end()).result == "completed"
    assert one.caller.variables["NAME"] == "unknown"
    assert one.caller.channel.function_writes == []


async def test_functions_are_written_where_the_app_may(autojump_clock: MockClock) -> None:
    async def handler(call: Call) -> None:
        await call.set_function("CALLERID(name)", "Bob")

    async with running(handler, allow_functions=("CALLERID",)) as one:
        assert (await one.end()).result == "completed"
    assert one.caller.channel.function_writes == [("CALLERID(name)", "Bob")]


async def test_variables_are_read_one_by_one_whatever_is_in_them(autojump_clock: MockClock) -> None:
    seen: list[object] = []

    async def handler(call: Call) -> None:
        seen.append(await call.get("A"))
        seen.append(await call.get("A", "B", "C"))
        seen.append(await call.params())

    async with running(handler, variables={"A": "x,B=y", "C": "1,2"}) as one:
        await one.end()
    assert seen == ["x,B=y", ("x,B=y", "", "1,2"), ("/bin/app", "one")]


async def test_questions_of_concurrent_tasks_get_their_own_answers(autojump_clock: MockClock) -> None:
    seen: dict[str, str] = {}

    async def handler(call: Call) -> None:
        async def ask(name: str) -> None:
            seen[name] = await call.get(name)

        async with trio.open_nursery() as nursery:
            for name in "ABCDEF":
                nursery.start_soon(ask, name)
            await trio.lowlevel.checkpoint()
            nursery.start_soon(call.params)
            with trio.move_on_after(0):
                await call.get("A")

    async with running(handler, variables={name: name * 3 for name in "ABCDEF"}) as one:
        await one.end()
    assert seen == {name: name * 3 for name in "ABCDEF"}


async def test_nothing_plays_before_the_answer_under_option_n(autojump_clock: MockClock) -> None:
    seen: list[object] = []

    async def handler(call: Call) -> None:
        with pytest.raises(NotAnswered):
            await call.play("short", "short")
        await call.answer()
        seen.append(await call.play("short"))

    async with running(handler, options="n") as one:
        assert (await one.end()).result == "completed", one.errors.lines
    assert seen == [Played(finished=("short",))]


async def test_a_channel_that_cannot_be_answered_raises(autojump_clock: MockClock) -> None:
    async def handler(call: Call) -> None:
        with pytest.raises(NotAnswered, match="ANSWER_FAILURE"):
            await call.answer()
        await call.set(STILL="here")

    async with running(handler, options="nd", hung_up=True) as one:
        assert (await one.end()).result == "completed", one.errors.lines
    assert one.caller.variables["STILL"] == "here"


async def test_a_dead_channel_can_be_asked_but_not_played_to(autojump_clock: MockClock) -> None:
    async def handler(call: Call) -> None:
        with pytest.raises(NotAnswered):
            await call.play("short")
        await call.set(B=await call.get("A"))

    async with running(handler, options="d", answered=True, hung_up=True, variables={"A": "1"}) as one:
        assert (await one.end()).result == "completed", (one.ended, one.caller.commands, one.caller.log)
    assert one.caller.variables["B"] == "1"


async def test_events_are_all_there_and_stay_keys_for_digits(autojump_clock: MockClock) -> None:
    seen: list[eivr.Event] = []

    async def handler(call: Call) -> None:
        events = call.events()

        async def listen() -> None:
            async for event in events:
                seen.append(event)  # noqa: PERF401 - what came before the cancellation is to be seen

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            await call.play("short")
            await call.set(KEYS=await call.digits(max=2))
            nursery.cancel_scope.cancel()

    async with running(handler) as one:
        one.caller.press("12")
        await one.end()
    assert [eivr.tag(event) for event in seen] == ["key", "key", "F"]
    assert one.caller.variables["KEYS"] == "12"


async def test_an_app_that_takes_no_events_loses_the_oldest_and_is_told(autojump_clock: MockClock) -> None:
    async def handler(call: Call) -> None:
        events = call.events()
        await call.get(*["A"] * 1030)
        assert events.dropped == 6
        first = await anext(events)
        assert isinstance(first, eivr.Variables)
        await call.set(OK="yes")

    async with running(handler) as one:
        assert (await one.end()).result == "completed", one.errors.lines
    assert one.caller.variables["OK"] == "yes"


async def test_digits_and_numbers_are_said_with_stock_prompts(autojump_clock: MockClock) -> None:
    async def handler(call: Call) -> None:
        await call.say_digits("40*# -1")
        await call.say_number(-1_342_015)

    async with running(handler) as one:
        await one.end()
    said = " ".join(heard.prompt.removeprefix("digits/") for heard in one.caller.heard)
    assert said == "4 0 star pound minus 1 minus 1 million 3 hundred 40 2 thousand 15"


async def test_what_is_sent_to_the_other_end_and_to_the_log(autojump_clock: MockClock) -> None:
    async def handler(call: Call) -> None:
        await call.send_dtmf("12w#", interval_ms=100, duration_ms=150)
        await call.log("hello\nthere")

    async with running(handler) as one:
        await one.end()
    assert one.sent("D") == ["12w#,100,150"]
    assert one.sent("L") == ["hello there"]


async def test_secret_digits_are_in_no_line_that_is_logged_anywhere(autojump_clock: MockClock) -> None:
    async def handler(call: Call) -> None:
        pin = await call.digits(max=4, secret=True)
        await call.log(f"pin is {pin}")
        raise ValueError(f"bad pin {pin}")

    async with running(handler) as one:
        one.caller.press("4711")
        ended = await one.end()
    assert ended.result == "app_error"
    assert ended.detail == "ValueError: bad pin ****"
    assert one.sent("L") == ["pin is ****"]
    assert one.errors.events == ["call.app_error"]
    said = repr(one.errors.lines) + repr(one.caller.log) + repr(ended.tally)
    assert "bad pin ****" in said
    assert "4711" not in said


async def test_secret_digits_are_not_in_the_last_word_either(autojump_clock: MockClock) -> None:
    async def handler(call: Call) -> None:
        await call.exit(f"pin was {await call.digits(max=4, secret=True)}")

    async with running(handler) as one:
        one.caller.press("4711")
        assert (await one.end()).detail == "pin was ****"
    assert one.sent("E") == ["pin was ****"]


async def test_keys_behind_a_wrong_one_are_thrown_away(autojump_clock: MockClock) -> None:
    async def handler(call: Call) -> None:
        assert await call.menu("welcome", "1", invalid="short", timeout=2) is None

    async with running(handler) as one:
        await one.caller.hears("welcome")
        one.caller.press("91")
        assert (await one.end()).result == "completed"


async def test_commands_that_find_no_room_wait_and_stay_in_order(autojump_clock: MockClock) -> None:
    async def handler(call: Call) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(call.log, f"line {number}")
                if number % 7 == 0:
                    await trio.lowlevel.checkpoint()
        await call.send_dtmf("1")  # the thread is busy: nothing is read meanwhile
        for number in range(50, 60):
            await call.log(f"line {number}")

    async with running(handler, room=1) as one:
        await one.end()
    said = [line.text.removeprefix("Log message from EIVR: ") for line in one.caller.log]
    said = [line for line in said if line.startswith("line")]
    assert sorted(said[:50]) == sorted(f"line {number}" for number in range(50))
    assert said[50:] == [f"line {number}" for number in range(50, 60)]


async def test_methods_raise_once_the_call_is_over(autojump_clock: MockClock) -> None:
    seen: list[type[Exception]] = []

    async def handler(call: Call) -> None:
        try:
            await call.play("long")
        finally:
            with trio.CancelScope(shield=True):
                for act in (
                    lambda: call.play("short"),
                    lambda: call.set(A="1"),
                    lambda: call.get("A"),
                    call.digits,
                    call.exit,
                    call.hangup,
                    call.interrupt,
                ):
                    try:
                        await act()
                    except CallEnded as error:
                        seen.append(type(error))
            assert call.hungup

    async with running(handler) as one:
        await trio.sleep(1)
        one.caller.hangup()
        ended = await one.end()
    assert ended.result == "hangup"
    assert seen == [CallEnded] * 7
    assert one.errors.lines == []
    assert ended.tally.refused["call_ended"] >= 3
