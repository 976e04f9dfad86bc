"""Many real calls through ivrd: Asterisk, shim, daemon, worker, app, and on in the dialplan; none may fail."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from tests.asterisk.conftest import StartAsterisk
from tests.asterisk.rig import Asterisk, run_sipp
from tests.examples.stage import bound, example_apps
from tests.service import Service

pytestmark = pytest.mark.asterisk
both_versions = pytest.mark.parametrize("version", ["22", "16"])

# A caller has SIPp's number, 100, for whom the bank has an account; a Local channel has none of its own.
CALLS = """
[from-sip]
exten => bank,1,Set(CALLERID(num)=100)
 same => n,ExternalIVR(/usr/bin/ivrd-shim(bank,${UNIQUEID},${FILTER(0-9+*#,${CALLERID(num)})}))
 same => n,Log(NOTICE,WENT ON: ${IVRD_STATUS} ${BANK_RESULT} ${BANK_HEARD}.)
 same => n,Hangup()

[plain]
exten => _[a-m].,1,Answer()
 same => n,ExternalIVR(/usr/bin/ivrd-shim(${EXTEN},${UNIQUEID}))
 same => n,Log(NOTICE,WENT ON: ${IVRD_STATUS}.)
 same => n,Hangup()
"""

APPS = """
import json, time
import anyio
from ivrd import Key, Variables

async def at_once(call):
    pass

async def bursts(call):
    # Ten questions in one go, and nothing more is said until each has its answer: one that waits for the next command
    # waits until the tenth has come, and the tenth for ever.
    delays = []
    for burst in range(250):
        await call.set(**{f"BURST{number}": f"{burst} {number}" for number in range(10)})
        begun = time.monotonic()

        async def ask(number):
            assert await call.get(f"BURST{number}") == f"{burst} {number}"
            delays.append(time.monotonic() - begun)

        async with anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(ask, number)
    print(json.dumps({"event": "bursts", "answers": len(delays), "slowest": max(delays)}), flush=True)
"""


@pytest.mark.timeout(400)  # 40 s on a machine that does nothing else
def test_sip_callers_at_twenty_a_second_get_all_they_called_for(start_asterisk: StartAsterisk) -> None:
    """Prompts, keys, secret PIN, spoken number, variable, and on in the dialplan: 600 times in 30 seconds."""
    with Service(example_apps("bank"), drain_timeout=2.0) as ivrd:
        asterisk = start_asterisk("22", dialplan=CALLS, sip=True, bind=bound(ivrd))
        keys = [(1.0, "8"), (0.2, "6"), (0.2, "4"), (0.2, "2"), (0.2, "#"), (0.4, "1")]
        result = run_sipp(asterisk, "bank", keys=keys, rate=20, calls=600, hold_s=30)
        assert (result.calls, result.succeeded, result.failed) == (600, 600, 0), result
        assert_all_served(ivrd, asterisk, 600)


@pytest.mark.timeout(400)
def test_local_callers_on_asterisk_16_get_all_they_called_for(start_asterisk: StartAsterisk) -> None:
    with Service(example_apps("bank"), drain_timeout=2.0) as ivrd:
        asterisk = start_asterisk("16", dialplan=CALLS, bind=bound(ivrd))
        for call in range(200):
            asterisk.call("bank@from-sip", keys="8642#1", after_ms=500 + 10 * call, hold_s=30)
        assert_all_served(ivrd, asterisk, 200)


def assert_all_served(ivrd: Service, asterisk: Asterisk, calls: int) -> None:
    asterisk.wait_channels(0, timeout=120)
    # BANK_HEARD is "all" when Asterisk has said of each prompt of the spoken balance that it played to its end.
    went_on = Counter(re.findall(r"WENT ON: (.*)\.$", asterisk.log_text(), re.MULTILINE))
    assert went_on == {"OK balance all": calls}
    lines = ivrd.wait_lines("ivrd_call", calls)
    assert Counter(line["result"] for line in lines) == {"completed": calls}
    assert ivrd.calls() == []
    assert not re.findall(r"(?:WARNING|ERROR)\[.*", asterisk.log_text())


@both_versions
def test_an_app_that_returns_at_once_goes_on_every_time(version: str, start_asterisk: StartAsterisk) -> None:
    """A script that does so loses one call in ten: Asterisk sees the end of stderr before it reads the command."""
    with Service('[apps.at_once]\nhandler = "apps:at_once"', files={"apps.py": APPS}, drain_timeout=2.0) as ivrd:
        asterisk = start_asterisk(version, dialplan=CALLS, bind=bound(ivrd))
        for _ in range(200):
            asterisk.originate("Local/at_once@plain", application="Wait 30")
        asterisk.wait_log(r"WENT ON: OK\.$", count=200, timeout=60)
        assert Counter(line["result"] for line in ivrd.wait_lines("ivrd_call", 200)) == {"completed": 200}


@both_versions
def test_no_command_of_a_burst_waits_for_the_next(version: str, start_asterisk: StartAsterisk) -> None:
    """Trap 1, a thousand times: without packet mode the second command of a burst would wait for ever."""
    with Service('[apps.bursts]\nhandler = "apps:bursts"', files={"apps.py": APPS}, drain_timeout=2.0) as ivrd:
        asterisk = start_asterisk(version, dialplan=CALLS, bind=bound(ivrd))
        for _ in range(4):
            asterisk.originate("Local/bursts@plain", application="Wait 100")
        asterisk.wait_log(r"WENT ON: OK\.$", count=4, timeout=90)
        lines = ivrd.wait_lines("bursts", 4)
        assert [line["answers"] for line in lines] == [250 * 10] * 4
        assert max(line["slowest"] for line in lines) < 1.0, "of milliseconds, and of some more where a machine is busy"
        assert [line["commands"] for line in ivrd.wait_lines("ivrd_call", 4)] == [250 * 11 + 2] * 4
