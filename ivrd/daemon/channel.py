"""A call's channel for as long as it is ours: what is read while the call waits, is reset or ends, and the last words.

The rule that holds here: the channel has one reader. It is we from `start_reading` to `stop_reading`, and whoever has
the call in between; and what we read of a waiting caller is kept for the app.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial

import trio

from ivrd import eivr
from ivrd.descriptors import Stdio
from ivrd.rules.life import CallerGone, Fact, Marked, State

__all__ = ["Channel"]

# What a caller can press while the call waits, and more: one who sends more than this is no caller.
EARLY_LIMIT = 32_768  # bytes
MARKER = "IVRD_MARK"

Job = Callable[[], Awaitable[None]]


class Channel:
    """The daemon's side of one call's descriptors.

    Args:
        stdio: the descriptors.
        start: starts a task of the call's.
        state: tells where the call is in its life.
        tell: told what is read that matters to the call's life.

    Attributes:
        early: what was read of the call's events while it waited, as it came.
    """

    def __init__(
        self, stdio: Stdio, start: Callable[[Job], None], state: Callable[[], State], tell: Callable[[Fact], None]
    ) -> None:
        self.early = bytearray()
        self._stdio = stdio
        self._start = start
        self._state = state
        self._tell = tell
        self._connection = eivr.Connection()
        self._unsent: deque[bytes] = deque()
        self._reader: trio.CancelScope | None = None
        self._reading = trio.Lock()

    # Out.

    def reset(self, attempt: int) -> None:
        """Silence what a dead worker left, and put a marker behind it: what comes before its reply is the first life's.

        Args:
            attempt: which life is over.
        """
        self.early.clear()
        self._connection = eivr.Connection()
        self.write(eivr.autoclear(False), eivr.interrupt(), eivr.get_variables(f"{MARKER}_{attempt}"))

    def write(self, *lines: bytes) -> None:
        """Write commands, now or when there is room."""
        flushing = bool(self._unsent)
        self._unsent.extend(lines)
        if not flushing and not self._flush():
            self._start(self._flush_when_writable)

    def _flush(self) -> bool:
        """Write as much as the pipe takes; true when nothing is left or nobody reads any more."""
        try:
            while self._unsent:
                self._stdio.write(self._unsent[0])
                self._unsent.popleft()
        except BlockingIOError:
            return False
        except OSError:
            self._unsent.clear()
        return True

    async def _flush_when_writable(self) -> None:
        while not self._flush():
            await trio.lowlevel.wait_writable(self._stdio.stdout)

    # In.

    def start_reading(self, first: Callable[[], None] = lambda: None) -> None:
        """Read from now on; `first` is called if it comes to that, and nobody has the call before."""
        if self._reader is None:
            self._reader = trio.CancelScope()
            self._start(partial(self._read, self._reader, first))

    def stop_reading(self) -> None:
        """Read no more: somebody else does."""
        if self._reader is not None:
            self._reader.cancel()
            self._reader = None

    async def _read(self, scope: trio.CancelScope, first: Callable[[], None]) -> None:
        # The lock is for a reader that was stopped in this very tick and has not yet let go of the descriptor.
        if scope.cancel_called:
            return  # a worker was free
        first()
        with scope:
            async with self._reading:
                while True:
                    await trio.lowlevel.wait_readable(self._stdio.stdin)
                    if scope.cancel_called:
                        return
                    try:
                        data = self._stdio.read()
                    except BlockingIOError:
                        continue
                    self._take(data)
                    if not data:
                        return

    def _take(self, data: bytes) -> None:
        events = self._connection.receive(data)
        state = self._state()
        if state is State.QUEUED and len(self.early) < EARLY_LIMIT:
            self.early += data
        marked = state is State.RESETTING and self._sift(events)
        if not data or self._connection.hungup or self._connection.left:
            # After `H` and `E` Asterisk closes in the same breath.
            self._tell(CallerGone(left=self._connection.left))
        elif marked:
            self._tell(Marked())

    def _sift(self, events: list[eivr.Event]) -> bool:
        """Keep of a first life's events what the second one should know: the keys, and that the caller hung up.

        Returns:
            Whether the marker's reply was among them.
        """
        marked = False
        for event in events:
            match event:
                case eivr.Key():
                    self.early += f"{event.key},{event.at:10d}\n".encode()
                case eivr.Inform():
                    self.early += f"I,{event.at:10d},{event.detail}\n".encode("utf-8", "surrogateescape")
                case eivr.Variables() if event.raw.startswith(f"{MARKER}_"):
                    marked = True
                case _:
                    pass
        return marked
