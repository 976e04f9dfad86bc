"""The daemon's end of a worker's connection: messages out in order, messages in, and how long silence may last.

The rule that holds here: the daemon never waits for a worker. What a full socket does not take is kept for when it
does; a worker that says nothing for too long is judged only after all that it has said was read, and not by a daemon
that has itself stood still.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

import trio

from ivrd import descriptors
from ivrd.errors import WireError
from ivrd.wire import messages as wire

from . import sockets

__all__ = ["Link"]

# Who is that late has been stopped, or swapped out; whoever else was needs a moment as well.
STANDSTILL = 0.5  # seconds
MOST_DESCRIPTORS = wire.HELD_A_MESSAGE * wire.DESCRIPTORS_A_CALL


class Link:
    """One worker's connection, or the lack of one.

    Args:
        hear: told of each message, and owns its descriptors.
        patience: seconds of silence, or without a connection, that are all right.
        lost: told when the connection is gone.
    """

    def __init__(
        self, hear: Callable[[bytes, list[int]], None], patience: Callable[[], float], lost: Callable[[], None]
    ) -> None:
        self._hear = hear
        self._patience = patience
        self._lost = lost
        self._sock: socket.socket | None = None
        self._attached = trio.Event()
        self._outbox: deque[bytes] = deque()
        self._afterwards: list[Callable[[], None]] = []
        self._waits = False
        self._nursery: trio.Nursery | None = None

    def attach(self, sock: socket.socket) -> None:
        """Take a connection; it takes the place of the one before."""
        self.hang_up()
        self._sock = sock
        self._attached.set()

    def hang_up(self) -> None:
        """Close the connection, if there is one; what was not sent is forgotten with it."""
        if self._sock is not None:
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()
            self._sock = None
            self._outbox.clear()
            self._afterwards.clear()
            self._waits = False
            self._attached = trio.Event()
            self._lost()

    # Out.

    def post(self, message: wire.FromDaemon) -> None:
        """Send a message, now or when there is room; nothing where there is no connection."""
        if self._sock is not None:
            self._outbox.append(wire.encode(message))
            if not self._flush():
                self._wait()

    def send(self, message: wire.FromDaemon, fds: Sequence[int]) -> bool:
        """Send a message with descriptors now, or not at all; tells whether it is on its way."""
        if self._sock is None or self._outbox:
            return False
        try:
            descriptors.send(self._sock, wire.encode(message), fds)
        except OSError:
            return False
        return True

    def when_writable(self, then: Callable[[], None]) -> None:
        """Call back when all that was posted is sent and there is room for more; never if the connection goes first."""
        if self._sock is not None:
            self._afterwards.append(then)
            self._wait()

    def _flush(self) -> bool:
        """Send what is posted; false when the socket is full."""
        assert self._sock is not None
        while self._outbox:
            try:
                descriptors.send(self._sock, self._outbox[0])
            except BlockingIOError:
                return False
            except OSError:
                self._outbox.clear()  # it is gone; EOF follows
            else:
                self._outbox.popleft()
        return True

    def _wait(self) -> None:
        if not self._waits and self._nursery is not None and self._sock is not None:
            self._waits = True
            self._nursery.start_soon(self._wait_writable, self._sock)

    async def _wait_writable(self, sock: socket.socket) -> None:
        with suppress(trio.ClosedResourceError, OSError):
            await trio.lowlevel.wait_writable(sock)
            while self._sock is sock and not self._flush():
                await trio.lowlevel.wait_writable(sock)
        if self._sock is sock:
            self._waits = False
            afterwards, self._afterwards = self._afterwards, []
            for then in afterwards:
                then()

    # In.

    async def listen(self, nursery: trio.Nursery) -> None:
        """Hear the worker out, on this connection and on those that follow.

        Args:
            nursery: where tasks that wait for room are started.

        Returns:
            When the worker was silent, or without a connection, for longer than it may be.
        """
        self._nursery = nursery
        while True:
            with trio.move_on_after(self._patience()):
                await self._attached.wait()
            if self._sock is None or not await self._serve(self._sock):
                return

    async def _serve(self, sock: socket.socket) -> bool:
        """Read messages until the connection ends; false when silence lasted too long."""
        while True:
            message: tuple[bytes, list[int]] | None = None
            due = trio.current_time() + self._patience()
            try:
                with trio.move_on_at(due):
                    message = await sockets.receive(sock, wire.MAX_MESSAGE, MOST_DESCRIPTORS)
                if message is None and trio.current_time() - due > STANDSTILL:
                    continue  # we stood still; the worker may have as well
                if message is None:
                    message = descriptors.receive(sock, wire.MAX_MESSAGE, MOST_DESCRIPTORS)
            except BlockingIOError:
                return False
            except ConnectionResetError:
                continue  # it closed with unread messages; what it said before comes now, then EOF
            except (WireError, OSError, trio.ClosedResourceError):
                message = (b"", [])
            data, fds = message
            if not data:
                if self._sock is sock:
                    self.hang_up()
                return True
            self._hear(data, fds)

    def catch_up(self) -> None:
        """Hear at once all that was said up to now."""
        while self._sock is not None:
            try:
                data, fds = descriptors.receive(self._sock, wire.MAX_MESSAGE, MOST_DESCRIPTORS)
            except ConnectionResetError:
                continue
            except (OSError, WireError):
                return
            if not data:
                return
            self._hear(data, fds)
