"""The daemon dies, hangs or comes back, and no call of a worker's notices."""

from __future__ import annotations

import os
import time
from typing import Literal

import pytest
import trio

from ivrd import descriptors
from ivrd.simulator.process import ProcessCall
from ivrd.wire.messages import Ended, Held, Kept, Leave, Ready, Register, Retire, Start, Started, Welcome

from .harness import FakeDaemon, Worker, open_daemon

Backend = Literal["asyncio", "trio"]
both = pytest.mark.parametrize("backend", ["asyncio", "trio"])


async def answers(call: ProcessCall, key: str) -> None:
    call.press(key)
    await call.until(lambda: call.variables.get("KEY") == key, f"key {key} is answered")


async def adopt(daemon: FakeDaemon) -> tuple[Worker, Register, list[Held]]:
    """The next daemon takes a worker in, with its calls."""
    worker, register = await daemon.accept()
    batches: list[Held] = []
    while sum(len(batch.calls) for batch in batches) < register.held:
        batches.append(await worker.next(Held))
        worker.send(Kept())
    await worker.next(Ready)
    return worker, register, batches


@both
@pytest.mark.parametrize("leave", [False, True])
async def test_calls_go_on_and_come_along_to_the_next_daemon(backend: Backend, leave: bool) -> None:
    async with open_daemon() as daemon:
        worker = await daemon.launch("ivr:hold", backend=backend)
        first_id, first = await daemon.start(worker, b"0", b"\xff", attempt=2, age=7.5, transport="pipe")
        second_id, second = await daemon.start(worker)
        if leave:
            worker.send(Leave())
        daemon.vanish()
        await answers(first, "1")
        second.hangup()
        await second.ended()
        await answers(first, "2")
        daemon.listen()
        worker, register, (batch,) = await adopt(daemon)
        assert (register.ready, register.retiring, register.served, register.held) == (True, False, 2, 1)
        assert register.pid == daemon.processes[0].pid
        (held,) = batch.calls
        assert (held.id, held.args, held.attempt, held.transport) == (first_id, (b"0", b"\xff"), 2, "pipe")
        assert 7.5 < held.age < 60
        assert abs(held.started - time.time()) < 60
        assert not held.leaving
        await answers(first, "3")
        # What came along are the call's own descriptors: the next daemon can end it.
        assert len(worker.fds) == 3
        os.write(worker.fds[1], b"H,by the next daemon\n")
        assert (await first.ended()).outcome == "hungup_by_app"
        assert (await daemon.ended(worker, first_id)).result == "hangup"
        assert not any(isinstance(message, Ended) and message.id == second_id for message in worker.messages)
        third_id, third = await daemon.start(worker)
        third.hangup()
        assert (await daemon.ended(worker, third_id)).result == "hangup"
        assert daemon.logged() == []


@both
async def test_many_calls_come_along_in_acknowledged_batches(backend: Backend) -> None:
    async with open_daemon() as daemon:
        worker = await daemon.launch("ivr:hold", backend=backend)
        calls = dict([await daemon.start(worker) for _ in range(100)])
        daemon.vanish()
        daemon.listen()
        worker, register = await daemon.accept()
        assert register.held == 100
        first = await worker.next(Held)
        assert len(first.calls) == 84
        assert len(worker.fds) == 3 * 84
        # A call that was announced ends before its batch: it is told all the same, and its end behind it.
        gone = next(iter(set(calls) - {call.id for call in first.calls}))
        calls[gone].hangup()
        await calls[gone].ended()
        await trio.sleep(0.2)
        assert worker.messages == []
        worker.send(Kept())
        second = await worker.next(Held)
        assert gone in {call.id for call in second.calls}
        assert {call.id for call in first.calls + second.calls} == set(calls)
        assert len(worker.fds) == 3 * 100
        assert worker.messages == []
        worker.send(Kept())
        assert (await daemon.ended(worker, gone)).result == "hangup"
        await worker.next(Ready)
        # Nothing of it is left in the worker: its stdin has no reader once the daemon's copies are closed.
        pid = daemon.processes[0].pid
        assert len(os.listdir(f"/proc/{pid}/fd")) < 3 * 99 + 30


@both
async def test_calls_with_long_arguments_make_smaller_batches(backend: Backend) -> None:
    async with open_daemon() as daemon:
        worker = await daemon.launch("ivr:hold", backend=backend)
        for _ in range(6):
            await daemon.start(worker, b"0", b"x" * 16_000)
        daemon.vanish()
        daemon.listen()
        _, _, batches = await adopt(daemon)
        assert [len(batch.calls) for batch in batches] == [4, 2]


@both
async def test_a_start_on_its_way_when_the_daemon_dies_is_held(backend: Backend) -> None:
    async with open_daemon() as daemon:
        worker = await daemon.launch("ivr:hold", backend=backend)
        await worker.report()
        await trio.sleep(1.5)  # reports that nobody reads: closing gives the worker ECONNRESET before the call
        call_id, call = await daemon.start(worker, started=False)
        daemon.vanish()
        await answers(call, "1")
        daemon.listen()
        worker, register, (batch,) = await adopt(daemon)
        assert register.served == 1
        assert [held.id for held in batch.calls] == [call_id]


@both
async def test_a_daemon_that_does_not_read_holds_no_call_up(backend: Backend) -> None:
    async with open_daemon() as daemon:
        worker = await daemon.launch("ivr:quick", backend=backend)
        ids = []
        for _ in range(300):
            call_id, call = await daemon.start(worker, started=False)
            assert (await call.ended()).outcome == "continued"
            ids.append(call_id)
        for call_id in ids:
            assert await worker.next(Started) == Started(call_id)
            assert (await worker.next(Ended)).id == call_id
        while worker.tally.get("E", 0) < 300:
            await worker.report()
        assert worker.tally == {"E": 300}


@both
async def test_a_worker_that_leaves_says_all_that_it_has_to_say(backend: Backend) -> None:
    async with open_daemon() as daemon:
        worker = await daemon.launch("ivr:quick", backend=backend)
        ids = []
        for _ in range(300):
            call_id, call = await daemon.start(worker, started=False)
            await call.ended()
            ids.append(call_id)
        worker.send(Retire())
        await worker.eof()
        assert [message.id for message in worker.messages if isinstance(message, Ended)] == ids


@both
async def test_what_the_last_daemon_did_not_read_is_not_told_to_the_next(backend: Backend) -> None:
    async with open_daemon() as daemon:
        worker = await daemon.launch("ivr:quick", backend=backend)
        for _ in range(300):
            _, call = await daemon.start(worker, started=False)
            await call.ended()
        daemon.vanish()
        daemon.listen()
        worker, register, batches = await adopt(daemon)
        assert (register.served, register.held, batches) == (300, 0, [])
        call_id, _ = await daemon.start(worker)
        await daemon.ended(worker, call_id)
        assert worker.messages == []


@both
async def test_deadlines_hold_without_a_daemon(backend: Backend) -> None:
    async with open_daemon() as daemon:
        worker = await daemon.launch("ivr:hold", backend=backend, max_duration=1.5)
        _, call = await daemon.start(worker)
        daemon.vanish()
        assert (await call.ended()).outcome == "hungup_by_app"
        assert call.variables["IVRD_STATUS"] == "TIMEOUT"


@both
async def test_a_daemon_that_turns_a_worker_away_is_asked_again(backend: Backend) -> None:
    async with open_daemon() as daemon:
        worker = await daemon.launch("ivr:hold", backend=backend)
        _, call = await daemon.start(worker)
        daemon.vanish()
        daemon.listen()
        assert daemon.listener is not None
        for _ in range(2):
            await trio.lowlevel.wait_readable(daemon.listener)
            connection, _ = daemon.listener.accept()
            connection.close()
        worker, _, (batch,) = await adopt(daemon)
        assert len(batch.calls) == 1
        await answers(call, "1")


@both
async def test_a_daemon_that_dies_in_the_middle_of_a_registration(backend: Backend) -> None:
    async with open_daemon() as daemon:
        worker = await daemon.launch("ivr:hold", backend=backend)
        calls = dict([await daemon.start(worker) for _ in range(90)])
        daemon.vanish()
        daemon.listen()
        worker, _ = await daemon.accept()
        first = await worker.next(Held)
        gone = next(iter(set(calls) - {call.id for call in first.calls}))
        calls[gone].hangup()
        await calls[gone].ended()
        await trio.sleep(0.2)
        daemon.vanish()
        daemon.listen()
        worker, register, batches = await adopt(daemon)
        assert register.held == 89
        await worker.report()
        assert worker.messages == []
        assert {call.id for batch in batches for call in batch.calls} == set(calls) - {gone}


@both
async def test_a_worker_that_is_leaving_says_so_to_the_next_daemon(backend: Backend) -> None:
    async with open_daemon() as daemon:
        worker = await daemon.launch("ivr:hold", backend=backend)
        _, call = await daemon.start(worker)
        worker.send(Retire())
        await worker.report()
        daemon.vanish()
        daemon.listen()
        worker, register, _ = await adopt(daemon)
        assert register.retiring
        call.hangup()
        await worker.eof()
        assert await trio.to_thread.run_sync(daemon.processes[0].wait, 60) == 0


@both
async def test_a_call_that_waits_for_asterisk_to_close_is_marked_as_leaving(backend: Backend) -> None:
    async with open_daemon() as daemon:
        worker = await daemon.launch("ivr:busy", backend=backend)
        call_id, _ = await daemon.start(worker)
        await trio.sleep(0.3)
        daemon.vanish()
        daemon.listen()
        worker, _, (batch,) = await adopt(daemon)
        assert [(held.id, held.leaving) for held in batch.calls] == [(call_id, True)]
        assert (await daemon.ended(worker, call_id)).result == "completed"


@pytest.mark.slow
async def test_a_worker_without_calls_waits_half_a_minute_for_a_daemon() -> None:
    async with open_daemon() as daemon:
        await daemon.launch("ivr:hold", backend="asyncio")
        daemon.vanish()
        began = trio.current_time()
        assert await trio.to_thread.run_sync(daemon.processes[0].wait, 60) == 0
        assert 28 < trio.current_time() - began < 90
        daemon.listen()


async def test_a_forged_message_with_many_descriptors_leaks_none() -> None:
    async with open_daemon() as daemon:
        worker = await daemon.launch("ivr:hold", backend="trio")
        pid = daemon.processes[0].pid
        await worker.report()
        before = len(os.listdir(f"/proc/{pid}/fd"))
        descriptors.send(worker.socket, b"x", [0] * 200)
        worker.send(Welcome(), [0, 0, 0])
        worker.send(Kept(), [0, 0, 0])
        worker.send(Start(id="x", args=(), started=0.0), [0, 0])
        assert (await worker.next(Ended)).id == "x"
        assert len(os.listdir(f"/proc/{pid}/fd")) == before
