"""The example apps, each called by somebody who presses keys. Copy one of these tests to begin your own.

`ivr` comes with ivrd: it dials an app in this process, in virtual time, so that no test waits for a prompt to end.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from examples import callback
from ivrd.phone.caller import Ivr
from ivrd.simulator.records import Outcome

# bank: a PIN, then a menu


async def test_bank_says_the_balance(ivr: Ivr) -> None:
    caller = await ivr.dial("examples.bank:main", "uniqueid", "100")
    await caller.hears("agent-pass")
    await caller.press("8642")
    await caller.hears("vm-reachoper")
    await caller.press("1")
    await caller.hears("vm-goodbye")
    await caller.ended()
    assert caller.prompts[-3:] == ["vm-youhave", "digits/20", "vm-goodbye"]
    assert caller.variables["BANK_RESULT"] == "balance"
    assert caller.variables["BANK_HEARD"] == "all"
    assert "8642" not in caller.transcript()


async def test_bank_lets_nobody_in_who_guesses(ivr: Ivr) -> None:
    caller = await ivr.dial("examples.bank:main", "uniqueid", "100")
    await caller.follow("wait:agent-pass 1111 wait:auth-incorrect 2222 wait:auth-incorrect 3333 wait:vm-goodbye")
    await caller.ended()
    assert caller.variables["BANK_RESULT"] == "refused"
    assert "auth-thankyou" not in caller.prompts


async def test_bank_turns_a_stranger_away_at_once(ivr: Ivr) -> None:
    caller = await ivr.dial("examples.bank:main", "uniqueid", "999")
    await caller.ended()
    assert caller.prompts == ["vm-goodbye"]
    assert caller.variables["BANK_RESULT"] == "refused"


async def test_bank_goes_on_with_an_agent(ivr: Ivr) -> None:
    caller = await ivr.dial("examples.bank:main", "uniqueid", "100")
    await caller.follow("8642 wait:to-listen-to-it 0")
    ending = await caller.ended()
    assert ending.outcome is Outcome.CONTINUED  # the dialplan dials
    assert caller.variables["BANK_RESULT"] == "agent"


async def test_bank_waits_for_a_slow_caller_only_so_long(ivr: Ivr) -> None:
    caller = await ivr.dial("examples.bank:main", "uniqueid", "100")
    ending = await caller.ended()
    assert caller.prompts == ["agent-pass", "auth-incorrect", "auth-incorrect", "vm-goodbye"]
    assert ending.time == pytest.approx(3 * 11 + 1, abs=0.5)  # three times a prompt and ten seconds, then goodbye


# survey: answers count as they come


async def test_survey_takes_three_answers(ivr: Ivr) -> None:
    caller = await ivr.dial("examples.survey:main")
    for answer in "535":
        await caller.hears("beep")
        await caller.press(answer)
    await caller.hears("auth-thankyou")
    await caller.ended()
    assert (caller.variables["SURVEY_QUICK"], caller.variables["SURVEY_ANSWERED"]) == ("3", "3")


async def test_survey_keeps_the_answers_of_who_hangs_up(ivr: Ivr) -> None:
    caller = await ivr.dial("examples.survey:main")
    await caller.follow("wait:beep 4 wait:digits/2 hangup")
    ending = await caller.ended()
    assert ending.outcome is Outcome.HUNGUP_BY_CALLER
    assert caller.variables["SURVEY_ANSWERED"] == "1"
    assert "SURVEY_QUICK" not in caller.variables


async def test_survey_asks_again_after_a_wrong_key_and_goes_on_after_none(ivr: Ivr) -> None:
    caller = await ivr.dial("examples.survey:main")
    await caller.follow("wait:beep 9 wait:pm-invalid-option wait:beep 1")
    await caller.ended()
    assert caller.variables["SURVEY_FRIENDLY"] == "1"
    assert caller.variables["SURVEY_ANSWERED"] == "1"


# callback: a plain `def`, which blocks


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(callback, "DATABASE", str(tmp_path / "callbacks.sqlite3"))
    return tmp_path / "callbacks.sqlite3"


def stored(database: Path) -> list[str]:
    connection = sqlite3.connect(database)
    numbers = [number for (number,) in connection.execute("SELECT number FROM callbacks")]
    connection.close()
    return numbers


async def test_callback_to_the_callers_own_number(ivr: Ivr, database: Path) -> None:
    caller = await ivr.dial("examples.callback:main", "uniqueid", "100", lifespan="examples.callback:lifespan")
    await caller.hears("vm-calldiffnum")
    await caller.press("1")
    await caller.hears("added")
    await caller.ended()
    assert caller.variables["CALLBACK_NUMBER"] == "100"
    assert stored(database) == ["100"]


async def test_callback_to_another_number(ivr: Ivr, database: Path) -> None:
    caller = await ivr.dial("examples.callback:main", "uniqueid", "100", lifespan="examples.callback:lifespan")
    await caller.follow("wait:vm-calldiffnum 2 wait:vm-then-pound 5550123#")
    await caller.ended()
    assert stored(database) == ["5550123"]


async def test_callback_stores_nothing_of_who_hangs_up(ivr: Ivr, database: Path) -> None:
    caller = await ivr.dial("examples.callback:main", "uniqueid", "100", lifespan="examples.callback:lifespan")
    await caller.follow("wait:vm-calldiffnum 2 wait:vm-then-pound 5550 hangup")
    await caller.ended()
    assert caller.result == "hangup"
    assert stored(database) == []


# reception: leaves to the dialplan and is called again


async def test_reception_comes_back_from_a_recording(ivr: Ivr) -> None:
    caller = await ivr.dial("examples.reception:main")
    await caller.follow("wait:vm-leavemsg 5")
    await caller.ended()
    assert caller.variables["RECEPTION_NEXT"] == "record"

    again = await ivr.dial("examples.reception:main", variables={"RECEPTION_DONE": "recorded"})
    await again.follow("wait:vm-msgsaved wait:vm-leavemsg #")
    await again.ended()
    assert again.variables["RECEPTION_NEXT"] == "leave"
