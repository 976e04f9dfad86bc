"""Shims at the door: who they are, what they bring, and the refusal of what is not a call.

The rule that holds here: every descriptor that comes in is owned by a call or closed before this file lets go of it,
and every shim is told something, so that no caller waits for a time-out that need not be.
"""

from __future__ import annotations

import contextlib
import socket

import structlog
import trio

from ivrd import descriptors
from ivrd.descriptors import Stdio
from ivrd.errors import WireError
from ivrd.wire import hello as wire
from ivrd.wire.hello import Status

from . import sockets
from .switchboard import Switchboard

__all__ = ["Intake"]

log = structlog.get_logger("ivrd.daemon")

HELLO_DEADLINE = 2.0  # seconds between a connection and its hello


class Intake:
    """Takes shims' connections and makes calls of them.

    Args:
        board: where the calls go.
    """

    def __init__(self, board: Switchboard) -> None:
        self._board = board

    def take(self, connection: socket.socket) -> None:
        """Take a connection; it is ours to close from now on."""
        self._board.floor.start_soon(self._greet, connection)

    async def _greet(self, connection: socket.socket) -> None:
        with connection:
            try:
                pid, uid, _ = descriptors.peer_credentials(connection)
                if uid not in self._board.allowed:
                    reason = f"user {uid} may not hand calls over; add it to allow_users in ivrd's configuration"
                    self._refuse(connection, "denied", Status.DENIED, reason, pid=pid, uid=uid)
                    return
                data, fds = b"", list[int]()
                with trio.move_on_after(HELLO_DEADLINE):
                    data, fds = await sockets.receive(connection, wire.MAX_HELLO + 1, wire.HELLO_DESCRIPTORS)
                if data:  # a health check connects and closes: no matter
                    await self._hear(connection, data, fds)
            except WireError as error:
                self._refuse(connection, "malformed", Status.ERROR, str(error))
            except OSError:
                pass  # the shim is gone; it falls back by itself

    async def _hear(self, connection: socket.socket, data: bytes, fds: list[int]) -> None:
        """Make a call of a hello, and see it through; the connection stays open for as long."""
        board = self._board
        try:
            hello = wire.parse_hello(data)
        except WireError:
            descriptors.close_all(fds)
            raise
        stdio = Stdio.adopt(fds)
        pool = board.pool(hello.app)
        if board.draining or pool is None:
            stdio.close()
            if board.draining:
                self._refuse(connection, "draining", Status.DRAINING, "ivrd is stopping")
            else:
                known = ", ".join(name for name, pool in board.pools.items() if pool.open)
                reason = f"ivrd has no app {hello.app[:64]!r}; it has {known}"
                self._refuse(connection, "unknown_app", Status.UNKNOWN_APP, reason)
            return
        await board.see_through(pool, hello, stdio, connection, "pipe")

    def _refuse(self, connection: socket.socket, kind: str, status: Status, reason: str, **more: object) -> None:
        """Turn a shim away that brought no call which we could take; it does its own fallback."""
        self._board.metrics.handoff_rejected(kind)
        log.warning("handoff_rejected", kind=kind, status=status.value, reason=reason, **more)
        with contextlib.suppress(OSError):
            connection.send(wire.refused(status, "-", reason), socket.MSG_NOSIGNAL)
