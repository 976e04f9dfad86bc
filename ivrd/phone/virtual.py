"""Time that passes only while everybody waits, for asyncio and for trio: an hour of an IVR in milliseconds.

The rule that holds here: time stands still while anything runs, and jumps to the next deadline when nothing can. A
thread that is at work counts as something that runs. One that takes long is waited for in step with real time, so that
a handler that sleeps for two seconds is two seconds late here as it is elsewhere.
"""

from __future__ import annotations

import asyncio
import math
import selectors
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, Unpack

import trio.abc

from ivrd.worker.isolation import IsolatingLoop

if TYPE_CHECKING:
    from ivrd.worker.session import ErrorLog

__all__ = ["VirtualClock", "VirtualLoop", "VirtualTime"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_FREE_S = 0.25
"""Seconds of work of a thread that take no virtual time, so that what is tested does not depend on the machine."""


class VirtualTime:
    """The time of one event loop.

    Args:
        working: which threads are at work that the loop will hear of, empty when none is; asked when nothing else runs.

    Attributes:
        now: seconds since the loop began.
    """

    def __init__(self, working: Callable[[], tuple[object, ...]]) -> None:
        self.now = 0.0
        self._working = working
        self._waits_for: tuple[object, ...] = ()
        self._since = self._from = 0.0  # real and virtual time at which it began to wait for these
        self._until = 0.0

    def pass_to(self, deadline: float) -> float:
        """Nothing can run before `deadline` unless a thread does something: let time pass.

        Returns:
            How many real seconds to wait for threads before this is asked again; 0 when the deadline is there.
        """
        working = self._working()
        if not working:
            self._waits_for = ()
            if deadline == math.inf:
                return math.inf
            self.now = max(self.now, deadline)
            return 0.0
        real = time.monotonic()
        if working != self._waits_for:
            self._waits_for, self._since, self._from = working, real, self.now
            self._until = self.now
        if real - self._since < _FREE_S:
            return _FREE_S - (real - self._since)
        self._until = deadline
        self.go_along()
        return deadline - self.now

    def go_along(self) -> None:
        """A real wait is over: where a thread was waited for that took long, as much time has passed."""
        waited = time.monotonic() - self._since
        if self._waits_for and waited >= _FREE_S:
            self.now = max(self.now, min(self._until, self._from + waited))


class VirtualLoop(IsolatingLoop):
    """A worker's asyncio loop on virtual time.

    Args:
        log: where loose ends are told.
        virtual: its time.
    """

    def __init__(self, log: ErrorLog, virtual: VirtualTime) -> None:
        super().__init__(log, _JumpingSelector(virtual))
        self._virtual = virtual
        self.executing = 0
        """Functions that run in executors, those of `asyncio.to_thread` among them."""

    def time(self) -> float:
        """Give the virtual time."""
        return self._virtual.now

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Run a function on a thread, for which time waits."""
        future = super().run_in_executor(executor, func, *args)
        self.executing += 1
        future.add_done_callback(self._executed)
        return future

    def _executed(self, _future: asyncio.Future[Any]) -> None:
        self.executing -= 1


class _JumpingSelector(selectors.DefaultSelector):
    """A selector that lets virtual time pass where another one would sleep."""

    def __init__(self, virtual: VirtualTime) -> None:
        super().__init__()
        self._virtual = virtual

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        seconds = self._virtual.pass_to(math.inf if timeout is None else self._virtual.now + timeout)
        if seconds > 0:
            ready = super().select(None if seconds == math.inf else seconds)
            self._virtual.go_along()
        return ready


class VirtualClock(trio.abc.Clock, trio.abc.Instrument):
    """A trio clock on virtual time; it has to be among the run's instruments too, to see whether tasks run."""

    def __init__(self, virtual: VirtualTime) -> None:
        self._virtual = virtual
        self._ran = True

    def start_clock(self) -> None:
        """See `trio.abc.Clock`."""

    def current_time(self) -> float:
        """Give the virtual time."""
        return self._virtual.now

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """See `trio.abc.Instrument`."""
        self._ran = True

    def after_io_wait(self, timeout: float) -> None:
        """See `trio.abc.Instrument`."""
        if timeout:
            self._virtual.go_along()

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Say how long to wait for I/O; asked when no task can run."""
        if self._ran or deadline <= self._virtual.now:
            # Something may have come in from a thread meanwhile: trio looks now, and asks again if nothing has.
            self._ran = False
            return 0.0
        return max(0.0, self._virtual.pass_to(deadline))
