"""Death under real calls: of a worker, of Asterisk, of the daemon; and what its callers, and only they, get to feel."""

from __future__ import annotations

import calendar
import os
import re
import signal
import time
from collections import Counter

import pytest

from tests.asterisk.conftest import StartAsterisk
from tests.examples.stage import bound, example_apps
from tests.service import Service, until

pytestmark = pytest.mark.asterisk

DIALPLAN = """
[app]
exten => _[a-m].,1,Answer()
 same => n,ExternalIVR(/usr/bin/ivrd-shim(${EXTEN},${UNIQUEID}))
 same => n,Log(NOTICE,WENT ON: ${IVRD_STATUS} ${BANK_RESULT}.)
 same => n,Hangup()
exten => bank,1,Answer()
 same => n,ExternalIVR(/usr/bin/ivrd-shim(bank,${UNIQUEID},100))
 same => n,Log(NOTICE,WENT ON: ${IVRD_STATUS} ${BANK_RESULT} ${BANK_HEARD}.)
 same => n,Hangup()
exten => h,1,Log(NOTICE,HUNG UP ${EPOCH} ${IVRD_CALL_ID}.)
"""

APPS = """
import json
import anyio

forked = False

async def forking(call):
    # A child that lives on holds copies of all that its parent held, were they not closed at exec: it forks only.
    global forked
    if not forked:
        forked = True
        import os
        if os.fork() == 0:
            import time
            time.sleep(600)
            os._exit(0)
    await talk(call)

async def talk(call):
    try:
        while True:
            await call.play("demo-instruct")
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.05)         # cleaning up takes a moment
            print(json.dumps({"event": "cleaned", "call": call.id}), flush=True)
"""


def test_a_workers_death_ends_its_own_calls_at_once(start_asterisk: StartAsterisk) -> None:
    """Even while a forked child of the dead worker lives on, and holds copies of every descriptor of its calls."""
    config = '[apps.forking]\nhandler = "apps:forking"\nworkers = 2\nset_call_id = true\n'
    with Service(config, files={"apps.py": APPS}, drain_timeout=0.0) as ivrd:
        asterisk = start_asterisk("22", dialplan=DIALPLAN, bind=bound(ivrd))
        for _ in range(40):
            asterisk.originate("Local/forking@app", application="Wait 100")
        until(lambda: held(ivrd, "running") == 40, what="40 running calls")
        victim, other = ivrd.workers("forking")
        by_worker = Counter(call["worker"] for call in ivrd.calls())
        assert by_worker == {victim: 20, other: 20}
        lost = {call["id"] for call in ivrd.calls() if call["worker"] == victim}

        killed = time.time()
        os.kill(victim, signal.SIGKILL)
        found = asterisk.wait_log(r"^\[(.*?)\].*HUNG UP \d+ (\S+)\.$", count=20)
        assert {match[2] for match in found} == lost
        # As Asterisk itself stamped them.
        assert -0.01 < max(timestamp(match[1]) for match in found) - killed < 1.0
        # One line for each says why, in Asterisk's own log.
        assert len(asterisk.wait_log(r"ivrd: call \S+: .*worker", count=20)) >= 20

        assert {call["worker"] for call in ivrd.calls()} == {other}
        assert held(ivrd, "running") == 20
        until(lambda: len(ivrd.workers("forking")) == 2, what="the replacement of the worker")
        assert victim not in ivrd.workers("forking")
        asterisk.wait_channels(40)  # two for each of the 20 calls
        lines = ivrd.wait_lines("ivrd_call", 20)
        assert Counter(line["result"] for line in lines) == {"worker_died": 20}
        # The children that the app left are the app's to end; here they would outlive the test.
        known = {ivrd.pid, *ivrd.workers("forking")}
        for pid in set(ivrd.processes()) - known:
            os.kill(pid, signal.SIGKILL)


def test_the_death_of_asterisk_is_told_to_every_app(start_asterisk: StartAsterisk) -> None:
    config = '[apps.chat]\nhandler = "apps:talk"\nworkers = 2\n'
    with Service(config, files={"apps.py": APPS}, drain_timeout=0.0) as ivrd:
        before = descriptors(ivrd)
        asterisk = start_asterisk("22", dialplan=DIALPLAN, bind=bound(ivrd))
        for _ in range(200):
            asterisk.originate("Local/chat@app", application="Wait 100")
        until(lambda: held(ivrd, "running") == 200, timeout=60, what="200 running calls")
        assert min(descriptors(ivrd).values()) > max(before.values())

        asterisk.kill()
        cleaned = {line["call"] for line in ivrd.wait_lines("cleaned", 200)}
        lines = ivrd.wait_lines("ivrd_call", 200)
        assert cleaned == {line["call"] for line in lines}, "each app is told, and has its time to clean up"
        assert Counter(line["result"] for line in lines) == {"hangup": 200}
        assert ivrd.calls() == []
        until(lambda: descriptors(ivrd) == before, what=f"the closing of all but {before}")
        status = ivrd.status()
        assert [worker["stuck"] for app in status["apps"] for worker in app["workers"]] == [0, 0]
        # Nobody was stuck, nothing broke, and no app let anything pass: of no line at all is that the level.
        assert [line for line in ivrd.log.splitlines() if '"level": "error"' in line] == []


def test_the_daemons_death_in_the_middle_of_a_prompt_is_not_felt(start_asterisk: StartAsterisk) -> None:
    """20 callers are being told their balance, or are asked for a key, when the daemon is killed and started again."""
    with Service(example_apps("bank"), drain_timeout=0.0) as ivrd:
        asterisk = start_asterisk("22", dialplan=DIALPLAN, bind=bound(ivrd))
        workers = ivrd.workers("bank")
        for caller in range(20):
            # They press their PINs one after the other, from before the daemon's death until after its return.
            asterisk.call("bank@app", keys="8642#w1", after_ms=500 + 250 * caller, hold_s=30)
        until(lambda: held(ivrd, "running") == 20, what="20 running calls")
        calls = {call["id"] for call in ivrd.calls()}
        ivrd.kill()
        ivrd.restart()
        assert {call["id"] for call in ivrd.calls()} <= calls, "the calls are the same ones"
        assert set(ivrd.workers("bank")) == set(workers), "and so are the workers"
        asterisk.wait_channels(0, timeout=60)
        went_on = Counter(re.findall(r"WENT ON: (.*)\.$", asterisk.log_text(), re.MULTILINE))
        assert went_on == {"OK balance all": 20}
        assert ivrd.calls() == []


def held(ivrd: Service, state: str) -> int:
    return int(ivrd.status()["calls"].get(state, 0))


def descriptors(ivrd: Service) -> dict[int, int]:
    """How many descriptors the daemon and each worker hold."""
    pids = (ivrd.pid, *ivrd.workers("chat"))
    return {pid: len(os.listdir(f"/proc/{pid}/fd")) for pid in pids}


def timestamp(text: str) -> float:
    """The time of a line of Asterisk's log, `2026-11-23 02:00:00.123`, which is UTC."""
    seconds, _, millis = text.partition(".")
    return calendar.timegm(time.strptime(seconds, "%Y-%m-%d %H:%M:%S")) + int(millis) / 1000
