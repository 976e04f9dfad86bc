"""The app API against the model of Asterisk, in virtual time: what apps are told, and what Asterisk is."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from ivrd import Call, Played, PromptNotFound

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
