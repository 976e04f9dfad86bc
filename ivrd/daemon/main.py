"""The daemon's life: what is opened before what, what is closed after what, and the two ways to go.

The rule that holds here is the nursery tree, one nursery per lifetime, inner ones cancelled first:

    service (exporter, control)  >  staff (workers, pools)  >  floor (calls)  >  doors (accept loops)

*Stopping* answers new shims `DRAINING`, gives live calls `drain_timeout`, ends what is left, then lets the workers go.
*Leaving* (an upgrade) closes the doors, sees that no call hangs in the air, and goes; the workers keep their calls.
Whatever kills this process in between, SIGKILL included, leaves the workers as leaving does.
"""

from __future__ import annotations

import gc
import os
import resource
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress

import structlog
import trio

from ivrd.config import Config, check_descriptors
from ivrd.errors import ServeError
from ivrd.observe import exporter
from ivrd.observe.exporter import Health
from ivrd.observe.logging import Format
from ivrd.observe.metrics import Metrics
from ivrd.rules.life import OrderedOut, State

from . import report, sockets
from .control import Control
from .intake import Intake
from .lock import Lock
from .registrar import REUNION, Registrar
from .reload import Reloader, ReloadError
from .switchboard import Switchboard
from .systemd import Manager, inherit

__all__ = ["Daemon", "raise_descriptor_limit"]

log = structlog.get_logger("ivrd.daemon")

_OWNED = (State.RUNNING, State.ENDED)  # a worker has the call, or nobody needs to

LAG_SAMPLE = 0.25  # seconds between two looks at how late our loop is
LEAVE_PATIENCE = 3.0  # seconds for calls between two owners to find the second one, before a daemon leaves
DISMISSAL = 15.0  # seconds for the workers to go, their last resort and some air included


def raise_descriptor_limit(config: Config) -> str | None:
    """Raise the soft limit on open files to the hard one.

    Returns:
        None when it fits `max_calls`, else a line that says what to do.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return check_descriptors(config, hard, hard)


class Daemon:
    """One serving daemon.

    Attributes:
        board: the switchboard; there once `run` has started.
        ready: set when each app that can start is warm.
        reloader: reloads; there once `run` has started.
    """

    def __init__(self, config: Config, *, read: Callable[[], Config], log_format: Format) -> None:
        self.board: Switchboard
        self.reloader: Reloader
        self.ready = trio.Event()
        self._config = config
        self._read = read
        self._log_format: Format = log_format
        self._going = trio.Event()  # set when it stops or leaves
        self._manager = Manager.from_environment(os.environ)
        self._hurry = trio.Event()  # set when a stop is to wait no longer
        self._told_to_stop = False
        self._reunited = trio.Event()  # the workers of the daemon before have told of their calls, or had time to
        self._leaving = False
        self._failure = ""

    # What others ask of it.

    def stop(self) -> None:
        """Drain and stop; asked a second time, stop at once."""
        if self._told_to_stop:
            self._hurry.set()
        self._told_to_stop = True
        self._going.set()

    def drain(self) -> None:
        """Drain and stop; asked a second time, it goes on doing so."""
        self._going.set()

    def leave(self) -> None:
        """Leave the calls to the workers and the workers to the next daemon."""
        if not self._going.is_set():
            self._leaving = True
            self._going.set()

    def reload_soon(self) -> None:
        """Reload, without anybody waiting for the outcome but the log."""
        if self.ready.is_set() and not self._going.is_set():
            self.board.floor.start_soon(self._reload_unasked)

    async def _reload_unasked(self) -> None:
        with suppress(ReloadError):  # it is in the log
            await self.reloader.reload()

    # Its life.

    async def run(self) -> None:
        """Serve until stopped; `ready` tells when calls are taken.

        Raises:
            ServeError: the daemon cannot start here, or none of its apps does.
        """
        server = self._config.server
        with ExitStack() as stack:
            lock = stack.enter_context(Lock(server.socket))
            given = inherit(os.environ, server.socket)
            # What systemd opened is there for the next daemon.
            shims = given.shim or self._listen(stack, server.socket, 0o666)
            stack.enter_context(shims)
            workers = self._listen(stack, server.worker_socket, 0o600)
            operators = self._listen(stack, server.control_socket, 0o600)
            metrics = Metrics(lambda: report.snapshot(self.board))
            async with trio.open_nursery() as service:
                try:
                    where = given.metrics or server.metrics_address
                    if where is not None:
                        await service.start(exporter.serve, where, metrics, self._health)
                except ServeError as error:
                    self._failure = str(error)
                else:
                    await self._work(lock, metrics, service, shims, workers, operators)
                service.cancel_scope.cancel()
        if self._failure:
            raise ServeError(self._failure)
        log.info("stopped", left_to_the_next=self._leaving)

    def _listen(self, stack: ExitStack, path: str, mode: int) -> socket.socket:
        """Listen at a path until the stack is left; the file goes too, unless the next daemon is to find it."""
        sock = stack.enter_context(sockets.listen(path, mode))

        def clean_up() -> None:
            if not self._leaving:
                sockets.unlink(path)

        stack.callback(clean_up)
        return sock

    async def _work(
        self,
        lock: Lock,
        metrics: Metrics,
        service: trio.Nursery,
        shims: socket.socket,
        workers: socket.socket,
        operators: socket.socket,
    ) -> None:
        async with trio.open_nursery() as staff, trio.open_nursery() as floor:
            self.board = Switchboard(self._config, lock, metrics, floor=floor, staff=staff, log_format=self._log_format)
            _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
            self.reloader = Reloader(self.board, self._read, limit, self._manager.reloading)
            control = Control(self.board, self.reloader, self.drain, service)
            service.start_soon(sockets.accept_for_ever, operators, control.take)
            service.start_soon(_measure_lag, metrics)
            async with trio.open_nursery() as doors:
                doors.start_soon(self._open, doors, shims, workers)
                doors.start_soon(self._manager.attend, lambda: report.line(self.board), self._config.server.socket)
                await self._going.wait()
                if not self._leaving:
                    await self._drain()
                doors.cancel_scope.cancel()
            if self._leaving:
                await self._leave()
                floor.cancel_scope.cancel()
            else:
                await self._dismiss_workers()
            staff.cancel_scope.cancel()

    async def _open(self, doors: trio.Nursery, shims: socket.socket, workers: socket.socket) -> None:
        board = self.board
        for name, app in self._config.apps.items():
            board.add_pool(name, app, open=True)
        registrar = Registrar(board)
        # Workers are heard to the end: one that is told to stop must have heard it.
        await board.staff.start(sockets.accept_for_ever, workers, registrar.take)
        await registrar.reunion()
        self._reunited.set()
        # Calls that came while there was no daemon wait in the backlog.
        await doors.start(sockets.accept_for_ever, shims, Intake(board).take)
        pools = board.open_pools
        for pool in pools:
            pool.start()
        for pool in pools:
            await pool.settled.wait()
        pools = board.open_pools  # a reload may have come meanwhile
        failures = {pool.name: pool.problem for pool in pools if pool.problem}
        for name, failure in failures.items():
            log.error("app_not_started", app=name, reason=failure)
        if len(failures) == len(pools):
            self._failure = "no app could be started: " + "; ".join(f"{n}: {why}" for n, why in failures.items())
            # Calls that came over from the daemon before are no reason to stay, nor is this one to cut them.
            self._leaving = bool(board.calls)
            self._going.set()
            return
        # What is there by now stays: the collector need not look through it again in the middle of a call.
        gc.freeze()
        self.ready.set()
        await self._manager.ready(report.line(board))
        log.info("ready", apps=len(self._config.apps), socket=self._config.server.socket, pid=os.getpid())

    async def _drain(self) -> None:
        """See the live calls off: first kindly, then not."""
        board = self.board
        board.draining = True
        with trio.move_on_after(REUNION):
            await self._reunited.wait()  # a call that its worker has not told of yet is a live one
        timeout = self.board.config.server.drain_timeout
        log.info("draining", calls=len(board.calls), seconds=timeout)
        await self._manager.stopping(timeout + board.config.server.close_timeout + DISMISSAL)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_hurry, nursery.cancel_scope)
            with trio.move_on_after(timeout):
                await board.empty()
            nursery.cancel_scope.cancel()
        for call in list(board.calls.values()):
            call.tell(OrderedOut("drained", "ivrd stops"))
        with trio.move_on_after(board.config.server.close_timeout + 1):
            await board.empty()

    async def _watch_hurry(self, scope: trio.CancelScope) -> None:
        await self._hurry.wait()
        scope.cancel()

    async def _leave(self) -> None:
        """Wait for calls that are between two owners: no more come in, and those that are there find their worker.

        Shims that knocked meanwhile stand in the backlog; as it is closed unheard, they try again with the next daemon.
        """
        board = self.board
        await self._manager.stopping(LEAVE_PATIENCE + DISMISSAL)
        board.lock.leave()
        with trio.move_on_after(LEAVE_PATIENCE):
            while any(call.life.state not in _OWNED for call in board.calls.values()):  # noqa: ASYNC110 - but once
                await trio.sleep(0.005)
        for pool in board.pools.values():
            for worker in pool.workers.values():
                worker.leave()

    async def _dismiss_workers(self) -> None:
        self.board.dismissing = True
        pools = list(self.board.pools.values())
        for pool in pools:
            pool.close()
        for pool in pools:
            for worker in list(pool.workers.values()):
                worker.stop()
        for pool in pools:
            await pool.deserted()

    def _health(self) -> Health:
        if not self.ready.is_set():
            return Health(problem="starting")
        return report.health(self.board)


async def _measure_lag(metrics: Metrics) -> None:
    """Feel our own pulse: by how much later than asked for a task gets its turn."""
    while True:
        due = trio.current_time() + LAG_SAMPLE
        await trio.sleep_until(due)
        metrics.loop_lag("daemon", trio.current_time() - due)
