"""Apps that do not start, or not all the way: with ivrd, at a reload, at an upgrade, and in the midst of their work."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path

import trio

from ivrd.wire import control
from tests.chaos.rig import all_ended, hears_echo, in_thread, open_rig
from tests.service import Service, until

SWITCHED = """
import os
from pathlib import Path
from ivrd import Call

here = Path(__file__).parent
if (here / "broken").exists():
    raise ImportError("a dependency is missing")

async def main(call: Call) -> None:
    await call.set(PID=str(os.getpid()), LIFE="1")
    async for event in call.events():
        if key := getattr(event, "key", ""):
            await call.set(ECHO=f"{key}!")
            if key == "#":
                return
"""
ONE = '[apps.x]\nhandler = "x:main"\nworkers = 1\n'
TWO = '[apps.x]\nhandler = "x:main"\nworkers = 2\n'


def test_one_worker_of_three_that_does_not_start_is_tried_again() -> None:
    source = """
import os
try:
    os.close(os.open(os.path.join(os.path.dirname(__file__), "first"), os.O_CREAT | os.O_EXCL))
except FileExistsError:
    pass
else:
    raise RuntimeError("the first one only")
async def main(call):
    pass
"""
    with Service('[apps.x]\nhandler = "x:main"\nworkers = 3\n', files={"x.py": source}) as ivrd:
        until(lambda: len(ivrd.workers("x")) == 3, what="three workers")
        assert len(ivrd.lines("app_backs_off")) == 1


def test_a_lifespan_that_is_never_entered_fails_in_time() -> None:
    source = """
import asyncio, os
from contextlib import asynccontextmanager
@asynccontextmanager
async def span():
    if os.path.exists(os.path.join(os.path.dirname(__file__), "broken")):
        await asyncio.sleep(600)
    yield
async def main(call):
    pass
"""
    config = ONE + 'lifespan = "x:span"\nstart_timeout = 2\nheartbeat_timeout = 1\n'
    with Service(config, files={"x.py": source}) as ivrd:
        before = ivrd.workers("x")
        (ivrd.apps / "broken").touch()
        done = ivrd.ctl("reload")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.strip().endswith("did not start: it was not ready within 2 s, its start_timeout")
        assert ivrd.workers("x") == before
        until(lambda: len(ivrd.processes()) == 2, what="the end of the one that hung")


def test_a_reload_fails_with_the_first_reason_and_at_once() -> None:
    source = """
import os, time
from pathlib import Path
here = Path(__file__).parent
if (here / "new").exists():
    try:
        os.close(os.open(here / "first", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        raise RuntimeError("no room in the database") from None
    time.sleep(20)
async def main(call):
    pass
"""
    with Service(TWO, files={"x.py": source}) as ivrd:
        (ivrd.apps / "new").touch()
        done = ivrd.ctl("reload", timeout=15)
        assert done.returncode == 1
        assert "no room in the database" in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert len(ivrd.workers("x")) == 2


def test_an_app_that_was_broken_on_disk_backs_off_though_its_older_workers_are_well() -> None:
    with Service(TWO, files={"x.py": SWITCHED}) as ivrd:
        until(lambda: min(row["age"] for row in ivrd.status()["apps"][0]["workers"]) > 1.2, what="settled workers")
        (ivrd.apps / "broken").touch()
        os.kill(ivrd.workers("x")[0], signal.SIGKILL)
        waits = [line["failures"] for line in ivrd.wait_lines("app_backs_off", 3)]
        assert waits[:3] == [1, 2, 3]
        (ivrd.apps / "broken").unlink()
        until(lambda: len(ivrd.workers("x")) == 2, what="the second worker")
        assert len(ivrd.workers("x")) == 2


def test_a_limit_on_memory_that_no_worker_keeps_is_told_and_replaces_none() -> None:
    with Service(ONE + 'max_memory = "17 MiB"\n', files={"x.py": SWITCHED}) as ivrd:
        (warning,) = ivrd.wait_lines("max_memory_too_low")
        assert "raise it" in warning["detail"]
        until(lambda: ivrd.status()["apps"][0]["workers"][0]["age"] > 3, what="some time")
        assert len(ivrd.lines("worker_ready")) == 1


def test_what_is_for_all_apps_reaches_the_workers_of_the_same_reload() -> None:
    def told(pid: int) -> tuple[float, str]:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        (spec,) = (json.loads(line.partition(b"=")[2]) for line in environment if line.startswith(b"IVRD_WORKER="))
        return spec["close_timeout"], spec["log_level"]

    with Service(ONE, files={"x.py": SWITCHED}, close_timeout=5.0, log_level="info") as ivrd:
        assert [told(pid) for pid in ivrd.workers("x")] == [(5.0, "info")]
        ivrd.configure(ONE, close_timeout=1.0, log_level="warning", log_format="console")
        done = ivrd.ctl("reload")
        assert "waits for a restart: server.log_format" in done.stdout
        assert [told(pid) for pid in ivrd.workers("x")] == [(1.0, "warning")]


async def test_a_lower_heartbeat_timeout_is_for_workers_that_know_of_it() -> None:
    config = '[apps.hold]\nhandler = "apps:hold"\nworkers = 2\nheartbeat_timeout = '
    async with open_rig(config + "15\n") as rig:
        live = await rig.live(4)
        rig.service.configure(config + "0.5\n")
        assert await rig.reload() == ""
        await trio.sleep(2)
        assert await rig.books_are(4)
        assert rig.service.lines("worker_stuck") == []
        for call in live:
            call.press("#")
        await all_ended(live)


async def test_callers_who_wait_for_an_app_that_a_reload_removes_are_sent_on_at_once() -> None:
    gone = '[apps.entry]\nhandler = "apps:entry"\nworkers = 1\nconcurrency = 1\nqueue_timeout = 60\n'
    stays = '[apps.now]\nhandler = "apps:now"\nworkers = 1\n'
    async with open_rig(gone + stays) as rig:
        first = rig.dial("entry")
        await first.exited()
        waiting = [rig.dial("entry", fallback="exit") for _ in range(3)]

        async def wait() -> bool:
            return (await rig.app("entry")).waiting == 3

        await rig.until(wait, "three in the line")
        rig.service.configure(stays)
        assert await rig.reload() == ""
        await all_ended(waiting)
        assert {call.variables["IVRD_STATUS"] for call in waiting} == {"UNKNOWN_APP"}
        first.press("123")
        await all_ended([first])
        assert first.variables["DIGITS"] == "123"


async def test_new_code_that_does_not_start_leaves_the_calls_with_the_old_workers_which_go_on() -> None:
    async with open_rig(ONE, files={"x.py": SWITCHED}, drain_timeout=1.0) as rig:
        live = await rig.live(3, "x")
        rig.service.signal(signal.SIGUSR2)
        await in_thread(rig.service.wait)
        (rig.service.apps / "broken").touch()
        await rig.start()
        await trio.to_thread.run_sync(rig.service.wait_lines, "app_backs_off")
        for call in live:
            assert await hears_echo(call, "1")
        late = (await rig.live(1, "x"))[0]
        assert await hears_echo(late, "2"), "the old worker takes new calls as well"
        old = rig.service.workers("x")
        (rig.service.apps / "broken").unlink()
        await rig.until(lambda: set(rig.service.workers("x")) - set(old), "a worker with the new code", 60)
        for call in (*live, late):
            call.press("#")
        await all_ended([*live, late])
        assert {call.variables["IVRD_STATUS"] for call in (*live, late)} == {"OK"}


async def test_a_lifespan_that_breaks_sends_its_calls_on_and_gets_no_more() -> None:
    source = """
import anyio, os
from contextlib import asynccontextmanager
from pathlib import Path
flag = Path(__file__).parent / "break"

async def watch():
    while True:
        await anyio.sleep(0.02)
        try:
            flag.unlink()  # one of the two workers sees it
        except FileNotFoundError:
            continue
        raise OSError("database gone")

@asynccontextmanager
async def span():
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        yield
        tasks.cancel_scope.cancel()

async def main(call):
    try:
        await call.set(PID=str(os.getpid()))
        async for event in call.events():
            pass
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(2)  # so that the worker has to wait
"""
    config = TWO + 'lifespan = "x:span"\non_error = "exit"\n'
    async with open_rig(config, files={"x.py": source}) as rig:
        live = await rig.live(4, "x")
        (rig.service.apps / "break").touch()
        await in_thread(rig.service.wait_lines, "app_failed")
        fresh = await rig.live(6, "x")
        lost = [call for call in live if call.channel.ended]
        assert Counter(call.variables.get("IVRD_STATUS") for call in lost) == {"ERROR": 2}
        assert [call.channel.ended for call in fresh] == [None] * 6
        for call in (*live, *fresh):
            call.hangup()
        await rig.until(lambda: rig.books_are(0), "empty books")


async def test_to_drain_twice_is_to_drain_once() -> None:
    async with open_rig('[apps.hold]\nhandler = "apps:hold"\nworkers = 1\n', drain_timeout=60) as rig:
        live = await rig.live(2)
        for _ in range(2):
            await rig.ask(control.Drain())
        rig.service.signal(signal.SIGTERM)  # as `systemctl stop` after `ivrd drain`
        for call in live:
            assert await hears_echo(call, "1")
        for call in live:
            call.press("#")
        await all_ended(live)
        await in_thread(rig.service.wait)
        assert {call.variables["IVRD_STATUS"] for call in live} == {"OK"}


async def test_who_waits_for_an_app_that_will_not_start_in_time_is_sent_on_at_once() -> None:
    # Its fifth failure makes it wait for 8 s, and by then this caller has waited for some 4 s.
    async with open_rig(ONE + "queue_timeout = 7.9\n", files={"x.py": SWITCHED}) as rig:
        (worker,) = await in_thread(rig.service.workers, "x")
        (rig.service.apps / "broken").touch()
        os.kill(worker, signal.SIGKILL)
        await in_thread(rig.service.wait_lines, "app_backs_off", 4)
        call = rig.dial("x")
        await call.ended(30)
        assert call.variables["IVRD_STATUS"] == "CRASHED"
        (line,) = await in_thread(rig.service.wait_lines, "ivrd_call")
        assert "has no worker that starts" in line["detail"]
        assert "a dependency is missing" in line["detail"]
        assert line["duration"] < 7.5
