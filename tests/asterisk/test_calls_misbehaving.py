"""Apps and callers at their worst, on real Asterisk: one call's affair, never the channel's and never the worker's.

The rule here: all of them share one worker with a call that has nothing to do with them, and at the end of each test
that call goes on, on that worker.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.asterisk.conftest import starter
from tests.asterisk.rig import Asterisk
from tests.examples.stage import bound
from tests.service import Service, until

pytestmark = pytest.mark.asterisk

# What an extension is called is what the app does; those with a plain `def` have a worker of threads.
DIALPLAN = """
[async]
exten => _[a-m].,1,Answer()
 same => n,Set(NAME=Bob,FILE(/tmp/ivrd-by-caller)=y)
 same => n,Set(FILE(/tmp/ivrd-by-dialplan)=y)
 same => n,ExternalIVR(/usr/bin/ivrd-shim(async,${EXTEN}))
 same => n,Log(NOTICE,WENT ON: ${EXTEN} ${IVRD_STATUS} ${OUTCOME}.)

[sync]
exten => _[a-m].,1,Answer()
 same => n,ExternalIVR(/usr/bin/ivrd-shim(sync,${EXTEN}))
 same => n,Log(NOTICE,WENT ON: ${EXTEN} ${IVRD_STATUS} ${OUTCOME}.)
"""
CONFIG = "".join(
    f'[apps.{kind}]\nhandler = "apps:main_{kind}"\nworkers = 1\non_error = "exit"\nhangup_grace = 0.5\n'
    for kind in ("async", "sync")
)
APPS = """
import asyncio, json, sys, threading
import anyio
from ivrd import InvalidValue

async def main_async(call):
    await globals()[call.args[0]](call)

def main_sync(call):
    globals()[call.args[0]](call)

def say(event, call, **more):
    print(json.dumps({"event": event, "call": call.id, **more}), flush=True)

async def bystander(call):
    while True:
        await call.play("demo-instruct")

def bystander_sync(call):
    while True:
        call.play("demo-instruct")

async def caller_id(call):
    name = await call.get("NAME")
    try:
        await call.set(CUSTOMER=name)
    except InvalidValue as error:
        await call.set(OUTCOME=name.partition(",")[0])
        say("refused", call, error=str(error))

async def flood(call):
    # Each prompt that Asterisk does not have makes an event, and nobody here takes any.
    for _ in range(5000):
        await call.queue("no-such-prompt")
    await call.set(OUTCOME="flooded")

async def flood_and_stay(call):
    await flood(call)
    say("flooded", call)
    await anyio.sleep_forever()

def block(call):
    for _ in range(5000):
        call.queue("no-such-prompt")
    say("flooded", call)
    threading.Event().wait(60)

async def exit_inside_play(call):
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call.play, "demo-instruct")
        await anyio.sleep(0.2)
        await call.exit("enough")

async def fail_in_cleanup(call):
    try:
        await call.play("demo-instruct")
    finally:
        raise RuntimeError("the cleanup failed")

async def exit_process(call):
    await call.play("beep")
    sys.exit(3)

def exit_process_sync(call):
    call.play("beep")
    sys.exit(3)

async def keys(call):
    await call.send_dtmf("1" * 20)          # for seven seconds, and ivrd gives Asterisk five to close
    await call.set(OUTCOME="sent")

async def leave_task(call):
    async def forever():
        try:
            await asyncio.sleep(600)
        finally:
            say("leftover_cancelled", call)
    call.leftover = asyncio.create_task(forever())
    await asyncio.sleep(0.05)

async def exit_process_in_task(call):
    async def leave():
        sys.exit(4)
    call.task = asyncio.create_task(leave())
    await call.play("beep")
"""


class House(NamedTuple):
    """A service, an Asterisk before it, and what must not change: the calls of the bystanders and their workers."""

    ivrd: Service
    asterisk: Asterisk
    bystanders: set[tuple[str, int]]


@pytest.fixture(scope="module", params=["22", "16"])
def shared(request: pytest.FixtureRequest) -> Iterator[House]:
    with starter() as start, Service(CONFIG, files={"apps.py": APPS}, drain_timeout=0.0) as ivrd:
        asterisk = start(request.param, dialplan=DIALPLAN, bind=bound(ivrd))
        asterisk.originate("Local/bystander@async", application="Wait 600")
        asterisk.originate("Local/bystander_sync@sync", application="Wait 600")
        bystanders = until(lambda: rows if len(rows := running(ivrd)) == 2 else None, what="the bystanders' calls")
        yield House(ivrd, asterisk, bystanders)


@pytest.fixture
def house(shared: House) -> Iterator[House]:
    shared.ivrd.clear_log()
    shared.asterisk.log.write_text("")
    yield shared
    until(lambda: running(shared.ivrd) == shared.bystanders, what="the end of all calls but the bystanders'")
    shared.asterisk.wait_channels(4)


def running(ivrd: Service) -> set[tuple[str, int]]:
    return {(call["id"], call["worker"]) for call in ivrd.calls()}


def test_a_caller_id_that_would_write_a_file_is_refused(house: House) -> None:
    house.asterisk.originate("Local/caller_id@async", application="Wait 20")
    house.asterisk.wait_log(r"WENT ON: caller_id OK Bob\.$")
    assert "comma" in house.ivrd.wait_lines("refused")[0]["error"]
    root = Path(f"/proc/{house.asterisk.pid}/root/tmp")
    assert (root / "ivrd-by-dialplan").read_text().strip() == "y", "this Asterisk writes such files"
    assert not (root / "ivrd-by-caller").exists()


def test_five_thousand_commands_and_no_event_taken(house: House) -> None:
    """Two thousand were enough to hang a channel for ever, hangup included, where the script did not read."""
    house.asterisk.originate("Local/flood@async", application="Wait 60")
    house.asterisk.wait_log(r"WENT ON: flood OK flooded\.$", timeout=60)
    (line,) = house.ivrd.wait_lines("ivrd_call")
    assert (line["result"], line["commands"]) == ("completed", 5003)


@pytest.mark.parametrize("extension", ["flood_and_stay@async", "block@sync"])
def test_hangup_ends_the_call_of_an_app_that_does_not_listen(extension: str, house: House) -> None:
    """Neither that a thread is blocked nor that thousands of events came matters to who hangs up."""
    house.asterisk.originate(f"Local/{extension}", application="Wait 600")
    house.ivrd.wait_lines("flooded", timeout=60)
    house.asterisk.cli("channel request hangup " + next(channel for channel in channels(house) if extension in channel))
    hung_up = time.monotonic()
    (line,) = house.ivrd.wait_lines("ivrd_call")
    assert line["result"] == "hangup"
    house.asterisk.wait_channels(4)
    assert time.monotonic() - hung_up < 10, "the handler on its thread would take a minute"


def test_exit_inside_a_play_leaves_to_the_dialplan(house: House) -> None:
    house.asterisk.originate("Local/exit_inside_play@async", application="Wait 20")
    house.asterisk.wait_log(r"WENT ON: exit_inside_play OK \.$")
    assert house.ivrd.wait_lines("ivrd_call")[0]["result"] == "completed"


def test_an_error_in_cleanup_is_told_and_changes_nothing(house: House) -> None:
    house.asterisk.originate("Local/fail_in_cleanup@async", application="Wait 1")
    assert house.ivrd.wait_lines("ivrd_call")[0]["result"] == "hangup"
    assert "the cleanup failed" in house.ivrd.wait_lines("call.cleanup_error")[0]["error"]


@pytest.mark.parametrize("extension", ["exit_process@async", "exit_process_sync@sync"])
def test_an_app_that_exits_its_process_ends_its_call_only(extension: str, house: House) -> None:
    house.asterisk.originate(f"Local/{extension}", application="Wait 20")
    house.asterisk.wait_log(r"WENT ON: exit_process\w* ERROR \.$")
    house.asterisk.wait_log(r"ivrd: app \w+ failed in call \S+: SystemExit: 3$")
    assert house.ivrd.wait_lines("ivrd_call")[0]["result"] == "app_error"


def test_a_call_goes_on_however_long_its_last_keys_take(house: House) -> None:
    """Asterisk reads nothing while it sends keys, and hangs up if all is closed when it reads again."""
    house.asterisk.originate("Local/keys@async", application="Wait 60")
    house.asterisk.wait_log(r"WENT ON: keys OK sent\.$")
    assert house.ivrd.wait_lines("ivrd_call")[0]["result"] == "completed"


def test_a_task_that_exits_its_process_ends_no_call(house: House) -> None:
    house.asterisk.originate("Local/exit_process_in_task@async", application="Wait 20")
    house.asterisk.wait_log(r"WENT ON: exit_process_in_task OK \.$")


def test_a_task_that_a_handler_left_running_is_ended(house: House) -> None:
    house.asterisk.originate("Local/leave_task@async", application="Wait 20")
    house.asterisk.wait_log(r"WENT ON: leave_task OK \.$")
    assert house.ivrd.wait_lines("leftover_cancelled")[0]["call"] == house.ivrd.wait_lines("ivrd_call")[0]["call"]


def channels(house: House) -> list[str]:
    return [line.split("!")[0] for line in house.asterisk.cli("core show channels concise").splitlines()]
