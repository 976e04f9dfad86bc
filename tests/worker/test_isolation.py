"""What one handler does is one call's affair: threads, tasks, exits, floods, in real workers."""

from __future__ import annotations

import signal
from typing import Any, Literal

import pytest
import trio

from ivrd.simulator.process import ProcessCall
from ivrd.wire.messages import Retire

from .harness import FakeDaemon, Worker, open_daemon

Backend = Literal["asyncio", "trio"]
both = pytest.mark.parametrize("backend", ["asyncio", "trio"])


async def still_works(daemon: FakeDaemon, worker: Worker, call: ProcessCall, call_id: str) -> None:
    """A call that was there before goes on, and ends as it should."""
    call.press("7")
    await call.until(lambda: call.variables.get("KEY") == "7", "the other call is answered")
    call.hangup()
    assert (await daemon.ended(worker, call_id)).result == "hangup"


@both
async def test_a_plain_function_has_the_same_methods(backend: Backend) -> None:
    async with open_daemon() as daemon:
        worker = await daemon.launch("ivr:call_back", backend=backend)
        call_id, call = await daemon.start(worker, variables={"A": "1", "B": "2"})
        await call.hears("welcome")
        call.press("123")
        await call.hears("short")
        await trio.sleep(0.1)
        call.press("1")
        await call.hears("digits/1")
        assert (await call.ended()).outcome == "continued"
        ended = await daemon.ended(worker, call_id)
        assert ended.result == "completed", daemon.log_text()
        wanted = {"NUMBER": "123", "CHOICE": "one", "AB": "12", "PARAMS": "/bin/app", "IVRD_STATUS": "OK"}
        assert {name: call.variables[name] for name in wanted} == wanted


@both
async def test_a_plain_function_is_told_of_the_hangup_where_it_waits(backend: Backend) -> None:
    async with open_daemon() as daemon:
        worker = await daemon.launch("ivr:waits", backend=backend)
        call_id, call = await daemon.start(worker)
        await call.hears("long")
        call.hangup()
        assert (await daemon.ended(worker, call_id)).result == "hangup"
        assert "told" in daemon.log_text()
        assert daemon.logged() == []


@both
@pytest.mark.parametrize(
    ("arg", "result", "outcome", "logs"),
    [
        (b"exit", "completed", "continued", []),
        (b"3", "app_error", "hungup_by_app", ["call.app_error"]),
        (b"threads", "completed", "continued", []),
    ],
)
async def test_how_a_plain_function_ends(
    backend: Backend, arg: bytes, result: str, outcome: str, logs: list[str]
) -> None:
    async with open_daemon() as daemon:
        worker = await daemon.launch("ivr:leaves", backend=backend)
        call_id, call = await daemon.start(worker, arg)
        assert (await call.ended()).outcome == outcome
        assert (await daemon.ended(worker, call_id)).result == result
        assert [line["event"] for line in daemon.logged()] == logs


@both
async def test_a_blocked_thread_does_not_keep_its_call_nor_others_nor_the_process(backend: Backend) -> None:
    async with open_daemon() as daemon:
        worker = await daemon.launch("ivr:blocked", backend=backend, concurrency=1, hangup_grace=0.3)
        for number in (1, 2):
            call_id, call = await daemon.start(worker)
            await trio.sleep(0.1)
            call.hangup()
            assert (await call.ended()).outcome == "hungup_by_caller"
            assert (await daemon.ended(worker, call_id)).result == "hangup"
            while (await worker.report()).stuck != number:
                pass
        assert [line["event"] for line in daemon.logged()] == ["call.stuck"] * 2
        worker.send(Retire())
        await worker.eof()
        assert await trio.to_thread.run_sync(daemon.processes[0].wait, 60) == 0


@both
async def test_a_deadline_holds_for_a_blocked_thread(backend: Backend) -> None:
    async with open_daemon() as daemon:
        worker = await daemon.launch("ivr:blocked", backend=backend, max_duration=1.0, hangup_grace=0.2)
        call_id, call = await daemon.start(worker)
        assert (await call.ended()).outcome == "hungup_by_app"
        assert call.now() < 30
        assert call.variables == {"IVRD_STATUS": "TIMEOUT"}
        assert (await daemon.ended(worker, call_id)).result == "timeout"


@both
async def test_a_task_that_ignores_its_cancellation_is_given_up_and_counted_until_it_ends(backend: Backend) -> None:
    async with open_daemon() as daemon:
        worker = await daemon.launch("ivr:ignores", backend=backend, hangup_grace=0.2)
        call_id, call = await daemon.start(worker)
        call.hangup()
        assert (await daemon.ended(worker, call_id)).result == "hangup"
        assert (await worker.report()).stuck == 1
        while (await worker.report()).stuck:
            pass


async def _with_a_bystander(handler: str, **settings: Any) -> tuple[str, str, list[dict[str, Any]], str]:
    """Run a call of `handler` beside one that is held in the same worker."""
    async with open_daemon() as daemon:
        worker = await daemon.launch("ivr:by_name", backend="asyncio", **settings)
        other_id, other = await daemon.start(worker, b"hold")
        call_id, call = await daemon.start(worker, handler.encode())
        outcome = (await call.ended()).outcome
        result = (await daemon.ended(worker, call_id)).result
        await worker.report()
        await still_works(daemon, worker, other, other_id)
        return outcome, result, daemon.logged(), daemon.log_text()


async def test_tasks_that_a_handler_leaves_running_are_cancelled_and_their_exits_stop_nothing() -> None:
    outcome, result, logged, text = await _with_a_bystander("task_left")
    assert (outcome, result) == ("continued", "completed")
    assert "lingering task was cancelled" in text
    assert [line["event"] for line in logged] == ["task.exited", "task.exited"]
    assert {line["error"] for line in logged} == {"SystemExit('from a callback')", "SystemExit('from a task')"}


async def test_sys_exit_in_a_group_of_asyncios_own_is_the_handlers_error() -> None:
    outcome, result, logged, _ = await _with_a_bystander("task_group")
    assert (outcome, result) == ("hungup_by_app", "app_error")
    assert [line["event"] for line in logged] == ["task.exited", "call.app_error"]


@both
async def test_5000_commands_without_reading_an_event_do_not_freeze_the_channel(backend: Backend) -> None:
    async with open_daemon() as daemon:
        worker = await daemon.launch("ivr:flood", backend=backend)
        call_id, call = await daemon.start(worker)
        assert (await call.ended(60)).outcome == "continued"
        assert call.variables["N"] == "4999"
        assert call.channel.commands == 5002
        assert (await daemon.ended(worker, call_id)).tally.commands == {"V": 5001, "E": 1}


@both
async def test_what_a_handler_left_unsent_is_sent_before_the_end(backend: Backend) -> None:
    async with open_daemon() as daemon:
        worker = await daemon.launch("ivr:leaves_a_backlog", backend=backend)
        call_id, call = await daemon.start(worker)
        assert (await call.ended()).outcome == "continued"
        assert call.variables["IVRD_STATUS"] == "OK"
        assert (await daemon.ended(worker, call_id)).tally.commands == {"D": 1, "A": 100, "I": 1, "V": 1, "E": 1}


@both
async def test_a_hangup_cancels_where_it_could_also_raise(backend: Backend) -> None:
    async with open_daemon() as daemon:
        worker = await daemon.launch("ivr:tells_its_end", backend=backend)
        call_id, call = await daemon.start(worker)
        await call.hears("long")
        call.hangup()
        await daemon.ended(worker, call_id)
        assert daemon.log_text() == {"asyncio": "CancelledError\n", "trio": "Cancelled\n"}[backend]


@both
async def test_a_key_and_the_hangup_in_one_read_are_a_hangup(backend: Backend) -> None:
    """As a worker meets them whose loop was busy meanwhile."""
    async with open_daemon() as daemon:
        worker = await daemon.launch("ivr:tells_its_end", backend=backend)
        call_id, call = await daemon.start(worker)
        await call.hears("long")
        daemon.processes[0].send_signal(signal.SIGSTOP)
        call.press("5")
        call.hangup()
        await call.ended()
        daemon.processes[0].send_signal(signal.SIGCONT)
        ended = await daemon.ended(worker, call_id)
        assert (ended.result, ended.detail) == ("hangup", "the caller hung up")
        assert daemon.log_text() == {"asyncio": "CancelledError\n", "trio": "Cancelled\n"}[backend]


@both
async def test_5000_questions_do_not_freeze_the_channel(backend: Backend) -> None:
    async with open_daemon() as daemon:
        worker = await daemon.launch("ivr:flood_of_questions", backend=backend)
        call_id, call = await daemon.start(worker)
        await trio.sleep(0.5)
        call.press("5")
        assert (await call.ended(60)).outcome == "continued"
        assert call.variables["KEYS"] == "5"
        assert (await daemon.ended(worker, call_id)).tally.events["G"] == 5000


@both
async def test_a_blocked_loop_is_seen_in_the_reports(backend: Backend) -> None:
    async with open_daemon() as daemon:
        worker = await daemon.launch("ivr:blocks_the_loop", backend=backend)
        call_id, _ = await daemon.start(worker)
        await daemon.ended(worker, call_id)
        await worker.report()
        assert max(report.lag for report in worker.reports) > 1
