"""The fixture `ivr`: an app's tests in virtual time, whoever runs them, and what they say when they fail."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import anyio
import pytest

from ivrd import Call, CallEnded, PromptNotFound, SyncCall
from ivrd.errors import AppLoadError, IvrdError, NotAnswered
from ivrd.phone.caller import AppFailed, Ivr
from ivrd.simulator.caller import NotSeen
from ivrd.simulator.records import Outcome
from ivrd.simulator.script import ScriptError
from ivrd.simulator.sounds import SoundTable
from tests.phone.apps import menu, plain_menu


@pytest.mark.parametrize("app", [menu, plain_menu])
async def test_a_caller_pays(ivr: Ivr, app: Any) -> None:
    caller = await ivr.dial(app)
    await caller.hears("welcome")
    await caller.press("1")
    await caller.hears("goodbye")
    ending = await caller.ended()
    assert caller.variables["RESULT"] == "paid"
    assert ending.outcome is caller.outcome is Outcome.CONTINUED
    assert caller.result == "completed"
    assert caller.prompts == ["welcome", "goodbye"]
    assert ending.time == pytest.approx(1.1, abs=0.1), "each prompt takes a second, the first was cut short"


@pytest.mark.parametrize("app", [menu, plain_menu])
async def test_a_script_and_a_test_hear_the_same_prompts(ivr: Ivr, app: Any) -> None:
    caller = await ivr.dial(app, keys="wait:welcome 1 wait:goodbye pause:0.5 hangup")
    assert (await caller.hears("welcome")).prompt == "welcome"
    await caller.hears("goodbye")
    assert (await caller.ended()).outcome is Outcome.HUNGUP_BY_CALLER
    # But what the test itself has heard it does not hear again.
    caller = await ivr.dial(app)
    await caller.hears("welcome")
    with pytest.raises(NotSeen):
        await caller.follow("patience:3 wait:welcome")


async def test_a_caller_who_hangs_up(ivr: Ivr) -> None:
    cleaned: list[str] = []

    async def main(call: Call) -> None:
        try:
            await call.play("long")
        finally:
            cleaned.append("async")

    def plain(call: SyncCall) -> None:
        try:
            call.play("long")
        except CallEnded:
            cleaned.append("plain")
            raise

    for app in (main, plain):
        caller = await ivr.dial(app, sounds={"long": 600})
        await caller.hears("long")
        await caller.wait(100)
        await caller.hangup()
        assert (await caller.ended()).outcome is Outcome.HUNGUP_BY_CALLER
        assert caller.result == "hangup"
    assert cleaned == ["async", "plain"]


async def test_a_key_takes_a_tenth_of_a_second(ivr: Ivr) -> None:
    times: list[float] = []

    async def main(call: Call) -> None:
        async for _ in call.events():
            times.append(anyio.current_time())  # noqa: PERF401 - what was seen has to last when this is cancelled

    caller = await ivr.dial(main)
    await caller.press("12")
    await caller.follow("3 45")
    await caller.hangup()
    await caller.ended()
    assert [round(later - sooner, 3) for sooner, later in itertools.pairwise(times)][:4] == [0.1] * 4


async def test_options_variables_and_settings(ivr: Ivr) -> None:
    async def main(call: Call) -> None:
        assert call.args == ("one", "two")
        await call.answer()
        await call.set_function("CALLERID(name)", await call.get("NAME"))
        await call.send_dtmf("12")

    caller = await ivr.dial(main, "one", "two", options="n", variables={"NAME": "Ada"}, allow_functions=["CALLERID"])
    await caller.ended()
    assert caller.function_writes == [("CALLERID(name)", "Ada")]
    assert [sent.digits for sent in caller.sent_dtmf] == ["12"]


async def test_a_channel_on_which_nothing_can_play(ivr: Ivr) -> None:
    async def main(call: Call) -> None:
        with pytest.raises(NotAnswered):
            await call.answer()

    caller = await ivr.dial(main, options="n", generator_fails=True)
    await caller.ended()
    assert caller.log[0].text == "Failed to activate generator"
    refused = await ivr.dial(main, generator_fails=True)
    assert (await refused.ended()).outcome is Outcome.REFUSED


async def test_an_app_that_raises_is_the_cause(ivr: Ivr) -> None:
    async def main(call: Call) -> None:
        await call.play("nope")

    caller = await ivr.dial(main, sounds=SoundTable(missing={"nope"}))
    with pytest.raises(AppFailed, match="the app raised PromptNotFound") as failed:
        await caller.hears("welcome")
    assert isinstance(failed.value.__cause__, PromptNotFound)
    assert "hungup_by_app" in str(failed.value)
    assert caller.result == "app_error"
    await caller.ended()  # once told it does not stand in the way of looking at how the call ended


@pytest.mark.parametrize("app", [menu, plain_menu])
async def test_what_fails_says_what_happened_and_where(ivr: Ivr, app: Any) -> None:
    caller = await ivr.dial(app)
    await caller.hears("welcome")
    await caller.press("1")
    with pytest.raises(NotSeen) as failed:
        await caller.hears("sorry")
    lines = str(failed.value).splitlines()
    assert lines[0] == "the call ended while the caller waited for prompt 'sorry':"
    assert [line.split(None, 1)[1] for line in lines[1:4]] == [
        "hears welcome (interrupted)",
        "presses 1",
        "hears goodbye (finished)",
    ]
    assert lines[-1].startswith("> ")
    assert lines[-1].endswith("waits for prompt 'sorry'")


async def test_a_lifespan_that_failed_is_tried_again(ivr: Ivr, tmp_path: Path) -> None:
    (tmp_path / "second_try.py").write_text(
        "import contextlib\ntries = []\n"
        "@contextlib.asynccontextmanager\nasync def lifespan():\n"
        "    tries.append(1)\n    assert len(tries) > 1, 'no database'\n    yield\n"
        "async def main(call):\n    await call.set(TRIES=str(len(tries)))\n"
    )
    settings: dict[str, Any] = {"path": str(tmp_path), "lifespan": "second_try:lifespan"}
    with pytest.raises(AssertionError, match="no database"):
        await ivr.dial("second_try:main", **settings)
    for _ in range(2):
        caller = await ivr.dial("second_try:main", **settings)
        await caller.ended()
        assert caller.variables["TRIES"] == "2"


async def test_each_path_has_its_own_modules(ivr: Ivr, tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "same.py").write_text(
            "import same_helper\ncount = []\nasync def main(call):\n    count.append(1)\n"
            "    await call.set(IS=f'{same_helper.NAME} {len(count)}')\n"
        )
        (tmp_path / name / "same_helper.py").write_text(f"NAME = {name!r}\n")
    for name in ("first 1", "second 1", "first 2", "first 3", "second 2"):
        caller = await ivr.dial("same:main", path=str(tmp_path / name.split()[0]))
        await caller.ended()
        assert caller.variables["IS"] == name


async def test_small_letters_are_keys(ivr: Ivr) -> None:
    async def main(call: Call) -> None:
        await call.set(KEYS=await call.digits("which", max=2))

    caller = await ivr.dial(main)
    await caller.press("aD")
    await caller.ended()
    assert caller.variables["KEYS"] == "AD"


async def test_what_makes_no_sense_is_refused(ivr: Ivr) -> None:
    with pytest.raises(ScriptError):
        await ivr.dial(menu, keys="pauze:1")
    with pytest.raises(IvrdError, match=r"'max_duratoin' is no key"):
        await ivr.dial(menu, max_duratoin=1)
    with pytest.raises(IvrdError, match=r"settings of menu: Expected `float`"):
        await ivr.dial(menu, max_duration="1")
    with pytest.raises(IvrdError, match="set ivrd_config"):
        await ivr.dial("menu")
    with pytest.raises(AppLoadError, match="importing nowhere"):
        await ivr.dial("nowhere:main")


SECRET = """
async def main(call):
    await call.play("welcome")
    pin = await call.digits("pin", max=4, secret=True)
    amount = await call.digits("amount", max=2)
    await call.set(PIN=pin, AMOUNT=amount)
"""


async def test_secret_digits_are_in_no_transcript(ivr: Ivr, tmp_path: Path) -> None:
    (tmp_path / "secretive.py").write_text(SECRET)
    caller = await ivr.dial("secretive:main", path=str(tmp_path))
    await caller.press("8")  # typed ahead
    await caller.hears("welcome")
    await caller.press("642")
    await caller.hears("amount")
    await caller.press("17")
    await caller.ended()
    assert (caller.variables["PIN"], caller.variables["AMOUNT"]) == ("8642", "17")
    pressed = [line.split("presses ")[1] for line in caller.transcript().splitlines() if "presses" in line]
    assert pressed == ["****"] * 4 + ["1", "7"]


async def test_a_key_that_was_lost_is_in_no_transcript_for_it_might_be_a_secrets(ivr: Ivr) -> None:
    async def app(call: Call) -> None:
        await call.play("welcome")
        await call.send_dtmf("1")
        await call.digits(max=4, timeout=2, secret=True)

    caller = await ivr.dial(app)
    await caller.hears("welcome")
    await caller.wait(1.1)
    await caller.press("8")
    await caller.wait(1)
    await caller.press("642")
    await caller.ended()
    assert "a key was lost" in caller.transcript()
    assert not re.search("(?:key|presses) [0-9]", caller.transcript())


async def test_a_pin_that_was_typed_ahead_is_in_no_failure(ivr: Ivr, tmp_path: Path) -> None:
    (tmp_path / "secretive.py").write_text(SECRET)
    caller = await ivr.dial("secretive:main", path=str(tmp_path))
    await caller.press("8642")
    with pytest.raises(NotSeen) as failed:
        await caller.hears("nothing", timeout=0.1)
    assert str(failed.value).count("presses **** (not taken)") == 4
    assert not re.search(r"presses \d", repr(caller))
    await caller.hears("amount")
    await caller.hangup()
