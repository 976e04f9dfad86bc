"""Workers at the door: the daemon's own, and those that another daemon left behind.

The rule that holds here: a stranger gets nothing. Who registers must have our user, must be the process that it says it
is, and must be a worker that this daemon started, or one that stands in the book of the daemon before.
"""

from __future__ import annotations

import os
import random
import socket

import structlog
import trio

from ivrd import __version__, descriptors
from ivrd.config import App
from ivrd.errors import WireError
from ivrd.wire import messages as wire

from . import sockets
from .switchboard import Switchboard
from .workers import Worker

__all__ = ["REUNION", "Registrar"]

log = structlog.get_logger("ivrd.daemon")

REGISTER_DEADLINE = 5.0  # seconds between a connection and its `Register`
REUNION = 1.5  # seconds that a new daemon waits for the workers of the one before


class Registrar:
    """Takes workers' connections and gives them to the workers whose they are.

    Args:
        board: where the pools are.
    """

    def __init__(self, board: Switchboard) -> None:
        self._board = board
        self._expected = set(board.lock.orphans)
        self._all_here = trio.Event()

    def take(self, connection: socket.socket) -> None:
        """Take a connection; it is ours, or a worker's, to close from now on."""
        self._board.staff.start_soon(self._greet, connection)

    async def reunion(self) -> None:
        """Wait a little for the workers that the daemon before left behind, until each has told of its calls."""
        if self._expected:
            with trio.move_on_after(REUNION):
                await self._all_here.wait()

    async def _greet(self, connection: socket.socket) -> None:
        try:
            pid, uid, _ = descriptors.peer_credentials(connection)
            if uid != os.geteuid():
                raise WireError(f"a process of user {uid} is no worker of ours")
            data = b""
            with trio.move_on_after(REGISTER_DEADLINE):
                data, fds = await sockets.receive(connection, wire.MAX_MESSAGE, 0)
                descriptors.close_all(fds)
            if not data:
                raise WireError("it did not register")
            message = wire.decode_from_worker(data)
            if not isinstance(message, wire.Register) or message.pid != pid:
                raise WireError("its first message is not its own registration")
            worker = self._find(message, connection)
        except (WireError, OSError) as error:
            log.warning("registration_refused", reason=str(error))
            connection.close()
            return
        except BaseException:
            connection.close()
            raise
        worker.attach(connection, message.held)
        await worker.told.wait()
        self._expected.discard(pid)
        if not self._expected:
            self._all_here.set()

    def _find(self, message: wire.Register, connection: socket.socket) -> Worker:
        for pool in self._board.pools.values():
            for worker in pool.workers.values():
                if worker.pid == message.pid:
                    if worker.token != message.token:
                        raise WireError(f"process {message.pid} registers with a token that is not its own")
                    return worker
        if message.pid in self._board.lock.orphans:
            return self._adopt(message, connection)
        raise WireError(f"process {message.pid} is not a worker that was started here")

    def _adopt(self, message: wire.Register, connection: socket.socket) -> Worker:
        """Make a worker of ours of another daemon's.

        One of another release goes on taking calls until its successors are warm, if it speaks our language.
        """
        board = self._board
        pool = board.pools.get(message.app)
        if pool is None:
            # Its app is gone from the configuration; its calls are not, nor are the limits that their worker knows.
            pool = board.add_pool(message.app, App(handler="gone:gone", max_duration=0), open=False)
        current = message.release == __version__ and message.generation == pool.digest and not board.lock.upgrade
        worker = Worker(board.next_key(), pool, pool.generation if current else 0, random.random())
        worker.adopt(message)
        if descriptors.is_over(connection):
            # It died before we had a hold of the process, whose number may be somebody else's by now.
            worker.forget()
            raise WireError(f"process {message.pid} is gone")
        pool.add(worker)
        if not pool.open:
            pool.start()
        log.info("worker_adopted", app=message.app, pid=message.pid, calls=message.held, current=current)
        if message.retiring or message.version != wire.VERSION or not pool.open:
            worker.retire()  # heard out for its calls, and given no new ones
        if board.dismissing:
            worker.stop()
        return worker
