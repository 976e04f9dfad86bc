"""A call's keys: what waits, what a terminator belongs to, and what each key was for."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from ivrd import Call, Key
from ivrd.worker.keys import KEYS_KEPT, Fate, Keys
from ivrd.worker.secrets import Secrets

from .inprocess import Running, running, stopwatch


def fates(keys: Keys) -> list[Fate]:
    return [keys.fate(number) for number in range(keys.pressed)]


def letters(of: Keys | Running) -> str:
    """The fate of each key by its first letter."""
    keys = of if isinstance(of, Keys) else of.session._channel.keys
    return "".join(fate[0] for fate in fates(keys))


def take(keys: Keys, most: int, *, terminators: str = "", secret: bool = False) -> str:
    """Answer a question with what waits."""
    with keys.secret_question() if secret else nullcontext():
        taken = [keys.take() for _ in range(min(most, len(keys.waiting)))]
        if len(taken) == most:
            keys.take_trailing(terminators, taken[-1])
    return "".join(press.key for press in taken)


def press(keys: Keys, pressed: str, at: float = 0.0) -> None:
    for key in pressed:
        keys.press(key, at)


def test_each_key_is_what_it_was_taken_for() -> None:
    keys = Keys()
    press(keys, "123456")
    assert letters(keys) == "uuuuuu"
    assert take(keys, 2) == "12"
    assert take(keys, 3, secret=True) == "345"
    assert letters(keys) == "ppsssu"


def test_what_is_thrown_away_stays_untaken_and_moves_no_other() -> None:
    keys = Keys()
    press(keys, "19")
    assert take(keys, 1) == "1"
    keys.clear()
    press(keys, "47")
    assert take(keys, 2, secret=True) == "47"
    assert letters(keys) == "puss"
    press(keys, "11")
    with keys.secret_question():
        keys.clear()  # `type_ahead=False`: the PIN that somebody was too quick with
    assert letters(keys) == "pussss"


def test_keys_nobody_takes_are_bounded() -> None:
    keys = Keys()
    press(keys, "0" * 1000 + "7")
    assert len(keys.waiting) == KEYS_KEPT
    assert keys.waiting[-1].key == "7"
    take(keys, KEYS_KEPT - 1, secret=True)
    take(keys, 1)
    assert letters(keys) == "u" * (1001 - KEYS_KEPT) + "s" * (KEYS_KEPT - 1) + "p"


@pytest.mark.parametrize("secret", [False, True])
def test_a_terminator_that_comes_behind_a_full_entry_is_that_entrys(secret: bool) -> None:
    keys = Keys()
    press(keys, "12")
    take(keys, 2, terminators="#", secret=secret)
    assert not keys.press("#", 0.9)
    assert keys.press("#", 0.95), "it is swallowed once"
    assert letters(keys) == ("sssu" if secret else "pppu")
    take(keys, 1)
    assert letters(keys) == ("sssp" if secret else "pppp")


def test_a_terminator_belongs_to_the_key_before_it() -> None:
    keys = Keys()
    press(keys, "123")
    take(keys, 2, terminators="#")
    assert keys.press("#", 0.5), "it is what ends the 3"
    assert take(keys, 2) == "3#"


def test_a_terminator_is_looked_at_by_when_it_was_pressed() -> None:
    keys = Keys()
    press(keys, "12")
    press(keys, "#", 2.0)
    take(keys, 2, terminators="#")
    assert [press.key for press in keys.waiting] == ["#"], "both were typed ahead, and not in one go"
    keys.clear()
    press(keys, "12", 3.0)
    take(keys, 2, terminators="#")
    assert keys.press("#", 4.5)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("press"), st.sampled_from("12#")),
            st.tuples(st.just("take"), st.integers(1, 3), st.booleans()),
            st.tuples(st.just("clear")),
        ),
        max_size=60,
    )
)
def test_no_key_of_a_secret_is_ever_shown_and_every_key_of_another_question_is(acts: list[tuple[object, ...]]) -> None:
    """Each key is looked after by its number: what a question took, and how, against what is told of it later."""
    keys = Keys()
    taken: dict[int, bool] = {}
    waiting: list[int] = []
    for now, act in enumerate(acts):
        match act:
            case ("press", str(key)):
                number = keys.pressed
                if keys.press(key, now / 4):
                    waiting.append(number)
            case ("take", int(most), bool(secret)):
                before = len(keys.waiting)
                got = take(keys, most, terminators="#", secret=secret)
                gone = before - len(keys.waiting)
                assert len(got) <= gone <= len(got) + 1
                taken.update(dict.fromkeys(waiting[:gone], secret))
                del waiting[:gone]
            case _:
                keys.clear()
                waiting.clear()
    for number, secret in taken.items():
        assert keys.fate(number) == ("secret" if secret else "public")
    assert {keys.fate(number) for number in waiting} <= {"untaken"}


async def test_a_terminator_behind_what_is_typed_ahead_ends_what_it_stands_behind(autojump_clock: MockClock) -> None:
    seen: list[str] = []

    async def handler(call: Call) -> None:
        await call.play("short")
        await call.set(ACCOUNT=await call.digits("long", max=4))
        clock = stopwatch()
        seen.append(await call.digits("long", max=4, secret=True))
        assert clock() < 0.1, "nobody waits for further digits"

    async with running(handler) as one:
        await one.caller.hears("short")
        one.caller.press("12345")
        await one.caller.until(lambda: "ACCOUNT" in one.caller.variables, "the account")
        one.caller.press("#")
        assert (await one.end()).result == "completed", one.errors.lines
    assert one.caller.variables["ACCOUNT"] == "1234"
    assert seen == ["5"]
    assert letters(one) == "ppppss"


async def test_what_is_typed_ahead_of_a_secret_is_not_shown_while_events_are_taken(autojump_clock: MockClock) -> None:
    async def handler(call: Call) -> None:
        events = call.events()
        await call.play("short")
        assert isinstance(await anext(events), Key)
        assert letters(one) == "uuuu"
        await call.digits("long", max=4, secret=True)

    async with running(handler) as one:
        one.caller.press("8642")
        assert (await one.end()).result == "completed", one.errors.lines
    assert letters(one) == "ssss"


def test_no_secret_is_shown_in_part() -> None:
    secrets = Secrets()
    for digits in ("12", "1234", "", "1234"):
        secrets.keep(digits)
    assert secrets.masked("pin 1234 and 12, not 21") == "pin **** and ****, not 21"


def test_a_secret_is_covered_as_a_number_too() -> None:
    secrets = Secrets()
    secrets.keep("00471")
    secrets.keep("001")
    assert secrets.masked("bad pin 471, 1 try left") == "bad pin ****, 1 try left"


@pytest.mark.parametrize(
    ("text", "covered"),
    [
        ("A,digits/8", "A,digits/****"),
        ("F,/sounds/en/digits/star", "F,/sounds/en/digits/****"),
        ("prompt 'digits/h-12' was not found", "prompt 'digits/****' was not found"),
        ("A,my-digits/8", "A,my-digits/****"),
        ("A,digits-are/8", "A,digits-are/8"),
    ],
)
def test_what_is_said_digit_by_digit_is_covered_where_there_is_a_secret(text: str, covered: str) -> None:
    secrets = Secrets()
    assert secrets.masked(text) == text
    secrets.keep("4711")
    assert secrets.masked(text) == covered
    assert secrets.masked(covered) == covered
