"""A worker process: registers, imports the app, enters its lifespan, and then runs calls until it is told to go.

The rule that holds here: a call is held from the moment its `Start` is read, whatever becomes of the daemon; and this
process ends by `os._exit` once all is cleaned up, because a handler's stuck thread must not keep it.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import traceback
from collections.abc import Callable
from typing import Final, NoReturn

import anyio
import msgspec
from anyio.abc import TaskGroup

from ivrd import __version__
from ivrd.descriptors import Stdio, close_all
from ivrd.errors import AppLoadError, WireError
from ivrd.wire.messages import (
    VERSION,
    Drop,
    Ended,
    Failed,
    FromDaemon,
    Ready,
    Register,
    Report,
    Retire,
    Spurned,
    Start,
    Started,
    Stop,
    Tally,
    Trace,
    Traced,
    WorkerSpec,
)
from ivrd.worker import tally
from ivrd.worker.handler import Handler
from ivrd.worker.link import Link
from ivrd.worker.loader import Lifespan, load
from ivrd.worker.log import WorkerLog
from ivrd.worker.session import Session
from ivrd.worker.tap import Tap
from ivrd.worker.transport import StdioTransport

__all__ = ["Worker"]

ALONE_S: Final = 30.0
"""Seconds that a worker without calls waits for a daemon."""
LEAVE_S: Final = 5.0
"""Seconds for the lifespan to be left, and for calls to end when the service stops."""
_LAG_SAMPLE_S: Final = 0.25
_TAP_S: Final = 0.1  # between two looks at what goes over the wire of calls that are traced
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Worker:
    """The process's state: its calls, its link to the daemon, and what it still has to do.

    Args:
        spec: what the daemon said when it started this process.
        log: where errors go.
        leave: ends the process with an exit status.
    """

    def __init__(self, spec: WorkerSpec, log: WorkerLog, leave: Callable[[int], NoReturn]) -> None:
        self.ready = False
        self._spec = spec
        self._log = log
        self._leave = leave
        self._born = anyio.current_time()
        self._link = Link(spec.socket, self)
        self._sessions: dict[str, tuple[Session, Stdio]] = {}
        self._given_up: list[Session] = []
        self._transports: dict[str, StdioTransport] = {}
        self._taps: dict[str, Tap] = {}
        self._handler: Handler | None = None
        self._served = 0
        self._retiring = False
        self._going = False  # no call is begun any more: the lifespan is being left, or is broken
        self._finished = anyio.Event()
        self._emptied = anyio.Event()
        self._unreported = Tally()
        self._tasks: TaskGroup | None = None

    async def run(self) -> NoReturn:
        """Run until the process is to end, and end it."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            tasks.start_soon(self._link.run)
            status = await self._serve(tasks)
            await self._link.flush(1.0)
            self._log.flush()
            self._leave(status)
        raise AssertionError("a worker ends by leaving")

    async def _serve(self, tasks: TaskGroup) -> int:
        with anyio.move_on_after(ALONE_S):
            await self._link.registered.wait()
        if not self._link.registered.is_set():
            self._log.error("worker.not_registered", socket=self._spec.socket, waited=ALONE_S)
            return 1
        try:
            self._handler, lifespan = load(self._spec.app)
        except AppLoadError as error:
            return self._fail("app.not_loaded", str(error), error.__cause__)
        tasks.start_soon(self._beat)
        return await self._live(tasks, lifespan)

    async def _live(self, tasks: TaskGroup, lifespan: Lifespan) -> int:
        """Run from the lifespan's entry to its exit."""
        # The limit on leaving is set on a scope around the lifespan, which may hold task groups of its own.
        with anyio.CancelScope() as scope:
            try:
                async with lifespan():
                    # The app's modules stay: the collector need not look through them in the middle of a call.
                    gc.freeze()
                    self.ready = True
                    if self._link.up:
                        self._link.post(Ready())
                    tasks.start_soon(anyio.to_thread.run_sync, self._log.prepare)
                    await self._finished.wait()
                    scope.deadline = anyio.current_time() + LEAVE_S
                    # One that blocks its thread cannot be cancelled.
                    faulthandler.dump_traceback_later(LEAVE_S + 1, exit=True)
            except BaseException as error:
                if isinstance(error, anyio.get_cancelled_exc_class()):
                    raise
                event = "lifespan.broke" if self.ready else "lifespan.not_entered"
                self.ready = False
                line = self._log.masked(f"lifespan {self._spec.app.lifespan!r} raised {error!r}")
                status = self._fail(event, line, error)
                await self._stop(line)
                return status
        return 0

    def _fail(self, event: str, line: str, cause: BaseException | None) -> int:
        text = self._log.masked("".join(traceback.format_exception(cause))) if cause else ""
        fields = {"exception": text} if text else {}
        self._log.error(event, error=line, **fields)
        self._link.post(Failed(error=line, traceback=text))
        return 1

    async def _beat(self) -> None:
        """Report regularly, measure how late the loop is, and see whether there is any point in staying."""
        interval = min(1.0, self._spec.app.heartbeat_timeout / 4)
        pause = min(_LAG_SAMPLE_S, interval)
        report_at = due = anyio.current_time()
        alone_since: float | None = None
        lag = 0.0
        while True:
            now = anyio.current_time()
            lag = max(lag, now - due)
            if now >= report_at:
                report_at = now + interval
                if self._link.idle:
                    self._report(lag)
                    lag = 0.0
            if self._link.up or self._sessions:
                alone_since = None
            elif alone_since is None:
                alone_since = now
            elif now - alone_since >= ALONE_S:
                self._leave_soon()
            due = now + pause
            await anyio.sleep_until(due)

    def _report(self, lag: float) -> None:
        self._given_up = [session for session in self._given_up if session.stuck]
        for session, _ in self._sessions.values():
            tally.add(self._unreported, session.count())
        counted, self._unreported = self._unreported, Tally()
        self._link.post(Report(lag=lag, rss=_resident_bytes(), stuck=len(self._given_up), tally=counted))

    # Calls

    def _start(self, start: Start, fds: list[int]) -> None:
        if self._handler is None or self._going:
            close_all(fds)
            self._link.post(Spurned(start.id))
            return
        try:
            stdio = Stdio.adopt(fds)
        except WireError as error:
            self._log.error("call.refused", call=start.id, error=str(error))
            self._link.post(Ended(id=start.id, result="app_error", detail=str(error), unsaid=str(error), tally=Tally()))
            return
        assert self._tasks is not None
        transport = StdioTransport(stdio, lambda: self._link.release(start.id, stdio))
        session = Session(
            start,
            self._spec.app,
            self._spec.name,
            self._handler,
            transport,
            close_timeout=self._spec.close_timeout,
            log=self._log,
        )
        self._served += 1
        self._sessions[start.id] = (session, stdio)
        self._transports[start.id] = transport
        if start.traced:
            self._tap(session).overhear(start.early)
        self._link.post(Started(start.id))
        session.begin(self._tasks)
        self._tasks.start_soon(self._run, session)

    async def _run(self, session: Session) -> None:
        assert self._tasks is not None
        try:
            ended = await session.run(self._tasks)
        except Exception as error:
            # An error of ours, not of the app's: it is to cost one call, and to be seen.
            self._log.error("call.broke", call=session.id, exc_info=error)
            ended = session.give_up(f"error in ivrd: {error!r}")
        self._untap(session.id)
        del self._sessions[session.id], self._transports[session.id]
        if session.stuck:
            self._given_up.append(session)
        if self._link.up:
            # Not with the next report: this may be the last call of a worker that retires.
            ended = msgspec.structs.replace(ended, unreported=session.count())
        else:
            tally.add(self._unreported, session.count())
        self._link.post(ended)
        if not self._sessions:
            self._emptied.set()
            self._emptied = anyio.Event()
            if self._retiring:
                self._leave_soon()

    def _leave_soon(self) -> None:
        """Begin no call any more, and leave."""
        self._going = self._retiring = True
        self._finished.set()

    async def _stop(self, broken: str = "") -> None:
        """End what is left, and wait until that is done.

        Args:
            broken: what failed, where it is no stop of the service.
        """
        self._going = True
        for session, _ in self._sessions.values():
            session.stop(broken)
        with anyio.move_on_after(LEAVE_S):
            while self._sessions:
                await self._emptied.wait()
        self._leave_soon()

    # Who looks at a call

    def _tap(self, session: Session) -> Tap:
        assert self._tasks is not None
        if not self._taps:
            self._tasks.start_soon(self._tell_taps)
        self._taps[session.id] = Tap(session, self._transports[session.id], session.admitted)
        return self._taps[session.id]

    def _untap(self, call_id: str) -> None:
        tap = self._taps.pop(call_id, None)
        if tap is not None:
            tap.remove()
            while lines := tap.take(final=True):
                self._link.post(Traced(id=call_id, lines=tuple(lines), dropped=tap.dropped))

    async def _tell_taps(self) -> None:
        while self._taps:
            if not self._link.up:
                for call_id in list(self._taps):
                    self._untap(call_id)  # whoever looked went with the daemon
            for call_id, tap in self._taps.items():
                # Nothing is queued behind other news: what is not told waits in the tap, which has a limit.
                if self._link.idle and (lines := tap.take()):
                    self._link.post(Traced(id=call_id, lines=tuple(lines), dropped=tap.dropped))
            await anyio.sleep(_TAP_S)

    # What the link asks

    def register(self) -> Register:
        """See `link.Holder`."""
        spec = self._spec
        return Register(
            version=VERSION,
            release=__version__,
            pid=os.getpid(),
            app=spec.name,
            token=spec.token,
            generation=spec.generation,
            served=self._served,
            ready=self.ready,
            retiring=self._retiring,
            heartbeat_timeout=spec.app.heartbeat_timeout,
            age=anyio.current_time() - self._born,
        )

    def calls(self) -> list[tuple[Session, Stdio]]:
        """See `link.Holder`."""
        return [(session, stdio) for session, stdio in self._sessions.values() if not stdio.closed]

    def receive(self, message: FromDaemon, fds: list[int]) -> None:
        """See `link.Holder`."""
        match message:
            case Start():
                self._start(message, fds)
                return
            case Drop():
                if message.id in self._sessions:
                    self._sessions[message.id][0].drop()
                else:
                    # It never came, for want of descriptors: its place must not be held for it for ever.
                    self._link.post(Spurned(message.id))
            case Trace():
                if not message.on:
                    self._untap(message.id)
                elif message.id in self._sessions and message.id not in self._taps:
                    self._tap(self._sessions[message.id][0])
            case Retire():
                self._retiring = True
                if not self._sessions:
                    self._leave_soon()
            case Stop():
                assert self._tasks is not None
                self._going = True  # at once: what was sent behind this is read before the task has its turn
                self._tasks.start_soon(self._stop)
            case _:
                pass  # Leave: the next daemon is looked for when this one is gone
        close_all(fds)

    def refuse(self, error: WireError) -> None:
        """See `link.Holder`."""
        self._log.error("daemon.unreadable", error=str(error))


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except OSError:
        return 0  # no descriptor free
