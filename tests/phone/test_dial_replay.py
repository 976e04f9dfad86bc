"""`ivrd dial --replay`: that the recorded caller does what it did, when it did it, and what is told of the app."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.phone.desk import dial, dial_json

APP = """
import asyncio
from ivrd import PromptNotFound

async def account(call):
    number = await call.digits("account", max=6, digit_timeout=1.0)
    await call.set(NUMBER=number)
    await call.play("thanks")
    await call.digits("anything-else", max=1)

async def short(call):
    pin = await call.digits("pin", max=1, secret=True)
    await call.play(f"digits/{pin}", "digits/1")
    await call.digits("again", max=1)

async def overtakes(call):
    await call.queue("long")
    await asyncio.sleep(0.5)
    await call.interrupt()
    await call.queue("a", "b")
    await call.digits(None, max=1, timeout=5)

async def terms(call):
    try:
        await call.play("news")
    except PromptNotFound:
        await call.set(NEWS="none")
    played = await call.play("terms", interrupt="#")
    await call.set(HEARD="no" if played.key else "yes")
    await call.play("thanks")
    await call.digits("anything-else", max=1, timeout=3)
"""


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    (tmp_path / "menu.py").write_text(APP)
    return tmp_path


TYPED = "wait:account pause:0.4 tap:1 pause:0.95 tap:2 pause:0.95 tap:3"
QUICK = "wait:account 12 tap:3 pause:0.03 tap:4 wait:anything-else pause:0.04 7"


@pytest.mark.parametrize(
    ("keys", "pace"),
    [
        (TYPED, ["--fast"]),
        (QUICK, ["--fast"]),
        ("1234 pause:3.3 hangup", ["--fast"]),
        ("wait:anything-else hangup:0.3", ["--fast"]),
        (QUICK, []),
    ],
)
def test_each_key_comes_when_it_came(desk: Path, keys: str, pace: list[str]) -> None:
    then = dial_json(desk, "menu:account", "--keys", keys, *pace, "--save=call.rec")
    now = dial_json(desk, "menu:account", "--replay=call.rec", *pace)
    assert (now["problem"], now["differences"]) == ("", [])
    assert [key["key"] for key in now["pressed"]] == [key["key"] for key in then["pressed"]]
    slack = 0.021 if pace else 0.3  # a tick; and what a busy machine is late
    for before, after in zip(then["pressed"], now["pressed"], strict=True):
        assert after["at"] == pytest.approx(before["at"], abs=slack)
    assert now["duration"] == pytest.approx(then["duration"], abs=0.05 if pace else 0.5)
    assert now["variables"].get("NUMBER") == then["variables"].get("NUMBER")


def test_what_overtakes_its_events_plays_again(desk: Path) -> None:
    dial(desk, "menu:overtakes", "--keys", "wait:b pause:0.5 5", "--fast", "--save=call.rec")
    call = dial_json(desk, "menu:overtakes", "--replay=call.rec", "--fast")
    assert [one["prompt"] for one in call["heard"]] == ["long", "a", "b"]
    assert (call["problem"], call["differences"]) == ("", [])


@pytest.mark.parametrize("keys", ["wait:terms pause:4.5 #", "wait:anything-else pause:1.5 1"])
def test_prompts_play_as_long_as_they_did_and_are_missing_where_they_were(desk: Path, keys: str) -> None:
    sounds = desk / "sounds"
    (sounds / "silence").mkdir(parents=True)
    for name, seconds in {"terms": 5.0, "thanks": 0.5, "anything-else": 2.0, "silence/10": 10.0}.items():
        (sounds / f"{name}.ulaw").write_bytes(bytes(int(8000 * seconds)))
    script = ["--keys", keys, f"--sounds={sounds}", "--save=call.rec"]
    then = dial_json(desk, "menu:terms", *script, "--fast")
    now = dial_json(desk, "menu:terms", "--replay=call.rec", "--fast")
    assert (now["problem"], now["differences"]) == ("", [])
    assert now["duration"] == pytest.approx(then["duration"], abs=0.1)
    assert (now["variables"]["NEWS"], now["variables"]["HEARD"]) == ("none", "no" if "4.5" in keys else "yes")


def test_a_prompt_with_a_masked_digit_is_known_again(desk: Path) -> None:
    script = "wait:pin 8 wait:digits/8 wait:digits/1 wait:again 2"
    text = dial(desk, "menu:short", "--keys", script, "--fast", "--save=call.rec")
    assert "digits/****" in text
    for secret in ("8", "3"):
        text = dial(desk, "menu:short", "--replay=call.rec", "--fast", f"--secret={secret}")
        assert text.splitlines()[-1] == "the app behaves as it did"


def test_a_caller_who_cannot_go_on_is_said_to(desk: Path) -> None:
    dial(desk, "menu:short", "--keys", "8 wait:again 2", "--fast", "--save=call.rec")
    path = desk / "menu.py"
    path.write_text(path.read_text().replace('await call.digits("again", max=1)', "await call.hangup()"))
    text = dial(desk, "menu:short", "--replay=call.rec", "--fast", "--secret=8", status=1)
    assert "ivrd: the call ended while the caller waited for prompt 'again'" in text
    assert "-A,again" in text
    assert "behaves as it did" not in text
    assert "'X' is no key" in dial(desk, "menu:short", "--replay=call.rec", "--secret=x", status=1)
