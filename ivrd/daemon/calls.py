"""One call in the daemon: its descriptors, its shim, its worker, and the carrying out of what `rules.life` decides.

The rule that holds here: nothing is decided here. Facts come in through `Call.tell`, from whoever saw them, and what
the table answers is done at once and without waiting; only reading, and writing into a pipe that is full, are left to
tasks of the call's own nursery. The three descriptors are closed at the very end, when no task can be waiting on them
any more.
"""

from __future__ import annotations

import contextlib
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

import trio

from ivrd import eivr
from ivrd.descriptors import Stdio
from ivrd.rules.life import (
    Act,
    Action,
    Assigned,
    CallerGone,
    Confirmed,
    Expired,
    Fact,
    Life,
    Lost,
    Marked,
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

# What a caller can press while the call waits, and more: one who sends more than this is no caller.
EARLY_LIMIT = 32_768  # bytes
# The shim waits a little longer than we do, so that it is we who say what happened.
SHIM_MARGIN = 3.0  # seconds
# It hears that its call waits once it has waited for so long, well within the shortest sensible --timeout.
QUEUED_AFTER = 0.05  # seconds
MARKER = "IVRD_MARK"


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
        tap: who looks at its wire; None when nobody does.
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
        self.tap: Tap | None = None
        self._pool = pool
        self._shim = shim
        self._born = trio.current_time() - age
        self._early = bytearray()
        self._connection = eivr.Connection()
        self._unsent: deque[bytes] = deque()
        self._nursery: trio.Nursery | None = None
        # What is to be started with the nursery: most calls are with their worker before their task has its first turn.
        self._jobs: list[Callable[[], Awaitable[None]]] = []
        self._timer = trio.CancelScope()
        self._queued_due = float("inf")  # when the shim is to be told that its call waits
        self._reader: trio.CancelScope | None = None
        self._reading = trio.Lock()
        self._released = trio.Event()

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
            self._pool.leave(self)
            self.stdio.close()
            self._dismiss_shim()
        if self.worker is not None and self.worker.holds(self):
            # The worker still cleans up; its figures belong in the call's line, if they come in time.
            with trio.move_on_after(self._pool.app.hangup_grace + 1):
                await self._released.wait()

    def tell(self, fact: Fact) -> None:
        """Take note of something that happened, and do at once what follows from it."""
        if self._is_over():
            return
        for action in self.life.step(fact, trio.current_time()):
            self._do(action)
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
        self.tell(Over(message.result))

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
        now = trio.current_time()
        if self._queued_due <= now:
            self._say_queued()
        if self.life.deadline is not None and self.life.deadline <= now:
            self.tell(Expired())

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

    # Actions.

    def _do(self, action: Action) -> None:
        match action:
            case Tell():
                self._answer_shim(action)
            case Say():
                self._say(action)
            case Act.READ | Act.DRAIN:
                self._start_reading()
            case Act.REJOIN:
                self._pool.rejoin(self, first=self.life.attempt == 1)
            case Act.DISPATCH:
                self._dispatch()
            case Act.DROP:
                if self.worker is not None:
                    self.worker.drop(self.id)
            case Act.RESET:
                self._reset()
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
                answer = wire.refused(tell.status, tell.way, tell.reason)
        if self._shim is None:
            return
        with contextlib.suppress(OSError):  # it fell back meanwhile, or was killed: Asterisk will tell
            self._shim.send(answer, socket.MSG_NOSIGNAL)
        self._dismiss_shim()

    def _shim_is_gone(self) -> bool:
        if self._shim is None:
            return False
        try:
            return not self._shim.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _dismiss_shim(self) -> None:
        self._queued_due = float("inf")
        if self._shim is not None:
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
            early=bytes(self._early),
            traced=self.tap is not None,
        )
        if worker.start(self, start):
            self._stop_reading()
        else:
            self._pool.release(self.id, worker)
            self.tell(Lost())

    def _say(self, say: Say) -> None:
        self.detail = self.detail or say.reason
        self.stdio.complain(f"ivrd: call {self.id}: {say.reason}")
        last = eivr.exit if say.way == "exit" else eivr.hangup
        self._write(eivr.set_variables({"IVRD_STATUS": say.status.value}), last(f"ivrd: {say.reason}"))

    def _reset(self) -> None:
        self._early.clear()
        self._connection = eivr.Connection()
        self._write(eivr.autoclear(False), eivr.interrupt(), eivr.get_variables(f"{MARKER}_{self.life.attempt}"))
        self._start_reading()

    def _write(self, *lines: bytes) -> None:
        flushing = bool(self._unsent)
        self._unsent.extend(lines)
        if not flushing and not self._flush():
            self._start(self._flush_when_writable)

    def _flush(self) -> bool:
        """Write as much as the pipe takes; true when nothing is left or nobody reads any more."""
        try:
            while self._unsent:
                self.stdio.write(self._unsent[0])
                self._unsent.popleft()
        except BlockingIOError:
            return False
        except OSError:
            self._unsent.clear()
        return True

    async def _flush_when_writable(self) -> None:
        while not self._flush():
            await trio.lowlevel.wait_writable(self.stdio.stdout)

    # Reading: ours while the call waits, while it is reset and once we have ended it; the worker's in between.

    def _start_reading(self) -> None:
        if self._reader is None:
            self._reader = trio.CancelScope()
            self._start(partial(self._read, self._reader))

    def _stop_reading(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            self._reader = None

    async def _read(self, scope: trio.CancelScope) -> None:
        # The lock is for a reader that was stopped in this very tick and has not yet let go of the descriptor.
        if scope.cancel_called:
            return  # a worker was free
        self._say_queued()
        with scope:
            async with self._reading:
                while True:
                    await trio.lowlevel.wait_readable(self.stdio.stdin)
                    if scope.cancel_called:
                        return
                    try:
                        data = self.stdio.read()
                    except BlockingIOError:
                        continue
                    self._take(data)
                    if not data:
                        return

    def _take(self, data: bytes) -> None:
        events = self._connection.receive(data)
        if self.life.state is State.QUEUED and len(self._early) < EARLY_LIMIT:
            self._early += data
        marked = self.life.state is State.RESETTING and self._sift(events)
        if not data or self._connection.hungup or self._connection.left:
            # After `H` and `E` Asterisk closes in the same breath.
            self.tell(CallerGone(left=self._connection.left))
        elif marked:
            self.tell(Marked())

    def _sift(self, events: list[eivr.Event]) -> bool:
        """Keep of a first life's events what the second one should know: the keys, and that the caller hung up.

        Returns:
            Whether the marker's reply was among them.
        """
        marked = False
        for event in events:
            match event:
                case eivr.Key():
                    self._early += f"{event.key},{event.at:10d}\n".encode()
                case eivr.Inform():
                    self._early += f"I,{event.at:10d},{event.detail}\n".encode("utf-8", "surrogateescape")
                case eivr.Variables() if event.raw.startswith(f"{MARKER}_"):
                    marked = True
                case _:
                    pass
        return marked
