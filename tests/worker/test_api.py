"""The app API against the model of Asterisk, in virtual time: what apps are told, and what Asterisk is."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from ivrd import Call, CallEnded, InvalidValue, NotAnswered, Played, PromptNotFound, eivr

from .inprocess import running, stopwatch


async def test_a_handler_that_returns_leaves_to_the_dialplan(autojump_clock: MockClock) -> None:
    async def handler(call: Call) -> None:
        assert (call.id, call.app, call.args, call.attempt) == ("call1", "menu", ("a", "b\udcff"), 1)
        assert call.started.timestamp() == 1.8e9
        assert call.started.tzinfo is not None

    async with running(handler, b"a", b"b\xff") as one:
        ended = await one.end()
    assert ended.result == "completed"
    assert one.caller.outcome == "continued"
    assert one.caller.variables == {"IVRD_STATUS": "OK"}


async def test_play_ends_when_the_prompts_have_finished(autojump_clock: MockClock) -> None:
    clock = stopwatch()
    seen: list[tuple[Played, float]] = []

    async def handler(call: Call) -> None:
        seen.append((await call.play("welcome", "short"), clock()))

    async with running(handler) as one:
        await one.end()
    ((played, at),) = seen
    assert played == Played(finished=("welcome", "short"))
    assert played.complete
    assert at == pytest.approx(1.2, abs=0.1)


async def test_a_key_stops_the_prompt_at_once_even_if_the_app_is_busy(autojump_clock: MockClock) -> None:
    seen: list[Played] = []

    async def handler(call: Call) -> None:
        async with trio.open_nursery() as nursery:

            async def play() -> None:
                seen.append(await call.play("welcome", "long", "short", interrupt="5#"))

            nursery.start_soon(play)

    async with running(handler) as one:
        await one.caller.hears("long")
        one.caller.press("4")
        await trio.sleep(1)
        assert one.sent("I") == []
        one.caller.press("5")
        await trio.testing.wait_all_tasks_blocked()
        assert one.sent("I") == ["x"]
        await one.end()
    assert seen == [Played(finished=("welcome",), interrupted="long", dropped=("short",), key="5")]
    assert not seen[0].complete


async def test_a_prompt_that_is_not_there_raises_and_the_others_are_dropped(autojump_clock: MockClock) -> None:
    async def handler(call: Call) -> None:
        try:
            await call.play("long", "nope", "short")
        except PromptNotFound as error:
            await call.set(MISSING=error.prompt)
        await call.play("short")

    async with running(handler) as one:
        await one.end()
    assert one.caller.variables["MISSING"] == "nope"
    assert [heard.prompt for heard in one.caller.heard if heard.how == "finished"] == ["short"]
    assert one.at < 5


async def test_a_prompt_that_cannot_be_opened_is_noticed_when_the_next_one_finishes(autojump_clock: MockClock) -> None:
    seen: list[Played] = []

    async def handler(call: Call) -> None:
        seen.append(await call.play("short", "locked", "welcome"))

    async with running(handler) as one:
        await one.end()
    assert seen == [Played(finished=("short", "welcome"), lost=("locked",))]


async def test_a_prompt_that_cannot_be_opened_and_is_the_last_is_given_up_in_time(autojump_clock: MockClock) -> None:
    clock = stopwatch()
    seen: list[tuple[Played, float]] = []

    async def handler(call: Call) -> None:
        seen.append((await call.play("short", "locked", longest=30), clock()))

    async with running(handler) as one:
        await one.end()
    ((played, at),) = seen
    assert played == Played(finished=("short",), lost=("locked",))
    assert 30 < at < 33


async def test_cancelling_a_play_stops_it(autojump_clock: MockClock) -> None:
    async def handler(call: Call) -> None:
        with trio.move_on_after(3):
            await call.play("long")
        await trio.sleep(1)

    async with running(handler) as one:
        await one.end()
    (heard,) = one.caller.heard
    assert heard.how == "interrupted"
    assert heard.end == pytest.approx(3, abs=0.1)


async def test_queued_prompts_play_on_while_the_app_goes_on_and_can_be_stopped(autojump_clock: MockClock) -> None:
    async def handler(call: Call) -> None:
        await call.interrupt()
        await call.queue("long", "short")
        await trio.sleep(2)
        await call.interrupt()
        await trio.sleep(1)

    async with running(handler) as one:
        await one.end()
    assert [(heard.prompt, heard.how) for heard in one.caller.heard] == [("long", "interrupted")]
    assert one.sent("I") == ["x"]


async def test_digits_are_those_that_were_pressed_up_to_the_terminator(autojump_clock: MockClock) -> None:
    async def handler(call: Call) -> None:
        await call.set(FIRST=await call.digits("welcome", max=8))
        await call.set(SECOND=await call.digits(max=3, terminators="*"))

    async with running(handler) as one:
        await one.caller.hears("welcome")
        one.caller.press("12")
        await trio.sleep(1)
        one.caller.press("3#")
        await trio.sleep(1)
        one.caller.press("#12")
        await one.end()
    assert one.caller.variables["FIRST"] == "123"
    assert one.caller.variables["SECOND"] == "#12"
    assert one.caller.heard[0].how == "interrupted"


@pytest.mark.parametrize(("pressed", "expected", "at"), [("", "", 1 + 7), ("1", "1", 0.5 + 2), ("12", "12", 0.5 + 2)])
async def test_digits_wait_so_long_for_the_first_and_so_long_for_the_next(
    autojump_clock: MockClock, pressed: str, expected: str, at: float
) -> None:
    clock = stopwatch()
    seen: list[tuple[str, float]] = []

    async def handler(call: Call) -> None:
        seen.append((await call.digits("welcome", timeout=7, digit_timeout=2), clock()))

    async with running(handler) as one:
        await trio.sleep(0.5)
        one.caller.press(pressed)
        await one.end()
    ((digits, when),) = seen
    assert digits == expected
    assert when == pytest.approx(at, abs=0.1)


async def test_keys_pressed_before_the_question_count_and_leave_its_prompt_out(autojump_clock: MockClock) -> None:
    async def handler(call: Call) -> None:
        await call.play("short")
        await call.set(FIRST=await call.digits("long", max=2))
        await call.play("short")
        await call.set(SECOND=await call.digits("welcome", max=2, type_ahead=False))

    async with running(handler) as one:
        one.caller.press("12")
        await one.caller.hears("short")
        await one.caller.hears("short")
        one.caller.press("34")
        await one.caller.hears("welcome")
        one.caller.press("56")
        await one.end()
    assert one.caller.variables["FIRST"] == "12"
    assert one.caller.variables["SECOND"] == "56"
    assert "long" not in [heard.prompt for heard in one.caller.heard]


async def test_keys_that_were_read_before_the_start_are_type_ahead(autojump_clock: MockClock) -> None:
    async def handler(call: Call) -> None:
        await call.set(KEYS=await call.digits("long", max=3))

    async with running(handler, early=b"1,1800000000\n2,1800000000\n3,180000") as one:
        one.caller._inbox += b"0000\n"
        await one.end()
    assert one.caller.variables["KEYS"] == "123"


@pytest.mark.parametrize("pause", [0.0, 0.3, 2.0])
async def test_a_terminator_right_behind_a_full_entry_belongs_to_it(autojump_clock: MockClock, pause: float) -> None:
    async def handler(call: Call) -> None:
        await call.set(PIN=await call.digits(max=4))
        await call.set(NEXT=await call.digits("long", max=1))

    async with running(handler) as one:
        one.caller.press("1234" if pause else "1234#")
        await trio.sleep(pause)
        one.caller.press("#" if pause else "")
        await trio.sleep(0.1)
        one.caller.press("7")
        await one.end()
    assert one.caller.variables["PIN"] == "1234"
    assert one.caller.variables["NEXT"] == ("" if pause == 2.0 else "7")


async def test_a_menu_asks_again_after_a_wrong_key_and_after_none(autojump_clock: MockClock) -> None:
    async def handler(call: Call) -> None:
        key = await call.menu("welcome", "12", retries=3, timeout=4, invalid="short", no_input="other")
        await call.set(KEY=key or "none")

    async with running(handler) as one:
        await one.caller.hears("welcome")
        one.caller.press("9")
        await one.caller.hears("short")
        await one.caller.hears("welcome")
        await one.caller.hears("other")
        await one.caller.hears("welcome")
        one.caller.press("2")
        await one.end()
    assert one.caller.variables["KEY"] == "2"


async def test_a_menu_of_meanings_gives_the_meaning_and_none_when_all_tries_failed(autojump_clock: MockClock) -> None:
    async def handler(call: Call) -> None:
        assert await call.menu("short", {"1": 10, "*": 20}) == 20
        assert await call.menu("welcome", {"1": 10}, retries=1, timeout=2) is None
        await call.set(DONE="yes")

    async with running(handler) as one:
        await one.caller.hears("short")
        one.caller.press("*")
        await one.end()
    assert one.caller.variables["DONE"] == "yes"
    assert [heard.prompt for heard in one.caller.heard].count("welcome") == 2


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
