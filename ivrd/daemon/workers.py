"""One worker process: started, heard out, watched, and, if it must be, killed.

The rule that holds here: a worker is dead when its pidfd says so, and not before (a child that an app forked may hold
the socket open; a closed socket may be opened anew). When this task is cancelled, because the daemon goes away, the
process lives on: it keeps its calls and registers with the next daemon. Only `stop` and the ladder for one that is
stuck end it.
"""

from __future__ import annotations

import os
import signal
import socket
from typing import TYPE_CHECKING, Literal

import structlog
import trio

from ivrd import descriptors
from ivrd.daemon.link import Link
from ivrd.daemon.processes import Process
from ivrd.errors import WireError
from ivrd.wire import messages as wire

if TYPE_CHECKING:
    from ivrd.daemon.calls import Call
    from ivrd.daemon.pool import Pool

__all__ = ["Worker", "WorkerState"]

log = structlog.get_logger("ivrd.daemon")

WorkerState = Literal["starting", "ready", "retiring", "stopping"]

UNKNOWN_HEARTBEAT = 15.0  # seconds; the default of `heartbeat_timeout`, for a worker that does not say what it was told
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
        failure: why the app did not start, or cannot go on, when it said so.
        baseline: its resident memory in bytes when it had just become ready; 0 where that is not known.
        heartbeat_timeout: seconds for which it may be silent, as it was told at its start.
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
        self.baseline = 0
        self.heartbeat_timeout = pool.app.heartbeat_timeout
        self._start_timeout = pool.app.start_timeout
        self.told = trio.Event()
        self.token = os.urandom(16).hex()
        self.adopted = False
        self._pool = pool
        self._process: Process  # from `spawn` or `adopt`, one of which comes first
        self._link = Link(self._hear, self._patience, lambda: pool.close_seat(self))
        self._began = trio.Event()  # ready for the first time
        self._stopped = trio.Event()
        self._reason = ""
        self._to_tell = 0
        self._untold: set[str] = set()  # calls that it held on its last connection and has not named on this one
        self._owed: set[str] = set()  # calls that were taken back, and for which it has not answered yet

    @property
    def trusted(self) -> bool:
        """Whether it may be given calls: it has answered for all that were taken back because it did not."""
        return not self._owed

    def holds(self, call: Call) -> bool:
        """Whether this worker has not yet reported the end of that call."""
        return call.id in self.calls

    # Life and death of the process.

    def spawn(self, spec: wire.WorkerSpec) -> None:
        """Start the process.

        Raises:
            OSError: the system has no room for another process.
        """
        self.heartbeat_timeout = spec.app.heartbeat_timeout
        self._start_timeout = spec.app.start_timeout
        self._process = Process.spawn(spec)

    def adopt(self, register: wire.Register) -> None:
        """Take over a process that another daemon started.

        Args:
            register: what it says of itself.

        Raises:
            OSError: it is gone.
        """
        self._process = Process(register.pid)
        self.adopted = True
        self.token = register.token
        self.born -= register.age
        self.served = register.served
        # It reports as often as it was told at its start, whatever the configuration says by now.
        self.heartbeat_timeout = register.heartbeat_timeout or max(self.heartbeat_timeout, UNKNOWN_HEARTBEAT)

    def forget(self) -> None:
        """Let go of a process that was adopted in vain."""
        self._process.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Watch the process until it is dead, then tell its calls and its pool."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, nursery)
                nursery.start_soon(self._see_it_begin)
                nursery.start_soon(self._see_it_stop)
                task_status.started()
                await self._process.dead()
                self._link.catch_up()
                nursery.cancel_scope.cancel()
        finally:
            self.told.set()
            self._link.hang_up()
            status = self._process.close()
        reason, text = self._obituary(status)
        self._pool.bury(self, reason, text)
        for call in list(self.calls.values()):
            del self.calls[call.id]
            call.orphaned(text)

    def _obituary(self, status: os.waitid_result | None) -> tuple[str, str]:
        """The reason of the death: in a word for the metrics, in a line for a person."""
        name = f"worker {self.key} (pid {self.pid})"
        if self.failure:
            return "failed", f"{name} {'did not start' if self.ready_at is None else 'failed'}: {self.failure}"
        if self._reason:
            return self._reason, f"{name} was {self._reason}"
        if self.state in ("retiring", "stopping"):
            # How another daemon's worker ended nobody tells us; with calls in its hands it was not as planned.
            well = not self.calls if status is None else (status.si_code, status.si_status) == (os.CLD_EXITED, 0)
            if well:
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
        self._link.attach(sock)
        self._to_tell = held
        if not held:
            self.told.set()
        self._untold = {*self.calls, *self._owed}
        self._link.post(wire.Welcome())
        # What it was told while it had no connection.
        if self.state == "retiring":
            self._link.post(wire.Retire())
        elif self.state == "stopping":
            self._link.post(wire.Stop())

    def start(self, call: Call, message: wire.Start) -> bool:
        """Hand a call over, with its descriptors.

        Returns:
            Whether it is on its way; if not, the worker takes no calls until it has read what it was sent before.
        """
        if not self._link.send(message, call.stdio.fds):
            self._pool.close_seat(self)
            self._link.when_writable(lambda: self._pool.open_seat(self))
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
        self._link.post(wire.Drop(id=call_id))

    def take_back(self, call: Call) -> None:
        """Take a call away that it has not confirmed in time; it gets no more calls until it answers for this one."""
        self.calls.pop(call.id, None)
        self._owed.add(call.id)
        self.drop(call.id)
        self._pool.close_seat(self)

    def catch_up(self) -> None:
        """Hear at once all that it has said up to now."""
        self._link.catch_up()

    def trace(self, call_id: str, on: bool) -> None:
        """Have it tell what goes over a call's wire, or no more."""
        self._link.post(wire.Trace(id=call_id, on=on))

    def retire(self) -> None:
        """Let it go after its last call."""
        if self.state in ("starting", "ready"):
            self.state = "retiring"
            self._link.post(wire.Retire())

    def stop(self) -> None:
        """Let it go now; the ladder sees to it that it does."""
        if self.state != "stopping":
            self.state = "stopping"
            self._link.post(wire.Stop())
            self._stopped.set()

    def leave(self) -> None:
        """Tell it that the next daemon will come for it."""
        self._link.post(wire.Leave())

    def keep(self) -> None:
        """Acknowledge a batch of calls that it brought along."""
        self._link.post(wire.Kept())

    async def _listen(self, nursery: trio.Nursery) -> None:
        await self._link.listen(nursery)
        log.error("worker_stuck", app=self._pool.name, worker=self.key, pid=self.pid, calls=len(self.calls))
        self._pool.close_seat(self)
        await self.ladder("stuck")

    def _patience(self) -> float:
        return self.heartbeat_timeout if self._began.is_set() else float("inf")

    async def _see_it_begin(self) -> None:
        with trio.move_on_after(self._start_timeout):
            await self._began.wait()
        if not self._began.is_set() and not self.failure:
            self.failure = f"it was not ready within {self._start_timeout:g} s, its start_timeout"
            await self.ladder("failed")

    async def _see_it_stop(self) -> None:
        await self._stopped.wait()
        await trio.sleep(STOP_DEADLINE)
        await self.ladder("stuck")

    def _forget_lost_calls(self) -> None:
        """After a registration: what it had before and has not told of, it lost with its connection."""
        for call_id in self._untold:
            call = self.calls.pop(call_id, None)
            self._settle(call_id)
            if call is not None:
                call.orphaned(f"worker {self.key} (pid {self.pid}) lost it with its connection")
        self._untold.clear()

    def _settle(self, call_id: str) -> None:
        """It holds this call no more, and has its place free again."""
        self._owed.discard(call_id)
        if not self.calls and self.idle_since is None:
            self.idle_since = trio.current_time()
        self._pool.release(call_id, self)
        if self.trusted:
            self._pool.open_seat(self)

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
                call = self.calls.pop(message.id, None)
                if call is not None:
                    call.over(message)
                self._settle(message.id)
            case wire.Spurned():
                call = self.calls.pop(message.id, None)
                self._settle(message.id)
                if call is not None:
                    call.spurned()
            case wire.Traced():
                if (call := self.calls.get(message.id)) is not None:
                    for tap in call.taps:
                        tap.hear(message)
            case wire.Report():
                self.rss, self.lag, self.stuck = message.rss, message.lag, message.stuck
                if self.state == "ready" and not self.baseline and not self.adopted:
                    self.baseline = message.rss
                self._pool.heard(self, message)
            case wire.Ready():
                self._forget_lost_calls()
                self._began.set()
                if self.state == "starting":
                    self.ready_at = trio.current_time()
                    self.state = "ready"
                    self._pool.ready(self)
                else:
                    self._pool.open_seat(self)
            case wire.Failed():
                self.failure = message.error
                if self.state == "ready":
                    # Its lifespan broke: it ends the calls it has and goes, and whoever takes its place may start now.
                    self.state = "retiring"
                    self._pool.left_alone(self)
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
