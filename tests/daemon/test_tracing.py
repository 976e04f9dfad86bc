"""A trace on the daemon's side: a worker that tells too late ends nothing."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import trio
import trio.testing

from ivrd.daemon.tracing import Tap, _next_call
from ivrd.simulator.caller import SimulatedCall
from ivrd.simulator.process import open_exchange
from ivrd.wire import control as wire
from tests.service import Service, until

APP = """
async def main(call):
    for number in range(1_000_000):
        await call.set(NUMBER=str(number), FILLER="y" * 200)
"""
APPS = '[apps.main]\nhandler = "menu:main"\nworkers = 1\nheartbeat_timeout = 100.0\nhangup_grace = 0.5\n'


@asynccontextmanager
async def talkative_call() -> AsyncIterator[tuple[Service, SimulatedCall]]:
    """A call that says more than an operator can take."""
    with Service(APPS, files={"menu.py": APP}, drain_timeout=1.0, close_timeout=0.5) as ivrd:
        async with open_exchange() as exchange:
            call = exchange.dial([str(ivrd.shim), f"--socket={ivrd.socket}", "main"])
            await call.exited()
            yield ivrd, call


async def stuck_trace(ivrd: Service, call: SimulatedCall) -> socket.socket:
    """A trace whose operator reads nothing, so that the daemon's task for it waits in the middle."""
    looking = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    looking.connect(str(ivrd.directory / "control.sock"))
    looking.send(wire.encode(wire.Trace(id=ivrd.calls()[0]["id"])))
    first = said(call)
    await call.until(lambda: said(call) >= first + 8000, "2 MB of commands", timeout=60)
    return looking


def said(call: SimulatedCall) -> int:
    return int(call.variables.get("NUMBER", "0"))


async def wait_until(ivrd: Service, calls: int) -> None:
    """Wait until the worker, as the daemon has it in its books, holds so many calls."""

    def holds() -> bool:
        return bool(ivrd.status()["apps"][0]["workers"][0]["calls"] == calls)

    await trio.to_thread.run_sync(partial(until, holds, what=f"the worker's having {calls} calls"))


async def test_a_worker_that_tells_of_a_call_after_its_end() -> None:
    async with talkative_call() as (ivrd, call):
        with await stuck_trace(ivrd, call):
            (worker,) = ivrd.workers("main")
            os.kill(worker, signal.SIGSTOP)
            assert ivrd.ctl("hangup", ivrd.calls()[0]["id"]).returncode == 0
            await trio.to_thread.run_sync(ivrd.wait_lines, "ivrd_call")
            os.kill(worker, signal.SIGCONT)
            await wait_until(ivrd, 0)
        assert ivrd.status()["pid"] == ivrd.pid


async def test_an_operator_who_goes_as_his_call_comes() -> None:
    board: Any = SimpleNamespace(expected=[])
    call: Any = SimpleNamespace(taps=[], pool=SimpleNamespace(name="main"), worker=None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_next_call, board, "main", Tap())
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        board.expected[0](call)
    assert (call.taps, board.expected) == ([], [])
