"""The daemon's calls and workers cancelled at every single step of a story that leads through all states of a call.

The rule here: one process, real pipes and sockets, and around each run a snapshot of descriptors and children. A fake
worker speaks the worker's protocol; its process is a `sleep`, so that there is a death to be seen.
"""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress

import trio

from ivrd import descriptors
from ivrd.config import App, Config, Server
from ivrd.daemon.intake import Intake
from ivrd.daemon.lock import Lock
from ivrd.daemon.switchboard import Switchboard
from ivrd.daemon.workers import Worker
from ivrd.observe.metrics import Metrics, Snapshot
from ivrd.rules.life import OrderedOut, State
from ivrd.wire import messages as wire
from tests.conftest import held_by_this_process

from .report import Report


class _Cutter(trio.abc.Instrument):
    """Counts the steps of all tasks, and cancels some scopes before the one that it is told."""

    def __init__(self, at: int | None) -> None:
        self.steps = 0
        self.scopes: list[trio.CancelScope] = []
        self._at = at

    def before_task_step(self, _task: trio.lowlevel.Task) -> None:
        if self.scopes:
            if self.steps == self._at:
                for scope in self.scopes:
                    scope.cancel()
            self.steps += 1


class _Caller:
    """Asterisk's end of a call, and its shim's end of the connection."""

    def __init__(self, intake: Intake, room: ExitStack) -> None:
        reader, self.events = os.pipe()
        self.commands, writer = os.pipe()
        self.errors, log = os.pipe()
        self.shim, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.said = b""
        self._open = {self.events, self.commands, self.errors}
        room.callback(self.hang_up)
        room.enter_context(self.shim)
        os.set_blocking(self.commands, False)
        self.shim.setblocking(False)
        theirs.setblocking(False)
        descriptors.send(self.shim, b"ivrd1\0hangup\x002000\0app\0", (reader, writer, log))
        descriptors.close_all((reader, writer, log))
        intake.take(theirs)

    def press(self, key: str) -> None:
        os.write(self.events, f"{key},1700000000\n".encode())

    def answer(self, line: str) -> None:
        os.write(self.events, line.encode())

    def was_told(self, what: bytes) -> bool:
        with suppress(BlockingIOError):
            self.said += os.read(self.commands, 65_536)
        return what in self.said

    def heard_from_shim_socket(self) -> bytes:
        with suppress(BlockingIOError, ConnectionResetError):
            return self.shim.recv(1000)
        return b""

    def hang_up(self) -> None:
        descriptors.close_all(self._open)
        self._open.clear()


class _FakeWorker:
    """The other end of a worker's connection."""

    def __init__(self, board: Switchboard, room: ExitStack) -> None:
        self.starts: list[wire.Start] = []
        self.drops: list[str] = []
        self._fds: list[int] = []
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.posix_spawn("/bin/sleep", ["sleep", "600"], {})
        room.callback(self._clean_up)
        self.socket.setblocking(False)
        theirs.setblocking(False)
        pool = board.pools["app"]
        self.worker = Worker(board.next_key(), pool, 1, 0.5)
        self.worker.adopt(
            wire.Register(
                version=wire.VERSION, release="", pid=self.pid, app="app", token="", generation="", heartbeat_timeout=15
            )
        )
        pool.add(self.worker)
        self.worker.attach(theirs, 0)

    def _clean_up(self) -> None:
        descriptors.close_all(self._fds)
        self.socket.close()
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    def say(self, message: wire.FromWorker) -> None:
        descriptors.send(self.socket, wire.encode(message))

    def listen(self) -> None:
        """Read what is there; never waits."""
        with suppress(BlockingIOError):
            while True:
                data, fds = descriptors.receive(self.socket, wire.MAX_MESSAGE, 3)
                if not data:
                    return
                self._fds += fds
                match wire.decode_from_daemon(data):
                    case wire.Start() as start:
                        self.starts.append(start)
                    case wire.Drop(id=call_id):
                        self.drops.append(call_id)
                    case _:
                        pass

    def was_given(self, count: int) -> bool:
        self.listen()
        return len(self.starts) == count

    def end(self, call_id: str) -> None:
        """Say that a call is over, all descriptors of which are closed here."""
        descriptors.close_all(self._fds)
        self._fds.clear()
        self.say(wire.Ended(id=call_id, result="completed", tally=wire.Tally()))

    def die(self) -> None:
        descriptors.close_all(self._fds)
        self._fds.clear()
        self.socket.close()
        os.kill(self.pid, signal.SIGKILL)


async def _until(ask: Callable[[], object]) -> None:
    with trio.fail_after(20):
        while not ask():  # noqa: ASYNC110 - the world outside is asked, not told
            await trio.sleep(0.0005)


async def _story(board: Switchboard, room: ExitStack) -> None:
    """Through every state: queued, starting, running, ended by worker, operator or death; a second life."""
    intake = Intake(board)

    def states() -> list[str]:
        return sorted(call.life.state.value for call in board.calls.values())

    # A call waits, with a key pressed, until there is a worker.
    first = _Caller(intake, room)
    first.press("5")
    await _until(lambda: states() == ["queued"])
    worker = _FakeWorker(board, room)
    worker.say(wire.Ready())
    await _until(lambda: worker.was_given(1))
    assert states() == ["starting"]

    # The place is taken: one waits and hangs up, one waits and loses its shim, one is too many.
    second, third, fourth = (_Caller(intake, room) for _ in range(3))
    await _until(lambda: states() == ["queued", "queued", "starting"])
    await _until(lambda: fourth.heard_from_shim_socket().startswith(b"refused"))
    second.answer("H,1700000000\n")
    second.hang_up()
    await _until(lambda: states() == ["queued", "starting"])
    worker.say(wire.Started(worker.starts[0].id))
    await _until(lambda: states() == ["queued", "running"])
    third.shim.close()
    worker.end(worker.starts[0].id)
    await _until(lambda: third.was_told(b"H,"))
    third.hang_up()
    await _until(lambda: not board.calls)

    # The operator ends one; the worker is told to let go of it.
    fifth = _Caller(intake, room)
    await _until(lambda: worker.was_given(2))
    worker.say(wire.Started(worker.starts[1].id))
    await _until(lambda: states() == ["running"])
    board.calls[worker.starts[1].id].tell(OrderedOut("operator", "enough"))
    await _until(lambda: fifth.was_told(b"H,"))
    assert states() == [State.ENDING.value]
    fifth.hang_up()
    worker.listen()
    worker.end(worker.starts[1].id)
    await _until(lambda: not board.calls)
    assert worker.drops == [worker.starts[1].id]

    # A worker dies, and its call lives on with the next.
    sixth = _Caller(intake, room)
    await _until(lambda: worker.was_given(3))
    worker.say(wire.Started(worker.starts[2].id))
    await _until(lambda: states() == ["running"])
    worker.die()
    await _until(lambda: sixth.was_told(b"IVRD_MARK"))
    assert states() == ["resetting"]
    sixth.answer("G,1700000000,IVRD_MARK_1=\n")
    await _until(lambda: states() == ["queued"])
    heir = _FakeWorker(board, room)
    heir.say(wire.Ready())
    await _until(lambda: heir.was_given(1))
    heir.say(wire.Started(heir.starts[0].id))
    await _until(lambda: states() == ["running"])
    heir.end(heir.starts[0].id)
    await _until(lambda: not board.calls)


@asynccontextmanager
async def _switchboard(directory: str, cutter: _Cutter) -> AsyncIterator[Switchboard]:
    app = App(handler="a:b", concurrency=1, queue=2, queue_timeout=60, on_crash="retry", hangup_grace=1)
    config = Config(server=Server(log_level="error", metrics="", allow_users=()), apps={"app": app})
    async with AsyncExitStack() as stack:
        lock = stack.enter_context(Lock(f"{directory}/ivrd.sock"))
        staff = await stack.enter_async_context(trio.open_nursery())
        floor = await stack.enter_async_context(trio.open_nursery())
        metrics = Metrics(Snapshot)
        board = Switchboard(config, lock, metrics, floor=floor, staff=staff, log_format="json")
        board.add_pool("app", app, open=True)
        cutter.scopes = [staff.cancel_scope, floor.cancel_scope]
        yield board
        staff.cancel_scope.cancel()
        floor.cancel_scope.cancel()


@contextmanager
def _instrument(cutter: _Cutter) -> Iterator[None]:
    trio.lowlevel.add_instrument(cutter)
    try:
        yield
    finally:
        trio.lowlevel.remove_instrument(cutter)


async def _tell_once(directory: str, at: int | None) -> tuple[int, bool]:
    """Tell the story, cut at a step; returns how many steps it took, and whether it came to its end."""
    cutter = _Cutter(at)
    finished = False
    with ExitStack() as room, _instrument(cutter):
        async with _switchboard(directory, cutter) as board:
            await _story(board, room)
            finished = True
    return cutter.steps, finished


async def cancel_everywhere(report: Report, *, share: float = 1.0) -> None:
    """The daemon's tasks cancelled at every step of every state: no descriptor, child or task is left.

    Args:
        share: how many of the steps are tried, evenly spread.
    """
    with tempfile.TemporaryDirectory() as directory:
        await _tell_once(directory, None)  # what is imported or opened once
        # The fewest of some: where the machine is busy the story has more steps, at which a quicker one is not cut.
        told = [await _tell_once(directory, None) for _ in range(3)]
        steps, finished = min(steps for steps, _ in told), all(finished for _, finished in told)
        stride = max(1, round(1 / min(1.0, share)))
        report.expect(steps / stride)
        left: list[str] = []
        cut = 0
        tasks = _tasks()
        before = held_by_this_process()
        for at in range(0, steps, stride):
            _, whole = await _tell_once(directory, at)
            cut += not whole
            if more := held_by_this_process() - before:
                left.append(f"step {at}: {sorted(more)}")
                before = held_by_this_process()
            if _tasks() != tasks:
                left.append(f"step {at}: {_tasks() - tasks} tasks")
            report.step()
    report.equal("the story comes to its end when it is not cut", finished, True)
    report.none("left behind", left)
    report.at_least("steps at which it was cut", cut, steps / stride / 2)


def _tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living
