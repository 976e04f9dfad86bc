"""One epoll and one heap of deadlines for thousands of calls.

The rule that holds here: a call costs no task, and of the ends of one call that are ready at once only the highest is
told; the others are looked at again in the next round. That is how the channel thread polls: of what is ready, the last
in its list wins.
"""

from __future__ import annotations

import heapq
import itertools
import math
import select
from typing import Protocol

import trio

__all__ = ["Polled", "Poller"]


class Polled(Protocol):
    """What the poller tells: a call."""

    def ready(self, end: int) -> None:
        """That end can be read, or written."""
        ...

    def due(self, when: float) -> None:
        """That time has come. It may have been replaced since."""
        ...


class Poller:
    """Waits for descriptors and for times on trio's clock, in one task: `run`."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, tuple[Polled, int]] = {}
        self._deadlines: list[tuple[float, int, Polled]] = []
        self._count = itertools.count()  # deadlines of the same moment come in the order they were set
        self._sleep = trio.CancelScope()

    def watch(self, fd: int, polled: Polled, end: int, *, for_writing: bool = False) -> None:
        """Tell `polled` when the descriptor is ready, again and again, until `unwatch`.

        Args:
            fd: the descriptor.
            polled: whom to tell.
            end: what to call it; the higher goes first.
            for_writing: wait for room instead of bytes.
        """
        self._watched[fd] = (polled, end)
        self._epoll.register(fd, select.EPOLLOUT if for_writing else select.EPOLLIN)

    def unwatch(self, fd: int) -> None:
        """Stop telling. A mask of nothing would not do: epoll reports a hung-up pipe whatever it was asked."""
        del self._watched[fd]
        self._epoll.unregister(fd)

    def schedule(self, polled: Polled, when: float) -> None:
        """Tell `polled` when that time has come, besides the times it gave before."""
        heapq.heappush(self._deadlines, (when, next(self._count), polled))
        self._sleep.deadline = min(self._sleep.deadline, when)

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            with trio.CancelScope(deadline=self._deadlines[0][0] if self._deadlines else math.inf) as self._sleep:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
            self._tell_ready()
            now = trio.current_time()
            while self._deadlines and self._deadlines[0][0] <= now:
                when, _, polled = heapq.heappop(self._deadlines)
                polled.due(when)

    def close(self) -> None:
        """Give the epoll back; the last thing that happens."""
        self._epoll.close()

    def _tell_ready(self) -> None:
        highest: dict[Polled, int] = {}
        for fd, _ in self._epoll.poll(0):
            polled, end = self._watched[fd]
            if end > highest.get(polled, -1):
                highest[polled] = end
        for polled, end in highest.items():
            polled.ready(end)
