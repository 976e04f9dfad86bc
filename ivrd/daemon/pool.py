"""One app's pool: its line of calls, its workers, and their coming and going.

The rule that holds here: what to do is decided by `rules.routing` (which call goes where) and `rules.staffing` (how
many workers); this file carries it out. A reload goes in two steps: `prepare` warms a whole new generation beside the
old one, which `commit` then puts in its place, or `abandon` sends away as if it had never been.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import structlog
import trio

from ivrd import __version__
from ivrd.config import App, Server
from ivrd.descriptors import Stdio, close_all
from ivrd.errors import WireError
from ivrd.rules import staffing
from ivrd.rules.backoff import Backoff
from ivrd.rules.life import Admitted, TurnedAway
from ivrd.rules.routing import Desk, Seat
from ivrd.rules.staffing import Member, Size
from ivrd.wire.hello import Status
from ivrd.wire.messages import DESCRIPTORS_A_CALL, Held, Report, Tally, WorkerSpec

from .candidates import Candidates
from .recycling import Recycling
from .workers import Worker

if TYPE_CHECKING:
    from .calls import Call
    from .switchboard import Switchboard

__all__ = ["Pool"]

log = structlog.get_logger("ivrd.daemon")


class Pool:
    """The workers of one app and the calls that are with them or wait for them.

    Attributes:
        name: the app's name.
        app: its configuration, of the generation in force.
        generation: which reading of configuration and code is in force; counts up.
        desk: the books.
        workers: its workers by key, those that are on their way out included.
        backoff: the memory of starts that failed.
        open: new calls come in; an app that was taken out of the configuration only finishes what it has.
        settled: set when the pool was full for the first time, or something kept it from that.
        failure: why the last worker that did not start did not; "" when all is well.
    """

    def __init__(self, board: Switchboard, name: str, app: App, *, open: bool) -> None:  # noqa: A002 - of a door
        self.name = name
        self.app = app
        self.generation = 1
        self.desk = Desk(name, app.queue)
        self.workers: dict[int, Worker] = {}
        self.backoff = Backoff()
        self.open = open
        self.settled = trio.Event()
        self.failure = ""
        self._board = board
        self._look = trio.Event()
        self._left = trio.Event()
        self._alive = False
        self._giving = False  # places are being given out
        self._recycling = Recycling(name)
        self._candidates = Candidates()

    @property
    def digest(self) -> str:
        """Tells whether a worker that comes from another daemon runs what this one would start."""
        return _digest(self.app)

    @property
    def problem(self) -> str:
        """Why it cannot take calls now; "" when it can."""
        if any(worker.state == "ready" for worker in self.workers.values()):
            return ""
        return self.failure or "no worker is ready yet"

    @property
    def rejection(self) -> str:
        """Why the generation that was prepared cannot be had; "" when nothing is held against it up to now."""
        return self._candidates.rejection

    # What calls ask of it.

    def enter(self, call_id: str) -> Admitted | TurnedAway:
        """Let a call into the line, or say why not."""
        return self._hopeless() or self.desk.admit(call_id)

    def _hopeless(self) -> TurnedAway | None:
        """Why nobody need wait, where no worker will be there in time."""
        waits = self.backoff.until - trio.current_time() > self.app.queue_timeout
        if waits and not any(worker.state in ("starting", "ready") for worker in self.workers.values()):
            return TurnedAway(Status.CRASHED, f"app {self.name} has no worker that starts: {self.failure}")
        return None

    def kick(self) -> None:
        """Give out the free places."""
        # A place that comes free while they are given out is given out by the same loop: one in a loop of its own for
        # each call whose shim is gone would be deeper than any stack.
        if not self._giving:
            self._giving = True
            try:
                for call_id, key in self.desk.assign():
                    self._board.calls[call_id].assign(self.workers[key])
            finally:
                self._giving = False
        if self.app.pool_min != self.app.pool_max:
            self._look.set()

    def rejoin(self, call: Call, *, first: bool) -> None:
        """Put a call back into the line."""
        self.desk.wait_again(call.id, first=first)
        self.kick()

    def leave(self, call: Call) -> None:
        """Take a call out of the line, if it still waits."""
        self.desk.leave(call.id)

    def release(self, call_id: str, worker: Worker) -> None:
        """Note that a worker has a free place again."""
        self.desk.release(call_id, worker.key)
        self._check_due(worker)
        self.kick()

    # What workers tell it.

    def ready(self, worker: Worker) -> None:
        """A worker can take calls."""
        log.info("worker_ready", app=self.name, worker=worker.key, pid=worker.pid, generation=worker.generation)
        if worker.key in self._candidates:
            self._candidates.ready(worker.key)
        else:
            self._seat(worker)
        self._look.set()

    def _seat(self, worker: Worker) -> None:
        seat = Seat(worker.key, self.app.concurrency, worker.generation, open=worker.state == "ready")
        seat.calls.update(worker.calls)
        self.desk.seats[worker.key] = seat
        self.kick()

    def taken(self, call: Call) -> None:
        """A worker has confirmed a call for the first time."""
        self._board.metrics.call_started(self.name, call.transport, call.handoff or 0.0, call.waited or 0.0)

    def heard(self, worker: Worker, report: Report) -> None:
        """A heartbeat."""
        self.count(report.tally)
        self._board.metrics.loop_lag("worker", report.lag)
        if worker.ready_at is not None and self.backoff.forgives(worker.ready_at, trio.current_time()):
            self.failure = ""
        self._check_due(worker)

    def count(self, tally: Tally) -> None:
        """Let what a worker has counted, and tells for the first time, into the metrics."""
        self._board.metrics.absorb(self.name, tally)

    def _check_due(self, worker: Worker) -> None:
        if self._recycling.check(worker, self.app):
            self._look.set()

    def close_seat(self, worker: Worker) -> None:
        """Give a worker no calls until `open_seat`."""
        seat = self.desk.seats.get(worker.key)
        if seat is not None:
            seat.open = False

    def open_seat(self, worker: Worker) -> None:
        """Give a worker calls again, unless something is held against that."""
        seat = self.desk.seats.get(worker.key)
        if seat is not None and not seat.open and worker.state == "ready" and worker.trusted:
            seat.open = True
            self.kick()

    def left_alone(self, worker: Worker) -> None:
        """A worker goes by itself, because its app cannot go on: see to another one."""
        self.close_seat(worker)
        log.error("app_failed", app=self.name, worker=worker.key, pid=worker.pid, reason=worker.failure)
        if worker.key in self._candidates:
            self._candidates.reject(worker.failure)
        self._look.set()

    def bury(self, worker: Worker, reason: str, text: str) -> None:
        """A worker is dead; its calls are told by itself."""
        now = trio.current_time()
        self.workers.pop(worker.key, None)
        self.desk.seats.pop(worker.key, None)
        self._recycling.forget(worker.key)
        self._board.lock.remove(worker.pid)
        self._board.metrics.worker_exited(reason)
        expected = worker.state in ("retiring", "stopping") and not worker.failure
        say = log.info if expected and reason == "retired" else log.error
        say("worker_gone", app=self.name, worker=worker.key, pid=worker.pid, reason=reason, detail=text,
            calls=len(worker.calls))  # fmt: skip
        if worker.key in self._candidates:
            self._candidates.reject(text)
        elif not expected and worker.generation <= self.generation:  # those in force are none the worse for a reload
            ready_for = None if worker.ready_at is None else now - worker.ready_at
            wait = self.backoff.died(now, ready_for, random.random())
            if wait:
                self.failure = text
                if (hopeless := self._hopeless()) is not None:
                    self._send_on(hopeless)
                log.warning("app_backs_off", app=self.name, seconds=round(wait, 1), failures=self.backoff.failures)
        self._look.set()
        self._left.set()

    def take_held(self, worker: Worker, message: Held, fds: list[int]) -> None:
        """Put the calls that a worker brought along into the books."""
        if len(fds) != len(message.calls) * DESCRIPTORS_A_CALL:
            close_all(fds)
            log.error("worker_nonsense", pid=worker.pid, reason="calls and descriptors do not match")
            return
        for place, held in enumerate(message.calls):
            start = place * DESCRIPTORS_A_CALL
            try:
                stdio = Stdio.adopt(fds[start : start + DESCRIPTORS_A_CALL])
            except WireError as error:
                log.error("worker_nonsense", pid=worker.pid, call=held.id, reason=str(error))
                continue
            self._board.adopt(self, worker, held, stdio)
        worker.keep()

    # Its own life.

    def start(self) -> None:
        """Begin to keep the pool at the size that it should have; once is enough. A closed one is forgotten empty."""
        if not self._alive:
            self._alive = True
            self._board.staff.start_soon(self._run)

    async def _run(self) -> None:
        while self.open or self.workers:
            now = trio.current_time()
            plan = staffing.plan(
                self._members(), self._size(), calls=self._calls(), now=now, not_before=self.backoff.until
            )
            wake = float("inf") if plan.wake is None else plan.wake
            for _ in range(plan.start):
                try:
                    self._hire(self.app, self._board.config.server, self.generation)
                except OSError as error:
                    log.error("worker_not_started", app=self.name, reason=error.strerror)
                    self.failure = f"no worker could be started: {error.strerror}"
                    self.backoff.died(trio.current_time(), None, random.random())
                    wake = min(wake, self.backoff.until)
                    break
            for key in plan.retire:
                self._retire(self.workers[key])
            if not self.settled.is_set() and self._is_settled():
                self.settled.set()
            self._look = trio.Event()
            with trio.move_on_at(wake):
                await self._look.wait()
        self._alive = False
        self._board.forget(self)

    def _size(self) -> Size:
        if not self.open:
            return Size(0, 0, 0, 1)
        return _size(self.app)

    def _members(self) -> list[Member]:
        return [
            Member(
                worker.key,
                worker.state,
                worker.generation < self.generation or worker.key in self._recycling,
                len(worker.calls),
                worker.idle_since,
            )
            for worker in self.workers.values()
            if worker.key not in self._candidates
        ]

    def _calls(self) -> int:
        kept = (len(worker.calls) for worker in self.workers.values() if worker.state in ("starting", "ready"))
        return self.desk.waiting + sum(kept)

    def _is_settled(self) -> bool:
        states = Counter(worker.state for worker in self.workers.values())
        return states["ready"] >= self.app.pool_min or (bool(self.failure) and not states["starting"])

    def _hire(self, app: App, server: Server, generation: int) -> Worker:
        worker = Worker(self._board.next_key(), self, generation, random.random())
        worker.spawn(self._spec(worker.token, app, server))
        self.add(worker)
        return worker

    def _spec(self, token: str, app: App, server: Server) -> WorkerSpec:
        return WorkerSpec(
            name=self.name,
            app=app,
            socket=server.worker_socket,
            token=token,
            generation=_digest(app),
            close_timeout=server.close_timeout,
            log_format=self._board.log_format,
            log_level=server.log_level,
        )

    def add(self, worker: Worker) -> None:
        """Take a worker into the pool and watch over it."""
        self.workers[worker.key] = worker
        self._board.lock.add(worker.pid)
        self._board.staff.start_soon(worker.run)

    def _retire(self, worker: Worker) -> None:
        if (seat := self.desk.seats.get(worker.key)) is not None:
            seat.open = False
        log.info("worker_retires", app=self.name, worker=worker.key, pid=worker.pid, calls=len(worker.calls),
                 reason=self._recycling.reason(worker.key) or ("replaced" if self.open else "closed"))  # fmt: skip
        worker.retire()

    async def prepare(self, app: App, server: Server) -> None:
        """Warm a new generation beside the one in force, until all of it is ready or `rejection` says why it is not.

        Args:
            app: the configuration that it is to run with.
            server: the part of it that is for all apps.
        """
        self._candidates.begin()
        for _ in range(staffing.wanted(_size(app), self._calls())):
            try:
                worker = self._hire(app, server, self.generation + 1)
            except OSError as error:
                self._candidates.reject(f"no worker could be started: {error.strerror}")
                return
            self._candidates.add(worker.key)
        await self._candidates.decided()

    def commit(self, app: App) -> None:
        """Put the prepared generation in the place of the old one, whose workers finish what they have."""
        old = [worker for worker in self.workers.values() if worker.key not in self._candidates]
        fresh = [self.workers[key] for key in self._candidates.dismiss() if key in self.workers]
        self.app = app
        self.generation += 1
        self.open = True
        self.failure = ""
        self._recycling.begin_anew()
        self.desk.queue_limit = app.queue
        for worker in old:
            self._retire(worker)
        for worker in fresh:
            self._seat(worker)
        self._look.set()
        self.start()

    def abandon(self) -> None:
        """Send a generation that was prepared, in part or whole, away again."""
        for key in self._candidates.dismiss():
            if key in self.workers:
                self.workers[key].stop()
        self.start()  # if it never came to life, it is to be forgotten with them

    async def deserted(self) -> None:
        """Wait until no worker is left."""
        while self.workers:
            self._left = trio.Event()
            await self._left.wait()

    def close(self) -> None:
        """Take no new calls, send on those that wait, and let the workers go after their last one."""
        self.open = False
        self._send_on(TurnedAway(Status.UNKNOWN_APP, f"ivrd has no app {self.name!r} any more"))
        for worker in list(self.workers.values()):
            self._retire(worker)
        self._look.set()
        self.settled.set()  # nobody is to wait for what will not be

    def _send_on(self, why: TurnedAway) -> None:
        """Turn away those that wait."""
        for call_id in self.desk.line():
            self._board.calls[call_id].tell(why)


def _size(app: App) -> Size:
    return Size(app.pool_min, app.pool_max, app.spare_slots, app.concurrency, app.shrink_after)


def _digest(app: App) -> str:
    return hashlib.sha256(__version__.encode() + msgspec.json.encode(app)).hexdigest()[:16]
