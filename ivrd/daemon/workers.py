"""One worker process: started, heard out, watched, and, if it must be, killed.

The rule that holds here: a worker is dead when its pidfd says so, and not before (a child that an app forked may hold
the socket open; a closed socket may be opened anew). When this task is cancelled, because the daemon goes away, the
process lives on: it keeps its calls and registers with the next daemon. Only `stop` and the ladder for one that is
stuck end it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import structlog
import trio

from ivrd import descriptors
from ivrd.daemon import sockets
from ivrd.daemon.processes import Process
from ivrd.errors import WireError
from ivrd.wire import messages as wire

if TYPE_CHECKING:
    from ivrd.daemon.calls import Call
    from ivrd.daemon.pool import Pool

__all__ = ["START_DEADLINE", "Worker", "WorkerState"]

log = structlog.get_logger("ivrd.daemon")

WorkerState = Literal["starting", "ready", "retiring", "stopping"]

START_DEADLINE = 60.0  # seconds from the start of the process to `Ready`
STOP_DEADLINE = 7.0  # seconds from `Stop` to the exit; the worker gives its lifespan 5


class Worker:
    """A worker process of an app's pool.

    Attributes:
        key: number of this worker, unique in the daemon's life.
        generation: the pool's generation that it stands for.
        state: where it is in its life.
        calls: the calls it holds, by id, those it cleans up after included.
        served: calls it was given in its life.
        born: when it was started, on trio's clock.
        ready_at: when it became ready, on trio's clock; None before.
        idle_since: when its last call ended, on trio's clock; None while it has one.
        rss: its resident memory in bytes, as it reported.
        lag: by how many seconds its loop was late at most, as it reported last.
        stuck: handlers on threads that outlived their calls.
        jitter: its own number from 0 to 1, for recycling.
        failure: why the app did not start, when it said so.
        told: set when the calls that it brought along are in the books, or it is dead.
    """

    def __init__(self, key: int, pool: Pool, generation: int, jitter: float) -> None:
        self.key = key
        self.generation = generation
        self.state: WorkerState = "starting"
        self.calls: dict[str, Call] = {}
        self.served = 0
        self.born = trio.current_time()
        self.ready_at: float | None = None
        self.idle_since: float | None = trio.current_time()
        self.rss = 0
        self.lag = 0.0
        self.stuck = 0
        self.jitter = jitter
        self.failure = ""
        self.told = trio.Event()
        self.token = os.urandom(16).hex()
        self.adopted = False
        self._pool = pool
        self._process: Process  # from `spawn` or `adopt`, one of which comes first
        self._sock: socket.socket | None = None
        self._attached = trio.Event()
        self._stopped = trio.Event()
        self._reason = ""
        self._nursery: trio.Nursery | None = None
        self._to_tell = 0
        self._untold: set[str] = set()  # calls that it held on its last connection and has not named on this one

    def holds(self, call: Call) -> bool:
        """Whether this worker has not yet reported the end of that call."""
        return call.id in self.calls

    # Life and death of the process.

    def spawn(self, spec: wire.WorkerSpec) -> None:
        """Start the process.

        Raises:
            OSError: the system has no room for another process.
        """
        self._process = Process.spawn(spec)

    def adopt(self, pid: int) -> None:
        """Take over a process that another daemon started.

        Raises:
            OSError: it is gone.
        """
        self._process = Process(pid)
        self.adopted = True

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Watch the process until it is dead, then tell its calls and its pool."""
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._listen)
                self._nursery.start_soon(self._see_it_stop)
                task_status.started()
                await self._process.dead()
                self._hear_out()
                self._nursery.cancel_scope.cancel()
        finally:
            self.told.set()
            self._hang_up_link()
            status = self._process.close()
        reason, text = self._obituary(status)
        self._pool.bury(self, reason, text)
        for call in list(self.calls.values()):
            del self.calls[call.id]
            call.orphaned(text)

    def _obituary(self, status: os.waitid_result | None) -> tuple[str, str]:
        """The reason of the death: in a word for the metrics, in a line for a person."""
        name = f"worker {self.key} (pid {self.pid})"
        if self._reason:
            return self._reason, f"{name} was {self._reason}"
        if self.failure:
            return "failed", f"{name} did not start: {self.failure}"
        expected = self.state in ("retiring", "stopping")
        if expected and (status is None or (status.si_code == os.CLD_EXITED and status.si_status == 0)):
            return "retired", f"{name} has retired"
        if status is None:
            return "unknown", f"{name} is gone"
        if status.si_code in (os.CLD_KILLED, os.CLD_DUMPED):
            try:
                by = signal.Signals(status.si_status).name
            except ValueError:
                by = f"signal {status.si_status}"
            return "killed", f"{name} was killed by {by}"
        return "exited", f"{name} exited with status {status.si_status}"

    async def ladder(self, reason: str) -> None:
        """Make it go: ask for its stacks, then SIGTERM, then SIGKILL. Ends with the process.

        Args:
            reason: the word for metrics and log.
        """
        if self._reason:
            return
        self._reason = reason
        await self._process.climb()

    # What the daemon asks of it.

    def attach(self, sock: socket.socket, held: int) -> None:
        """Take its connection; a second one takes the place of the first.

        Args:
            sock: the connection.
            held: how many calls it is going to tell of.
        """
        self._hang_up_link()
        self._sock = sock
        self._to_tell = held
        if not held:
            self.told.set()
        self._untold = set(self.calls)
        self._attached.set()
        self._post(wire.Welcome())
        # What it was told while it had no connection.
        if self.state == "retiring":
            self._post(wire.Retire())
        elif self.state == "stopping":
            self._post(wire.Stop())

    def start(self, call: Call, message: wire.Start) -> bool:
        """Hand a call over, with its descriptors.

        Returns:
            Whether it is on its way; if not, the worker takes no calls until it has read what it was sent before.
        """
        try:
            if self._sock is None:
                raise ConnectionError("it has no connection")
            descriptors.send(self._sock, wire.encode(message), call.stdio.fds)
        except OSError:
            self._pool.close_seat(self)
            return False
        self.calls[call.id] = call
        self.served += 1
        self.idle_since = None
        return True

    def take_held(self, call: Call) -> None:
        """Note a call that it brought along."""
        self.calls[call.id] = call
        self.idle_since = None

    def drop(self, call_id: str) -> None:
        """Tell it to let go of a call, which we have ended or another worker has."""
        self._post(wire.Drop(id=call_id))

    def trace(self, call_id: str, on: bool) -> None:
        """Have it tell what goes over a call's wire, or no more."""
        self._post(wire.Trace(id=call_id, on=on))

    def retire(self) -> None:
        """Let it go after its last call."""
        if self.state in ("starting", "ready"):
            self.state = "retiring"
            self._post(wire.Retire())

    def stop(self) -> None:
        """Let it go now; the ladder sees to it that it does."""
        if self.state != "stopping":
            self.state = "stopping"
            self._post(wire.Stop())
            self._stopped.set()

    def leave(self) -> None:
        """Tell it that the next daemon will come for it."""
        self._post(wire.Leave())

    def keep(self) -> None:
        """Acknowledge a batch of calls that it brought along."""
        self._post(wire.Kept())

    def when_writable(self, then: Callable[[], None]) -> None:
        """Call back when it has read enough of what it was sent to be sent more."""
        if self._nursery is not None and self._sock is not None:
            self._nursery.start_soon(self._wait_writable, self._sock, then)

    async def _wait_writable(self, sock: socket.socket, then: Callable[[], None]) -> None:
        with contextlib.suppress(trio.ClosedResourceError, OSError):
            await trio.lowlevel.wait_writable(sock)
        if self._sock is sock:
            then()

    async def _see_it_stop(self) -> None:
        await self._stopped.wait()
        await trio.sleep(STOP_DEADLINE)
        await self.ladder("stuck")

    def _post(self, message: wire.FromDaemon) -> None:
        """Send a message if there is room; a worker that reads nothing is stuck, and the heartbeat will say so."""
        if self._sock is None:
            return
        try:
            descriptors.send(self._sock, wire.encode(message))
        except OSError as error:
            log.warning("worker_deaf", pid=self.pid, message=type(message).__name__, reason=error.strerror)

    def _hang_up_link(self) -> None:
        if self._sock is not None:
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()
            self._sock = None
            self._attached = trio.Event()
            self._pool.close_seat(self)

    # What it says.

    async def _listen(self) -> None:
        while True:
            with trio.move_on_after(self._patience()):
                await self._attached.wait()
            if self._sock is None:
                await self.ladder("stuck")
                return
            if not await self._serve_link(self._sock):
                return

    def _patience(self) -> float:
        if self.state == "starting":
            return START_DEADLINE
        return self._pool.app.heartbeat_timeout

    async def _serve_link(self, sock: socket.socket) -> bool:
        """Read messages until the connection ends; false when the worker is stuck."""
        while True:
            data: bytes | None = None
            fds: list[int] = []
            try:
                with trio.move_on_after(self._patience()):
                    data, fds = await sockets.receive(sock, wire.MAX_MESSAGE, self._most_descriptors)
                if data is None:
                    # It may be we who did not look for so long (a daemon that was stopped): look once more before
                    # judging.
                    data, fds = descriptors.receive(sock, wire.MAX_MESSAGE, self._most_descriptors)
            except BlockingIOError:
                log.error("worker_stuck", app=self._pool.name, worker=self.key, pid=self.pid, calls=len(self.calls))
                await self.ladder("stuck")
                return False
            except ConnectionResetError:
                continue  # it closed with unread messages; what it said before comes now, then EOF
            except (WireError, OSError, trio.ClosedResourceError):
                data = b""
            if not data:
                if self._sock is sock:
                    self._hang_up_link()
                return True
            self._hear(data, fds)

    def _forget_lost_calls(self) -> None:
        """After a registration: what it had before and has not told of, it lost with its connection."""
        for call_id in self._untold:
            if (call := self.calls.pop(call_id, None)) is not None:
                self._pool.release(call_id, self)
                call.orphaned(f"worker {self.key} (pid {self.pid}) lost it with its connection")
        self._untold.clear()

    def _hear_out(self) -> None:
        """Read what a dead worker still said."""
        while self._sock is not None:
            try:
                data, fds = descriptors.receive(self._sock, wire.MAX_MESSAGE, self._most_descriptors)
            except ConnectionResetError:
                continue
            except (OSError, WireError):
                return
            if not data:
                return
            self._hear(data, fds)

    @property
    def _most_descriptors(self) -> int:
        return wire.HELD_A_MESSAGE * wire.DESCRIPTORS_A_CALL

    def _hear(self, data: bytes, fds: list[int]) -> None:
        try:
            message = wire.decode_from_worker(data)
        except WireError as error:
            descriptors.close_all(fds)
            log.error("worker_nonsense", pid=self.pid, reason=str(error))
            return
        match message:
            case wire.Started():
                if (call := self.calls.get(message.id)) is not None:
                    call.confirmed()
            case wire.Ended():
                if message.unreported is not None:
                    self._pool.count(message.unreported)
                if (call := self.calls.pop(message.id, None)) is not None:
                    if not self.calls:
                        self.idle_since = trio.current_time()
                    call.over(message)
                    self._pool.release(message.id, self)
            case wire.Traced():
                if (call := self.calls.get(message.id)) is not None and call.tap is not None:
                    call.tap.hear(message)
            case wire.Report():
                self.rss, self.lag, self.stuck = message.rss, message.lag, message.stuck
                self._pool.heard(self, message)
            case wire.Ready():
                self._forget_lost_calls()
                if self.state == "starting":
                    self.ready_at = trio.current_time()
                    self.state = "ready"
                    self._pool.ready(self)
                else:
                    self._pool.open_seat(self)
            case wire.Failed():
                self.failure = message.error
            case wire.Held():
                self._untold.difference_update(held.id for held in message.calls)
                self._pool.take_held(self, message, fds)
                self._to_tell -= len(message.calls)
                if self._to_tell <= 0:
                    self.told.set()
                return
            case wire.Register():
                log.error("worker_nonsense", pid=self.pid, reason="it registered twice on one connection")
        descriptors.close_all(fds)
