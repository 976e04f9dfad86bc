"""A worker's link to its daemon, or to the next one: registration, messages in order, and the time without a daemon.

The rule that holds here: no call ever waits for the daemon. What cannot be sent at once is queued; what is queued when
the daemon vanishes is forgotten, since the next one learns of all calls, descriptors included, by registration. A
daemon is gone at EOF, never for being silent.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Protocol

import anyio
import anyio.lowlevel
import msgspec
from anyio.abc import TaskGroup

from ivrd import descriptors
from ivrd.descriptors import Stdio, close_all
from ivrd.errors import WireError
from ivrd.wire.messages import (
    DESCRIPTORS_A_CALL,
    HELD_A_MESSAGE,
    MAX_MESSAGE,
    Drop,
    FromDaemon,
    FromWorker,
    Held,
    HeldCall,
    Kept,
    Ready,
    Register,
    Spurned,
    Start,
    Welcome,
    decode_from_daemon,
    encode,
)

__all__ = ["HeldSession", "Holder", "Link"]

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 0.5
_BATCH_BYTES = MAX_MESSAGE // 2
_ANSWERS = (Welcome, Kept)


class HeldSession(Protocol):
    """A call as the link needs it, even after its end."""

    @property
    def id(self) -> str:
        """The call's id."""
        ...

    def held(self) -> HeldCall:
        """Describe it."""
        ...


class Holder(Protocol):
    """Who has the calls."""

    @property
    def ready(self) -> bool:
        """Whether calls can be taken."""
        ...

    def register(self) -> Register:
        """Say who this is; `held` is filled in by the link."""
        ...

    def calls(self) -> Sequence[tuple[HeldSession, Stdio]]:
        """All calls whose descriptors are open."""
        ...

    def receive(self, message: FromDaemon, fds: list[int]) -> None:
        """Take a message of the daemon's, and its descriptors."""
        ...

    def refuse(self, error: WireError) -> None:
        """Take note of a message that could not be read."""
        ...


class Link:
    """The link; `run` keeps one up for as long as it runs.

    Args:
        path: the worker socket.
        holder: who has the calls.

    Attributes:
        registered: set at the first registration.
    """

    def __init__(self, path: str, holder: Holder) -> None:
        self.registered = anyio.Event()
        self._path = path
        self._holder = holder
        self._socket: socket.socket | None = None
        self._open = False
        self._queue: deque[bytes] = deque()
        self._writers: TaskGroup | None = None
        # Calls that are to be told to a daemon, each with whether it is over meanwhile and only waits for that.
        self._announced: dict[str, tuple[Stdio, bool]] = {}
        self._drained = anyio.Event()
        self._inbox: deque[tuple[FromDaemon, list[int]] | None] = deque()  # what was read; None is the end

    @property
    def up(self) -> bool:
        """Whether a daemon has this worker in its books."""
        return self._open

    @property
    def idle(self) -> bool:
        """Whether a message would go out at once, so that a report is not queued behind others."""
        return self._open and not self._queue

    def post(self, message: FromWorker) -> None:
        """Send a message when its turn comes; nothing is sent where no daemon is."""
        if self._open:
            self._queue.append(encode(message))
            if len(self._queue) == 1 and not self._send_queue():
                assert self._writers is not None
                self._writers.start_soon(self._wait_and_send)
        elif self._socket is not None:
            self._queue.append(encode(message))

    def release(self, call_id: str, stdio: Stdio) -> None:
        """Close the descriptors of a call that is over, as soon as they are not needed to tell the daemon of it."""
        if call_id in self._announced:
            self._announced[call_id] = (stdio, True)
        else:
            stdio.close()

    async def flush(self, timeout: float) -> None:
        """Wait until all was sent, if that comes within `timeout` seconds."""
        with anyio.move_on_after(timeout):
            while self._open and self._queue:
                self._drained = anyio.Event()
                await self._drained.wait()

    async def run(self) -> None:
        """Find a daemon, register, serve it until it is gone, and again."""
        pause = _FIRST_PAUSE_S
        while True:
            connection = self._connect()
            if connection is not None:
                with connection:
                    try:
                        if await self._serve(connection):
                            pause = _FIRST_PAUSE_S
                    finally:
                        self._forget()
            await anyio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _connect(self) -> socket.socket | None:
        # Not there, not listening, a full backlog, no descriptor free: each passes by itself.
        try:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        except OSError:
            return None
        try:
            connection.connect(self._path)
        except OSError:
            connection.close()
            return None
        return connection

    def _forget(self) -> None:
        self._socket = None
        self._open = False
        self._queue.clear()
        for unheard in self._inbox:
            if unheard is not None:
                close_all(unheard[1])
        self._inbox.clear()
        for call_id in list(self._announced):
            self._told(call_id)
        self._drained.set()

    async def _serve(self, connection: socket.socket) -> bool:
        """Serve one daemon until it is gone; tells whether it took us."""
        self._socket = connection
        async with anyio.create_task_group() as tasks:
            self._writers = tasks
            if await self._register(connection):
                self._open = True
                self.registered.set()
                if self._queue and not self._send_queue():
                    tasks.start_soon(self._wait_and_send)
                if self._holder.ready:
                    self.post(Ready())
                await self._receive_until(connection, ())
            tasks.cancel_scope.cancel()
        return self._open

    # Registration

    async def _register(self, connection: socket.socket) -> bool:
        calls = self._holder.calls()
        self._announced = {session.id: (stdio, False) for session, stdio in calls}
        register = msgspec.structs.replace(self._holder.register(), held=len(calls))
        if not (await self._transmit(connection, register) and await self._receive_until(connection, (Welcome,))):
            return False
        for batch in self._batches(calls):
            message = Held(calls=tuple(call for call, _ in batch))
            fds = [fd for _, stdio in batch for fd in stdio.fds]
            if not (await self._transmit(connection, message, fds) and await self._receive_until(connection, (Kept,))):
                return False
            for call, _ in batch:
                self._told(call.id)
        return True

    def _told(self, call_id: str) -> None:
        stdio, over = self._announced.pop(call_id)
        if over:
            stdio.close()

    def _batches(self, calls: Sequence[tuple[HeldSession, Stdio]]) -> Iterator[list[tuple[HeldCall, Stdio]]]:
        """Make batches that fit into a message, by the number of descriptors and by size."""
        batch: list[tuple[HeldCall, Stdio]] = []
        size = 0
        for session, stdio in calls:
            call = session.held()
            length = len(encode(Held(calls=(call,))))
            if batch and (len(batch) == HELD_A_MESSAGE or size + length > _BATCH_BYTES):
                yield batch
                batch, size = [], 0
            batch.append((call, stdio))
            size += length
        if batch:
            yield batch

    async def _transmit(self, connection: socket.socket, message: FromWorker, fds: Sequence[int] = ()) -> bool:
        data = encode(message)
        while True:
            try:
                descriptors.send(connection, data, fds)
            except BlockingIOError:
                # Writable at once where too many descriptors are under way, so wait a little as well.
                await anyio.wait_writable(connection)
                await anyio.sleep(0.005)
            except OSError:
                return False
            else:
                return True

    # Messages

    def _send_queue(self) -> bool:
        """Send what is queued; False when the daemon's side is full."""
        assert self._socket is not None
        while self._queue:
            try:
                descriptors.send(self._socket, self._queue[0])
            except BlockingIOError:
                return False
            except OSError:
                self._queue.clear()  # it is gone; EOF follows
            else:
                self._queue.popleft()
        self._drained.set()
        return True

    async def _wait_and_send(self) -> None:
        while self._socket is not None and not self._send_queue():
            await anyio.wait_writable(self._socket)

    async def _receive_until(self, connection: socket.socket, wanted: tuple[type, ...]) -> bool:
        """Hand on the daemon's messages until one of a wanted kind comes; False at EOF."""
        while True:
            if not self._inbox:
                await anyio.wait_readable(connection)
            self._fill_inbox(connection)
            if not self._inbox:
                continue
            received = self._inbox.popleft()
            if received is None:
                return False
            message, fds = received
            if isinstance(message, wanted):
                close_all(fds)
                return True
            if isinstance(message, _ANSWERS):
                close_all(fds)
            elif isinstance(message, Start) and self._is_taken_back(message.id):
                close_all(fds)
                self.post(Spurned(message.id))
            else:
                self._holder.receive(message, fds)
            if self._inbox:
                await anyio.lowlevel.checkpoint()  # the call that has just begun comes before the next one

    def _fill_inbox(self, connection: socket.socket) -> None:
        """Read all that is there: one that was blocked is to see which of its calls have been taken back meanwhile."""
        resets = 0
        while not self._inbox or self._inbox[-1] is not None:
            try:
                data, fds = descriptors.receive(connection, MAX_MESSAGE, DESCRIPTORS_A_CALL)
            except BlockingIOError:
                return
            except ConnectionResetError:
                # A daemon that closed with unread messages of ours: what it had sent before still comes, then EOF.
                resets += 1
                if resets == 1:
                    continue
                data, fds = b"", []
            except WireError as error:
                self._holder.refuse(error)
                continue
            except OSError:
                data, fds = b"", []
            if not data:
                close_all(fds)
                self._inbox.append(None)
                return
            try:
                self._inbox.append((decode_from_daemon(data), fds))
            except WireError as error:
                close_all(fds)
                self._holder.refuse(error)

    def _is_taken_back(self, call_id: str) -> bool:
        """Whether a call that is to be begun is taken back already, for we were too slow and another worker has it."""
        for place, received in enumerate(self._inbox):
            if received is not None and isinstance(received[0], Drop) and received[0].id == call_id:
                del self._inbox[place]
                return True
        return False
