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
        try:
            pid, uid, _ = descriptors.peer_credentials(connection)
            if uid not in self._board.allowed:
                reason = f"user {uid} may not hand calls over; add it to allow_users in ivrd's configuration"
                raise _Refusal("denied", Status.DENIED, reason, pid=pid, uid=uid)
            message = descriptors.receive(connection, wire.MAX_HELLO + 1, wire.HELLO_DESCRIPTORS)
        except BlockingIOError:
            self._board.floor.start_soon(self._await_hello, connection)
        except (_Refusal, WireError, OSError) as error:
            self._dismiss(connection, error)
        else:
            self._greet(connection, *message)

    async def _await_hello(self, connection: socket.socket) -> None:
        try:
            with trio.fail_after(HELLO_DEADLINE):
                message = await sockets.receive(connection, wire.MAX_HELLO + 1, wire.HELLO_DESCRIPTORS)
        except (WireError, OSError, trio.TooSlowError) as error:
            self._dismiss(connection, error)
        except BaseException:
            connection.close()
            raise
        else:
            self._greet(connection, *message)

    def _greet(self, connection: socket.socket, data: bytes, fds: list[int]) -> None:
        """Make a call of a hello; the connection is the call's then."""
        board = self._board
        try:
            if not data:  # a health check connects and closes: no matter
                raise ConnectionResetError
            hello = wire.parse_hello(data)
            pool = board.pool(hello.app)
            if board.draining:
                raise _Refusal("draining", Status.DRAINING, "ivrd is stopping")
            if pool is None:
                known = ", ".join(pool.name for pool in board.open_pools)
                reason = f"ivrd has no app {hello.app[:64]!r}; it has {known}"
                raise _Refusal("unknown_app", Status.UNKNOWN_APP, reason)
            fds, taken = [], fds  # `adopt` closes them where it refuses them
            stdio = Stdio.adopt(taken)
        except (_Refusal, WireError, OSError) as error:
            descriptors.close_all(fds)
            self._dismiss(connection, error)
        else:
            if board.knows(stdio):
                stdio.close()
                with connection, contextlib.suppress(OSError):
                    connection.send(wire.STARTED, socket.MSG_NOSIGNAL)
                return
            board.admit(pool, hello, stdio, connection, "pipe")

    def _dismiss(self, connection: socket.socket, error: Exception) -> None:
        """Turn a shim away that brought no call which we could take; it does its own fallback."""
        with connection:
            if isinstance(error, WireError):
                error = _Refusal("malformed", Status.ERROR, str(error))
            if not isinstance(error, _Refusal):
                return  # it is gone, or never said a word
            self._board.metrics.handoff_rejected(error.kind)
            reason = str(error)
            log.warning("handoff_rejected", kind=error.kind, status=error.status.value, reason=reason, **error.more)
            with contextlib.suppress(OSError):
                connection.send(wire.refused(error.status, "-", reason), socket.MSG_NOSIGNAL)


class _Refusal(Exception):
    """Why a shim is turned away, for the metrics, for `IVRD_STATUS` and for a person."""

    def __init__(self, kind: str, status: Status, reason: str, **more: object) -> None:
        super().__init__(reason)
        self.kind = kind
        self.status = status
        self.more = more
