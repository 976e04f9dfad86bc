"""The examples and the dialplan snippets on real Asterisk, as shipped: what callers press and what comes of it."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

import pytest
import trio

from tests.asterisk.conftest import starter
from tests.asterisk.rig import Asterisk
from tests.examples.stage import CALLS, DIALPLAN, Ear, bound, example_apps, press
from tests.service import Service

pytestmark = pytest.mark.asterisk
House: TypeAlias = tuple[Service, list[Asterisk]]

# The apps that the dialplan's options are shown with.
OPTIONS = """
import anyio
from ivrd import CallEnded, NotAnswered

async def screen(call):
    try:
        await call.play("hello-world")
    except NotAnswered:
        await call.set(SCREEN_PLAYED="no")
    if call.args[1] == "100":
        await call.answer()
        played = await call.play("beep")
        assert played.complete, played
        await call.set(SCREEN_RESULT="welcome")

async def order(call):
    try:
        await call.play(*["demo-congrats"] * 5)
    except CallEnded:
        assert call.hungup
    await anyio.sleep(0.5)          # booking goes on
    await call.set(ORDER_RESULT="booked")

async def wrapup(call):
    try:
        await call.play("beep")
    except NotAnswered:
        await call.set(WRAPUP_RESULT=f"cause {call.args[1]} of {await call.get('FLAVOUR')}")
"""
OPTION_APPS = "".join(
    f'[apps.{name}]\nhandler = "options:{name}"\nworkers = 1\nset_call_id = true\n'
    for name in ("screen", "order", "wrapup")
)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One service with all the examples and the apps for the options, and an Asterisk of each version before it."""
    env = {"CALLBACK_DATABASE": str(tmp_path_factory.mktemp("callback") / "callbacks.sqlite3")}
    apps = re.sub(r"(?m)^path", "workers = 1\npath", example_apps()) + OPTION_APPS
    with starter() as start, Service(apps, files={"options.py": OPTIONS}, env=env, drain_timeout=2.0) as service:
        yield service, [start(version, dialplan=DIALPLAN + CALLS, bind=bound(service)) for version in ("22", "16")]


@pytest.fixture
def ivrd(house: House) -> Service:
    house[0].clear_log()
    return house[0]


@pytest.fixture
def both(house: House) -> list[Asterisk]:
    """Asterisk 22 and 16, with nothing in their logs; calls are placed on both before any is waited for."""
    for asterisk in house[1]:
        asterisk.wait_channels(0)
        asterisk.log.write_text("")
        asterisk.cli("dialplan set global RECEPTION_AGENT Local/agent@calls")
    return house[1]


def test_bank_tells_the_balance_to_who_knows_the_pin(ivrd: Service, both: list[Asterisk]) -> None:
    for asterisk in both:
        asterisk.call("bank-bank@calls", keys="8642#1", hold_s=12)
    for asterisk in both:
        asterisk.wait_log(r"bank: balance$")
        asterisk.wait_channels(0)
        # The secret is in no log: neither Asterisk's nor ivrd's.
        assert not re.search(r"\b8642\b", ivrd.log + asterisk.log_text())
        assert_quiet(asterisk)
    lines = ivrd.wait_lines("ivrd_call", 2)
    assert [(line["app"], line["result"], line["args"]) for line in lines] == [("bank", "completed", 2)] * 2


def test_bank_puts_a_caller_through_and_refuses_a_stranger(ivrd: Service, both: list[Asterisk]) -> None:
    for asterisk in both:
        asterisk.call("bank-bank@calls", keys="1111#8642#0", hold_s=12)
        asterisk.call("s@ivr-bank", hold_s=12)
    for asterisk in both:
        asterisk.wait_log("agent: hello")
        asterisk.wait_log(r"bank: refused$")
        assert_quiet(asterisk)
    assert len(ivrd.wait_lines("ivrd_call", 4)) == 4


async def test_survey_keeps_the_answers_of_who_hangs_up(ivrd: Service, both: list[Asterisk]) -> None:
    """A key counts from when its question is asked, so that nobody presses one before."""

    async def answer(asterisk: Asterisk, caller: str, keys: list[str], nursery: trio.Nursery) -> None:
        ear = Ear(ivrd, "survey")
        await ear.open()
        asterisk.originate(f"Local/{caller}@calls", extension="s@ivr-survey")
        await ear.found()
        nursery.start_soon(press_when_asked, asterisk, caller, keys, ear)

    async def press_when_asked(asterisk: Asterisk, caller: str, keys: list[str], ear: Ear) -> None:
        for key in keys:
            await ear.hears("command A,beep")
            press(asterisk, caller, key)
        results.append((await ear.hear())[1])

    results: list[str] = []
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for asterisk in both:
                await answer(asterisk, "told1", ["5", "3", "hangup"], nursery)
                await answer(asterisk, "told2", ["4", "5", "1"], nursery)
    assert sorted(results) == ["completed", "completed", "hangup", "hangup"]
    for asterisk in both:
        asterisk.wait_log(r"survey: answered 2 5/3/$")
        asterisk.wait_log(r"survey: answered 3 4/5/1$")
        asterisk.wait_log(r"survey: 3 of 3 questions answered$")
        assert_quiet(asterisk)


def test_callback_stores_the_number(ivrd: Service, both: list[Asterisk]) -> None:
    for asterisk in both:
        asterisk.call("bank-callback@calls", keys="1", after_ms=3500, hold_s=12)
        asterisk.call("bank-callback@calls", keys="2w5550123#", after_ms=3500, hold_s=12)
    for asterisk in both:
        asterisk.wait_log(r"callback: stored 100$")
        asterisk.wait_log(r"callback: stored 5550123$")
        assert_quiet(asterisk)
    calls = {line["call"] for line in ivrd.wait_lines("ivrd_call", 4)}
    with closing(sqlite3.connect(ivrd.env["CALLBACK_DATABASE"])) as database:
        rows = database.execute("SELECT call, number FROM callbacks").fetchall()
    assert {call for call, _ in rows} == calls
    assert sorted(number for _, number in rows) == ["100", "100", "5550123", "5550123"]


def test_reception_records_and_dials_and_the_caller_comes_back(ivrd: Service, both: list[Asterisk]) -> None:
    for asterisk in both:
        asterisk.cli("dialplan set global RECEPTION_AGENT Local/away@calls")
        asterisk.originate("Local/talker@calls", extension="s@ivr-reception")
    for asterisk in both:
        asterisk.wait_log(r"recorded: DTMF$")
        asterisk.wait_log(r"dialled: BUSY$")
        asterisk.wait_log(r"reception: done$")
        (recording,) = Path(f"/proc/{asterisk.pid}/root/var/spool/asterisk/recording").iterdir()
        assert recording.suffix == ".wav"
        assert recording.stat().st_size > 8000, "half a second at least"
        assert_quiet(asterisk)
    # Three times through the app for each caller.
    assert [line["result"] for line in ivrd.wait_lines("ivrd_call", 6)] == ["completed"] * 6


def test_option_n_lets_the_app_decide_whether_to_answer(both: list[Asterisk]) -> None:
    for asterisk in both:
        # The other way round than elsewhere: who is called is not answered before they say so.
        asterisk.originate("Local/bank-screen@calls", application="Wait 6")
        asterisk.originate("Local/s@ivr-screen", application="Wait 6")
    for asterisk in both:
        asterisk.wait_log("agent: hello")
        asterisk.wait_channels(0)
        assert len(re.findall("to an agent", asterisk.log_text())) == 1


def test_option_i_lets_the_app_finish_after_the_caller(ivrd: Service, both: list[Asterisk]) -> None:
    for asterisk in both:
        asterisk.call("s@ivr-order", hold_s=0.5)
    for asterisk in both:
        asterisk.wait_log(r"order: booked$")
    assert [line["result"] for line in ivrd.wait_lines("ivrd_call", 2)] == ["hangup"] * 2


def test_option_d_runs_an_app_after_the_hangup(both: list[Asterisk]) -> None:
    for asterisk in both:
        asterisk.cli("dialplan set global FLAVOUR vanilla")
        asterisk.call("s@ivr-wrapup", hold_s=5)
    for asterisk in both:
        asterisk.wait_log(r"wrapped up: cause \d+ of vanilla$")


def assert_quiet(asterisk: Asterisk) -> None:
    """Asterisk had nothing to complain of."""
    found = re.findall(r"^.*(?:WARNING|ERROR)\[.*$", asterisk.log_text(), re.MULTILINE)
    assert not found, found
