"""The way to Asterisk as a session needs it: read, write, wait, and nothing of how the bytes travel.

The rule that holds here: reading and writing never wait; waiting is a call of its own. A test can so put a model of
Asterisk in place of descriptors and run a session under a clock of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import anyio

from ivrd.descriptors import Stdio

__all__ = ["StdioTransport", "Transport"]


class Transport(Protocol):
    """One call's two streams, and a third for a line in Asterisk's log."""

    def read(self) -> bytes:
        """Return what Asterisk sent, empty at EOF; raise BlockingIOError when nothing is there."""
        ...

    def write(self, line: bytes) -> None:
        """Write one command whole; raise BlockingIOError when there is no room, another OSError when it is gone."""
        ...

    def complain(self, text: str) -> None:
        """Put a line into Asterisk's log by way of stderr, if that is possible at once."""
        ...

    def close(self) -> None:
        """Let go of it; nobody reads, writes or waits any more."""
        ...

    async def wait_readable(self) -> None:
        """Wait until `read` gives something."""
        ...

    async def wait_writable(self) -> None:
        """Wait until `write` may find room."""
        ...


class StdioTransport:
    """A call's descriptors.

    Args:
        stdio: the three descriptors, non-blocking.
        close: what to do in place of closing them, where they may still be wanted.
    """

    __slots__ = ("close", "complain", "read", "stdio", "write")

    def __init__(self, stdio: Stdio, close: Callable[[], None] | None = None) -> None:
        self.stdio = stdio
        self.read = stdio.read
        self.write = stdio.write
        self.complain = stdio.complain
        self.close = close or stdio.close

    async def wait_readable(self) -> None:
        """See `Transport`."""
        await anyio.wait_readable(self.stdio.stdin)

    async def wait_writable(self) -> None:
        """See `Transport`."""
        await anyio.wait_writable(self.stdio.stdout)
