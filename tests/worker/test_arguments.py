"""What apps pass that makes no sense: refused at once, before anything is sent, with a word on what to pass instead."""

from __future__ import annotations

import enum
import inspect
import math
from collections.abc import Awaitable, Callable
from fractions import Fraction
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from ivrd import Call, InvalidValue, SyncCall

from .inprocess import running

Method = Callable[[Any], Awaitable[object]]  # on a call that mypy is not to look at

WRONG: dict[str, tuple[Method, str]] = {
    "no prompt": (lambda call: call.play("short", ""), "an empty prompt"),
    "a number as prompt": (lambda call: call.play(5), "prompt is of type int: pass the name of one"),
    "a list as prompt": (lambda call: call.play(["short"]), "prompt is of type list: pass the name of one"),
    "a number to queue": (lambda call: call.queue(None), "prompt is of type NoneType"),
    "no key to interrupt": (lambda call: call.play("short", interrupt="x"), "'x' is not a key"),
    "a number to interrupt": (lambda call: call.play("short", interrupt=5), "interrupt=5: give True"),
    "a key to interrupt digits": (lambda call: call.say_digits("1", interrupt="12x"), "'x' is not a key"),
    "a long text": (lambda call: call.play("short", longest="1"), "longest='1': give seconds"),
    "never": (lambda call: call.play("short", longest=-1), "longest=-1: give seconds"),
    "a letter as digit": (lambda call: call.say_digits("1a"), "'a' cannot be said"),
    "a number as digits": (lambda call: call.say_digits(7), "digits 7 are of type int"),
    "too large a number": (lambda call: call.say_number(10**9), "cannot be said"),
    "a text as number": (lambda call: call.say_number("7"), "number '7' cannot be said"),
    "no digits": (lambda call: call.digits(max=0), "max=0: give a whole number, 1 at least"),
    "a text as max": (lambda call: call.digits(max="4"), "max='4': give a whole number"),
    "half a digit": (lambda call: call.digits(max=4.5), "max=4.5: give a whole number"),
    "True digits": (lambda call: call.digits(max=True), "max=True: give a whole number"),
    "a text as timeout": (lambda call: call.digits(timeout="5"), "timeout='5': give seconds"),
    "no timeout": (lambda call: call.digits(timeout=None), "not negative, math.inf for no limit"),
    "a negative timeout": (lambda call: call.digits(timeout=-0.1), "timeout=-0.1"),
    "no number as timeout": (lambda call: call.digits(timeout=math.nan), "timeout=nan"),
    "a digit_timeout": (lambda call: call.digits(digit_timeout=-math.inf), "digit_timeout=-inf"),
    "no terminator": (lambda call: call.digits(terminators="x"), "'x' is not a key"),
    "None as terminators": (lambda call: call.digits(terminators=None), "terminators=None: give the keys in one str"),
    "a set of prompts": (lambda call: call.digits({"short"}), "prompt={'short'}: give the name"),
    "a list of numbers": (lambda call: call.digits(["short", 1]), "prompt is of type int"),
    "two keys in one": (lambda call: call.menu("short", {"12": 1}), "'12' is not a key"),
    "a number as key": (lambda call: call.menu("short", {1: "sales"}), "1 is not a key: a caller can press one of '0"),
    "a list of keys": (lambda call: call.menu("short", ["1", "2"]), "choices=['1', '2']: give the keys in one str"),
    "no choice": (lambda call: call.menu("short", ""), "choices: there is no key"),
    "no question": (lambda call: call.menu("short", "1", retries=-1), "retries=-1: give a whole number, 0 at least"),
    "a menu's timeout": (lambda call: call.menu("short", "1", timeout="x"), "timeout='x'"),
    "what is said later": (lambda call: call.menu("short", "1", invalid=b"no"), "prompt=b'no'"),
    "what is said then": (lambda call: call.menu("short", "1", no_input=["a\nb"]), "has control characters"),
    "a number as name": (lambda call: call.get(5), "variable name is of type int: pass a str"),
    "two names": (lambda call: call.get("A,B"), "variable name 'A,B'"),
    "a number as value": (lambda call: call.set(X=5), "value of X is of type int: pass a str"),
    "two assignments": (lambda call: call.set(A="1,B=2"), "has a comma"),
    "no variable": (lambda call: call.set(), "no variable to set"),
    "a function": (lambda call: call.set_function("SHELL(rm)", "x"), "may not be written"),
    "a number as function": (lambda call: call.set_function(5, "x"), "function name is of type int"),
    "a function's value": (lambda call: call.set_function("CALLERID(num)", 5), "value of CALLERID(num) is of type int"),
    "no DTMF": (lambda call: call.send_dtmf("x"), "DTMF digits 'x'"),
    "a number as DTMF": (lambda call: call.send_dtmf(12), "what is sent as DTMF is of type int"),
    "an interval": (lambda call: call.send_dtmf("1", interval_ms="250"), "interval_ms '250'"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("kind", ["async", "sync"])
def test_what_makes_no_sense_is_refused_before_anything_is_sent(kind: str, wrong: str) -> None:
    act, says = WRONG[wrong]
    raised: list[InvalidValue] = []

    async def handler(call: Call) -> None:
        with pytest.raises(InvalidValue) as caught:
            await act(call)
        raised.append(caught.value)

    def blocking(call: SyncCall) -> None:
        with pytest.raises(InvalidValue) as caught:
            act(call)
        raised.append(caught.value)

    async def main() -> None:
        async with running(handler if kind == "async" else blocking, allow_functions=("CALLERID",)) as one:
            assert (await one.end()).result == "completed", one.errors.lines
        assert one.caller.commands == ["V,IVRD_STATUS=OK", "E,the handler returned"]

    trio.run(main)
    assert says in str(raised[0])
    assert "\n" not in str(raised[0])


class Prompt(str, enum.Enum):  # noqa: UP042 - the older kind, whose format() is its name
    SHORT = "short"


class Unsayable:
    def __str__(self) -> str:
        raise ValueError("no")


async def test_what_makes_some_sense_is_taken(autojump_clock: MockClock) -> None:
    async def handler(call: Call) -> None:
        played = await call.play(Prompt.SHORT, interrupt="*#a", longest=math.inf)
        assert played.complete
        assert await call.digits(Prompt.SHORT, timeout=Fraction(1, 2), terminators="") == ""  # type: ignore[arg-type]
        assert await call.digits(("short", "short"), timeout=0) == ""
        assert await call.menu([], {"1": 1}, retries=0, timeout=0) is None
        assert await call.menu("", "1", retries=0, timeout=10**400) == "1"
        await call.set(KIND=Prompt.SHORT)

    async with running(handler) as one:
        await trio.sleep(3)
        one.caller.press("1")
        assert (await one.end()).result == "completed", one.errors.lines
    assert one.caller.variables["KIND"] == "short"
    assert {heard.prompt for heard in one.caller.heard} == {"short"}


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (42, "42"),
        (None, "None"),
        (ValueError("no such account"), "no such account"),
        ("two\nlines", "two lines"),
        ("", "ivrd"),
        (Unsayable(), "<Unsayable whose str() raised ValueError>"),
    ],
)
async def test_anything_can_be_logged(autojump_clock: MockClock, what: object, said: str) -> None:
    async def handler(call: Call) -> None:
        await call.log(what)

    async with running(handler) as one:
        assert (await one.end()).result == "completed", one.errors.lines
    assert one.sent("L") == [said]


@pytest.mark.parametrize(("message", "said"), [(None, "ivrd"), ("", "ivrd"), (0, "0"), (Unsayable(), "<Unsayable")])
@pytest.mark.parametrize("how", ["exit", "hangup"])
async def test_no_last_word_is_what_ends_a_call_otherwise(
    autojump_clock: MockClock, how: str, message: object, said: str
) -> None:
    async def handler(call: Call) -> None:
        await getattr(call, how)(message)

    async with running(handler) as one:
        assert (await one.end()).result == {"exit": "completed", "hangup": "hangup"}[how], one.errors.lines
    (word,) = one.sent({"exit": "E", "hangup": "H"}[how])
    assert word.startswith(said)


async def test_a_blocking_call_has_all_that_an_awaited_one_has(autojump_clock: MockClock) -> None:
    kinds: dict[str, set[str]] = {}

    async def handler(call: Call) -> None:
        kinds["async"] = {name for name in dir(call) if not name.startswith("_")}
        kinds["sync"] = {name for name in dir(SyncCall(call)) if not name.startswith("_")}
        assert SyncCall(call).over == ""

    async with running(handler) as one:
        assert (await one.end()).result == "completed", one.errors.lines
    assert kinds["sync"] == kinds["async"]
    assert {"play", "over", "args"} < kinds["sync"]
    for name in kinds["sync"]:
        both = getattr(Call, name, None), getattr(SyncCall, name)
        if inspect.isfunction(both[1]):
            parameters = [list(inspect.signature(method).parameters.values()) for method in both if method]
            assert parameters[0] == parameters[1], name
