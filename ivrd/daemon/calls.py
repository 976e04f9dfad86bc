"""One call in the daemon: its descriptors, its shim, its worker, and the carrying out of what `rules.life` decides.

The rule that holds here: nothing is decided here. Facts come in through `Call.tell`, from whoever saw them, and what
the table answers is done at once and without waiting; only reading, and writing into a pipe that is full, are left to
tasks of the call's own nursery. The three descriptors are closed at the very end, when no task can be waiting on them
any more.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

import structlog
import trio

from ivrd import eivr
from ivrd.daemon.channel import Channel
from ivrd.descriptors import Stdio, is_over
from ivrd.rules.life import (
    Act,
    Action,
    Assigned,
    Broken,
    Confirmed,
    Expired,
    Fact,
    Life,
    Lost,
    Over,
    Say,
    ShimGone,
    State,
    Tell,
    WorkerDied,
)
from ivrd.wire import hello as wire
from ivrd.wire.messages import Ended, Start, Tally

if TYPE_CHECKING:
    from ivrd.daemon.pool import Pool
    from ivrd.daemon.tracing import Tap
    from ivrd.daemon.workers import Worker

__all__ = ["Call"]

log = structlog.get_logger("ivrd.daemon")

# The shim waits a little longer than we do, so that it is we who say what happened.
SHIM_MARGIN = 3.0  # seconds
# It hears that its call waits once it has waited for so long, well within the shortest sensible --timeout.
QUEUED_AFTER = 0.05  # seconds


class Call:
    """A live call.

    Attributes:
        id: unique across daemons and restarts.
        args: what the dialplan passed, as bytes.
        started: wall-clock time of admission, seconds since the epoch.
        transport: how it came.
        life: its state, deadline and result.
        stdio: the daemon's copies of its descriptors.
        worker: who runs it, or ran it last; None while it waits.
        tally: what the worker counted; None until it has told.
        detail: one line more about how it ended.
        handoff: seconds from admission to the worker's confirmation; None before.
        waited: seconds in the queue; None while it waits.
        duration: seconds from admission to its end; 0 before that.
        taps: those who look at its wire.
    """

    def __init__(
        self,
        call_id: str,
        pool: Pool,
        stdio: Stdio,
        life: Life,
        *,
        args: tuple[bytes, ...],
        started: float,
        age: float = 0.0,
        transport: str = "pipe",
        shim: socket.socket | None = None,
    ) -> None:
        self.id = call_id
        self.args = args
        self.started = started
        self.transport = transport
        self.life = life
        self.stdio = stdio
        self.worker: Worker | None = None
        self.tally: Tally | None = None
        self.detail = ""
        self.handoff: float | None = None
        self.waited: float | None = None
        self.duration = 0.0
        self.taps: list[Tap] = []
        self._pool = pool
        self._shim = shim
        self._born = trio.current_time() - age
        self._nursery: trio.Nursery | None = None
        # What is to be started with the nursery: most calls are with their worker before their task has its first turn.
        self._jobs: list[Callable[[], Awaitable[None]]] = []
        self._timer = trio.CancelScope()
        self._queued_due = float("inf")  # when the shim is to be told that its call waits
        self._released = trio.Event()
        self._channel = Channel(stdio, self._start, lambda: self.life.state, self.tell)

    @property
    def pool(self) -> Pool:
        """The pool of the call's app."""
        return self._pool

    @property
    def age(self) -> float:
        """Seconds since admission."""
        return trio.current_time() - self._born

    async def run(self) -> None:
        """See the call through to its end; returns when nothing is held any more."""
        try:
            async with trio.open_nursery() as self._nursery:
                for job in self._jobs:
                    self._nursery.start_soon(job)
                self._jobs.clear()  # they refer back to the call, which else only the collector could free
                while not self._is_over():
                    with trio.CancelScope(deadline=self._deadline()) as self._timer:
                        await trio.sleep_forever()
                    if self._timer.cancelled_caught:
                        self._on_time()
                self._nursery.cancel_scope.cancel()
        finally:
            self.duration = self.age
            self._pool.leave(self)
            self.stdio.close()
            self._dismiss_shim()
        if self.worker is not None and self.worker.holds(self):
            # The worker still cleans up; its figures belong in the call's line, if they come in time.
            with trio.move_on_after(self._pool.app.hangup_grace + 1):
                await self._released.wait()

    def tell(self, fact: Fact) -> None:
        """Take note of something that happened, and do at once what follows from it; never raises."""
        if self._is_over():
            return
        try:
            for action in self.life.step(fact, trio.current_time()):
                self._do(action)
        except Exception as error:
            # An error of ours: it is to cost this call, not the thousands beside it.
            log.error("call_broke", call=self.id, fact=repr(fact), exc_info=error)
            if not isinstance(fact, Broken):
                self.tell(Broken())
                return
        if not self._is_over():
            self._timer.deadline = self._deadline()
        elif self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    def assign(self, worker: Worker) -> None:
        """Take the place that the routing found; it is given back when it is of no use any more."""
        if self._shim_is_gone():
            self.tell(ShimGone())
        if self.life.state is State.QUEUED:
            self.worker = worker
            self.tell(Assigned())
        else:
            self._pool.release(self.id, worker)

    def confirmed(self) -> None:
        """The worker has the call."""
        if self.life.state is State.STARTING and self.handoff is None:
            self.handoff = self.age
            self._pool.taken(self)
        self.tell(Confirmed())

    def over(self, message: Ended) -> None:
        """The worker is done with the call."""
        self.tally = message.tally
        self.detail = self.detail or message.detail
        self._released.set()
        self.tell(Over(message.result, message.unsaid))

    def spurned(self) -> None:
        """The worker has not begun it, and another one may have it."""
        self.tell(Lost())

    def orphaned(self, reason: str) -> None:
        """The worker is dead."""
        self._released.set()
        self.tell(WorkerDied(reason))

    def _start(self, job: Callable[[], Awaitable[None]]) -> None:
        if self._nursery is None:
            self._jobs.append(job)
        else:
            self._nursery.start_soon(job)

    def _is_over(self) -> bool:
        return self.life.state is State.ENDED

    def _deadline(self) -> float:
        return min(float("inf") if self.life.deadline is None else self.life.deadline, self._queued_due)

    def _on_time(self) -> None:
        # In the very tick in which the time was up something may have moved it.
        if self._queued_due <= trio.current_time():
            self._say_queued()
        if self._has_expired() and self.worker is not None:
            # Perhaps it is we who did not look for so long (a daemon that was stopped): what the worker has said
            # since then happened before this.
            self.worker.catch_up()
        if self._has_expired():
            self.tell(Expired())

    def _has_expired(self) -> bool:
        return self.life.deadline is not None and self.life.deadline <= trio.current_time()

    def _say_queued(self) -> None:
        """Tell the shim that it will have to wait, unless it was told already or need not wait any more."""
        if self._queued_due == float("inf") or self._shim is None:
            return
        self._queued_due = float("inf")
        wait = self.life.policy.queue_timeout + SHIM_MARGIN
        try:
            self._shim.send(wire.queued(int(wait * 1000)), socket.MSG_NOSIGNAL)
        except OSError:
            self.tell(ShimGone())
        else:
            self._start(partial(self._watch_shim, self._shim))

    async def _watch_shim(self, shim: socket.socket) -> None:
        """See it go while its call waits: it has nothing more to say, so whatever can be read is the end."""
        if self._shim is not shim:
            return  # its call was taken, or over, before this had its first turn
        with contextlib.suppress(trio.ClosedResourceError):
            await trio.lowlevel.wait_readable(shim)
            self.tell(ShimGone())

    # Actions.

    def _do(self, action: Action) -> None:
        match action:
            case Tell():
                self._answer_shim(action)
            case Say():
                self._say(action)
            case Act.READ | Act.DRAIN:
                self._channel.start_reading(self._say_queued)
            case Act.REJOIN:
                self._pool.rejoin(self, first=self.life.attempt == 1)
                if self._shim_is_gone():
                    self.tell(ShimGone())  # while a worker seemed to have the call, this was no news
            case Act.DISPATCH:
                self._dispatch()
            case Act.DROP:
                if self.worker is not None:
                    self.worker.drop(self.id)
            case Act.TAKE_BACK:
                assert self.worker is not None
                self.worker.take_back(self)
                self.worker = None
            case Act.RESET:
                self._channel.reset(self.life.attempt)
                self._channel.start_reading()
            case Act.CLOSE:
                pass  # done when the nursery is empty: see `run`

    def _answer_shim(self, tell: Tell) -> None:
        match tell.kind:
            case "queued":
                # Most calls are started within the millisecond: the shim need not be woken for the news that they wait.
                self._queued_due = trio.current_time() + QUEUED_AFTER
                return
            case "started":
                answer = wire.STARTED
            case "ended":
                answer = wire.ENDED
            case "refused":
                self.detail = tell.reason
                answer = wire.refused(tell.status, tell.way, f"call {self.id}: {tell.reason}")
        if self._shim is None:
            return
        with contextlib.suppress(OSError):  # it fell back meanwhile, or was killed: Asterisk will tell
            self._shim.send(answer, socket.MSG_NOSIGNAL)
        self._dismiss_shim()

    def _shim_is_gone(self) -> bool:
        return self._shim is not None and is_over(self._shim)

    def _dismiss_shim(self) -> None:
        self._queued_due = float("inf")
        if self._shim is not None:
            trio.lowlevel.notify_closing(self._shim)
            self._shim.close()
            self._shim = None

    def _dispatch(self) -> None:
        worker = self.worker
        assert worker is not None
        if self.waited is None:
            self.waited = self.age
        start = Start(
            id=self.id,
            args=self.args,
            started=self.started,
            age=self.age,
            attempt=self.life.attempt,
            transport=self.transport,
            early=bytes(self._channel.early),
            traced=bool(self.taps),
        )
        if worker.start(self, start):
            self._channel.stop_reading()
        else:
            self._pool.release(self.id, worker)
            self.tell(Lost())

    def _say(self, say: Say) -> None:
        self.detail = self.detail or say.reason
        self.stdio.complain(f"ivrd: call {self.id}: {say.reason}")
        last = eivr.exit if say.way == "exit" else eivr.hangup
        self._channel.write(eivr.set_variables({"IVRD_STATUS": say.status.value}), last(f"ivrd: {say.reason}"))
