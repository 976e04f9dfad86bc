"""Time that passes only while everybody waits, for asyncio and for trio: an hour of an IVR in milliseconds.

The rule that holds here: time stands still while anything runs, and jumps to the next deadline when nothing can. A
thread that is at work counts as something that runs. One that takes long is waited for in step with real time, so that
a handler that sleeps for two seconds is two seconds late here as it is elsewhere.
"""

from __future__ import annotations

import asyncio
import math
import selectors
import threading
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

_HOPE_S = 1.0
"""Real seconds for something to come from outside, where nothing is due and nothing works."""


class VirtualTime:
    """The time of one event loop.

    Args:
        working: which threads are at work that the loop will hear of, empty when none is; asked when nothing else runs.
        hopeless: called when nothing will ever happen any more, once for each time that it comes to that.

    Attributes:
        now: seconds since the loop began.
        end: where time stops for good.
        stopped: it has.
    """

    def __init__(self, working: Callable[[], tuple[object, ...]], hopeless: Callable[[], None]) -> None:
        self.now = 0.0
        self.end = math.inf
        self.stopped = threading.Event()
        self._working = working
        self._hopeless = hopeless
        self._despair_at = math.inf  # real time
        self._waits_for: tuple[object, ...] = ()
        self._since = self._from = 0.0  # real and virtual time at which it began to wait for these
        self._until = 0.0

    def pass_to(self, deadline: float, *, open_ended: bool) -> float:
        """Nothing can run before `deadline` unless a thread does something: let time pass.

        Args:
            deadline: the next one, `inf` where there is none.
            open_ended: something may come from outside, over a socket for one.

        Returns:
            How many real seconds to wait for threads before this is asked again; 0 when the deadline is there.
        """
        working = self._working()
        if not working:
            self._waits_for = ()
            if deadline == math.inf:
                return math.inf if open_ended else self._hope()
            if deadline > self.end:
                self.stopped.set()
                return math.inf
            self._despair_at = math.inf
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

    def take_heart(self) -> None:
        """Something new is about to happen."""
        self._despair_at = math.inf

    def _hope(self) -> float:
        real = time.monotonic()
        if self._despair_at == math.inf:
            # An app's thread of its own may still have something for the loop.
            self._despair_at = real + _HOPE_S
        elif 0 <= self._despair_at <= real:
            self._despair_at = -1.0
            self._hopeless()
        return math.inf if self._despair_at < 0 else max(0.001, self._despair_at - real)

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
        deadline = math.inf if timeout is None else self._virtual.now + timeout
        # One descriptor is the loop's own, by which threads wake it.
        seconds = self._virtual.pass_to(deadline, open_ended=len(self.get_map()) > 1)
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
        return max(0.0, self._virtual.pass_to(deadline, open_ended=deadline == math.inf and _waits_for_others()))


def _waits_for_others() -> bool:
    """Whether any of trio's tasks waits for a descriptor; one always does, for threads that wake the loop."""
    waiting = trio.lowlevel.current_statistics().io_statistics
    return getattr(waiting, "tasks_waiting_read", 2) + getattr(waiting, "tasks_waiting_write", 0) > 1
