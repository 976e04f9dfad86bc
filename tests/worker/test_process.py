"""A worker process from its start to its exit, as its daemon sees it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import Any, Literal

import pytest
import trio

from ivrd import __version__
from ivrd.wire.messages import VERSION, Drop, Ended, Failed, Ready, Register, Retire, Spurned, Start, Stop

from .harness import PATIENCE_S, FakeDaemon, Worker, open_daemon

Backend = Literal["asyncio", "trio"]
both = pytest.mark.parametrize("backend", ["asyncio", "trio"])


async def exit_status(daemon: FakeDaemon, worker: Worker) -> int:
    await worker.eof()
    return await trio.to_thread.run_sync(daemon.processes[-1].wait, PATIENCE_S)


@both
async def test_a_worker_registers_gets_ready_runs_a_call_and_retires(backend: Backend) -> None:
    async with open_daemon() as daemon:
        process = daemon.spawn("ivr:hello", lifespan="ivr:lifespan", backend=backend)
        worker, register = await daemon.accept()
        assert register == Register(
            version=VERSION,
            release=__version__,
            pid=process.pid,
            app="menu",
            token="t1",
            generation="g1",
            age=register.age,
            heartbeat_timeout=2.0,
        )
        await worker.next(Ready)
        assert "entered" in daemon.log_text(), "a worker is ready once its lifespan is entered"
        call_id, call = await daemon.start(worker, b"a", b"b\xff")
        await call.hears("welcome")
        call.press("12")
        while worker.tally != {"key": 2, "T": 1}:
            report = await worker.report()
            assert report.rss > 10_000_000
            assert report.lag < 60
        call.press("34")
        assert (await call.ended()).outcome == "continued"
        assert call.variables == {"NAME": "1234", "ARGS": "a|b\udcff", "IVRD_STATUS": "OK"}
        ended = await daemon.ended(worker, call_id)
        assert ended.result == "completed"
        assert ended.tally.events == {"key": 4, "T": 1, "F": 1, "E": 1}
        assert worker.tally == ended.tally.events, "what no report has told comes with the end"
        worker.send(Retire())
        assert await exit_status(daemon, worker) == 0
        assert "left" in daemon.log_text()
        assert daemon.logged() == []


@both
async def test_a_retired_worker_stays_for_its_last_call(backend: Backend) -> None:
    async with open_daemon() as daemon:
        worker = await daemon.launch("ivr:hold", backend=backend)
        call_id, call = await daemon.start(worker)
        worker.send(Retire())
        await worker.report()
        call.press("1")
        await call.until(lambda: call.variables.get("KEY") == "1", "the app answers")
        call.hangup()
        assert (await daemon.ended(worker, call_id)).result == "hangup"
        assert await exit_status(daemon, worker) == 0


@both
async def test_the_app_sees_its_backend_and_not_what_the_daemon_said(backend: Backend) -> None:
    async with open_daemon() as daemon:
        worker = await daemon.launch("ivr:environment", backend=backend)
        _, call = await daemon.start(worker)
        await call.ended()
        assert call.variables["SPEC"] == "gone"
        assert call.variables["BACKEND"] == backend


@both
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"handler": "fails:main"}, "handler 'fails:main': importing fails raised ModuleNotFoundError"),
        ({"handler": "exits:main"}, "handler 'exits:main': importing exits raised SystemExit: this module leaves"),
        ({"handler": "nowhere:main"}, "handler 'nowhere:main': importing nowhere raised ModuleNotFoundError"),
        ({"handler": "ivr:nothing"}, "handler 'ivr:nothing': ivr has no 'nothing'"),
        ({"handler": "ivr:constant"}, "handler 'ivr:constant' is of type int: name a function"),
        ({"handler": "ivr:no_argument"}, "handler 'ivr:no_argument' cannot be called with one argument, the call"),
        ({"handler": "ivr:hello", "lifespan": "ivr:hello"}, "lifespan 'ivr:hello' cannot be called with no argument"),
        ({"handler": "ivr:hello", "lifespan": "ivr:not_a_lifespan"}, "lifespan 'ivr:not_a_lifespan' raised TypeError"),
        ({"handler": "ivr:hello", "lifespan": "ivr:broken_lifespan"}, "raised OSError('no database')"),
    ],
)
async def test_an_app_that_cannot_be_used_is_told_to_the_daemon_and_logged(
    backend: Backend, settings: dict[str, Any], said: str
) -> None:
    async with open_daemon() as daemon:
        daemon.spawn(**settings, backend=backend)
        worker, _ = await daemon.accept()
        failed = await worker.next(Failed)
        assert said in failed.error
        assert "\n" not in failed.error
        assert await exit_status(daemon, worker) == 1
        (line,) = daemon.logged()
        assert line["error"] == failed.error
        assert line["app"] == "menu"


@both
async def test_a_lifespan_that_breaks_later_ends_the_worker_and_hangs_up(backend: Backend) -> None:
    async with open_daemon() as daemon:
        worker = await daemon.launch("ivr:hold", lifespan="ivr:breaking_lifespan", backend=backend)
        call_id, call = await daemon.start(worker)
        assert (await call.ended()).outcome == "hungup_by_app"
        assert "database lost" in (await worker.next(Failed)).error
        assert (await daemon.ended(worker, call_id)).result == "app_error"
        assert call.variables["IVRD_STATUS"] == "ERROR"
        assert await exit_status(daemon, worker) == 1
        assert [line["event"] for line in daemon.logged()] == ["lifespan.broke"]


@both
async def test_stop_ends_what_is_left(backend: Backend) -> None:
    async with open_daemon() as daemon:
        worker = await daemon.launch("ivr:hold", lifespan="ivr:lifespan", backend=backend)
        call_id, call = await daemon.start(worker)
        worker.send(Stop())
        assert (await call.ended()).outcome == "hungup_by_app"
        assert (await daemon.ended(worker, call_id)).result == "drained"
        assert await exit_status(daemon, worker) == 0
        assert "left" in daemon.log_text()


@both
async def test_a_lifespan_that_is_slow_to_leave_is_cut_off(backend: Backend) -> None:
    async with open_daemon() as daemon:
        worker = await daemon.launch("ivr:hello", lifespan="ivr:slow_lifespan", backend=backend)
        began = trio.current_time()
        worker.send(Retire())
        assert await exit_status(daemon, worker) == 0
        assert 4 < trio.current_time() - began < 50


@both
async def test_signals_for_the_daemon_do_nothing_and_usr1_shows_the_stacks(backend: Backend) -> None:
    async with open_daemon() as daemon:
        worker = await daemon.launch("ivr:hold", backend=backend)
        call_id, call = await daemon.start(worker)
        process = daemon.processes[0]
        await worker.report()  # it has nothing more to import: a thread at work while the stacks are read is a risk
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGUSR2, signal.SIGUSR1):
            process.send_signal(number)
        call.press("1")
        await call.until(lambda: "KEY" in call.variables or process.poll() is not None, "the app answers")
        assert process.poll() is None
        assert "most recent call first" in daemon.log_text()
        assert os.getsid(process.pid) == process.pid
        call.hangup()
        await daemon.ended(worker, call_id)
        process.terminate()
        assert await exit_status(daemon, worker) == -signal.SIGTERM


@pytest.mark.parametrize("unbuffered", [False, True])
async def test_what_an_app_prints_is_there_at_once_and_whole(unbuffered: bool) -> None:
    """Whatever PYTHONUNBUFFERED says; on a datagram socket, what one `write()` has written is what one read gives."""
    ours, stdout = trio.socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, stdout:
        async with open_daemon() as daemon:
            daemon.spawn("ivr:prints", stdout=stdout.fileno(), unbuffered=unbuffered)
            worker, _ = await daemon.accept()
            await worker.next(Ready)
            _, call = await daemon.start(worker)
            with trio.fail_after(PATIENCE_S):
                assert await ours.recv(100) == b"an app says something\n"
            call.hangup()


@both
async def test_a_call_with_wrong_descriptors_is_given_back(backend: Backend) -> None:
    async with open_daemon() as daemon:
        worker = await daemon.launch("ivr:hold", backend=backend)
        worker.send(Start(id="wrong", args=(), started=0.0), [0])
        ended = await worker.next(Ended, id="wrong")
        assert ended.result == "app_error"
        assert ended.detail == ended.unsaid == "a call comes with 3 descriptors, not 1"
        worker.socket.send(b"rubbish")
        call_id, call = await daemon.start(worker)
        call.hangup()
        assert (await daemon.ended(worker, call_id)).result == "hangup"
        assert [line["event"] for line in daemon.logged()] == ["call.refused", "daemon.unreadable"]


@both
async def test_a_dropped_call_is_closed_without_a_word(backend: Backend) -> None:
    async with open_daemon() as daemon:
        worker = await daemon.launch("ivr:hold", backend=backend)
        call_id, call = await daemon.start(worker)
        worker.send(Drop(id="no such call"))
        await worker.next(Spurned, id="no such call")  # its place is free again
        worker.send(Drop(id=call_id))
        # The daemon of this test kept no copy, so that closing is seen.
        assert (await call.ended()).outcome == "went_away"
        assert (await daemon.ended(worker, call_id)).result == "operator"


@both
async def test_a_call_that_comes_while_the_worker_goes_is_left_to_another(backend: Backend) -> None:
    async with open_daemon() as daemon:
        worker = await daemon.launch("ivr:hello", lifespan="ivr:slow_lifespan", backend=backend)
        worker.send(Stop())
        call_id, call = await daemon.start(worker, started=False)
        await worker.next(Spurned, id=call_id)
        assert call.first_command_at is None


@both
async def test_calls_that_are_taken_back_before_their_worker_saw_them_are_not_begun(backend: Backend) -> None:
    async with open_daemon() as daemon:
        worker = await daemon.launch("ivr:naps", backend=backend, heartbeat_timeout=30)
        _, first = await daemon.start(worker)
        await first.until(lambda: first.variables.get("NAP") == "begun", "the nap")
        late = [await daemon.start(worker, started=False) for _ in range(60)]
        for call_id, _ in late:
            worker.send(Drop(id=call_id))
        for call_id, call in late:
            await worker.next(Spurned, id=call_id)
            assert call.first_command_at is None
        assert first.variables["NAP"] == "begun"
        first.hangup()


def test_a_person_who_starts_a_worker_is_told_what_to_do() -> None:
    environment = {key: value for key, value in os.environ.items() if key != "IVRD_WORKER"}
    command = [sys.executable, "-m", "ivrd.worker"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("ivrd.worker is started by `ivrd serve`")


def test_a_worker_starts_without_what_only_the_daemon_needs() -> None:
    script = (
        "import sys, ivrd.worker.runtime; print([n for n in ('rich','click','prometheus_client','structlog','trio')\
 if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
