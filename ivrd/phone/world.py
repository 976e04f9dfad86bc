"""Where apps run for tests: an event loop on a thread of its own, under virtual time, that moves only when it is asked.

The rule that holds here: between two requests the loop's thread is blocked, so that time stands still while a test
thinks. The test may run under any event loop or none: to it a request is a plain function that returns when it is done.
"""

from __future__ import annotations

import asyncio
import math
import queue
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Literal, TypeVar

import anyio
import anyio.to_thread
import trio
from anyio.abc import TaskGroup

from ivrd.errors import IvrdError
from ivrd.phone.local import LocalCall, LooseEnds
from ivrd.phone.threads import threads_at_work
from ivrd.phone.virtual import VirtualClock, VirtualLoop, VirtualTime
from ivrd.simulator.caller import NotSeen
from ivrd.simulator.follower import Follower
from ivrd.simulator.script import Step

__all__ = ["Hopeless", "Stuck", "World"]

T = TypeVar("T")

REAL_PATIENCE_S = 30.0
"""Real seconds for one request, in which hours of virtual time pass."""

_ONCE_MORE_S = 1.0
"""Real seconds for a loop that has been waited for in vain."""

_CLEAN_UP_S = 60.0
"""Virtual seconds that the handlers of calls have which are up when the world is closed."""


class Stuck(IvrdError, AssertionError):
    """The app takes real time and no virtual time: it blocks its event loop, or never waits."""


class Hopeless(Stuck):
    """Nothing will ever happen any more: nothing is due and nothing works, and yet something is waited for."""


class World:
    """An event loop with calls in it.

    Args:
        backend: which loop.

    Attributes:
        calls: the calls that were dialled and are not over in the worker's half.
        stack: left, last in first out, when the world is closed; for lifespans.
        loose: what tasks raised that no call answers for.
        astray: where callers that followed a script on their own could not go on, with the call.
    """

    def __init__(self, backend: Literal["asyncio", "trio"]) -> None:
        self.backend = backend
        self.calls: list[LocalCall] = []
        self.loose = LooseEnds()
        self.astray: list[str] = []
        self.stack = AsyncExitStack()
        self._time = VirtualTime(self._working, self._despair)
        self._everyone: list[LocalCall] = []
        self._answer: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self._scope: anyio.CancelScope | None = None  # of the request that is under way
        self._soon: Callable[[Callable[[], None]], object] | None = None  # to be called from other threads
        self._limiter: anyio.CapacityLimiter | None = None
        self._loop: VirtualLoop | None = None
        self._tasks: TaskGroup | None = None
        self._requests: queue.SimpleQueue[Callable[[], Awaitable[None]] | None] = queue.SimpleQueue()
        self._broken: BaseException | None = None
        self._given_up = False
        self._thread = threading.Thread(target=self._run, name="ivrd-world", daemon=True)
        self._thread.start()

    @property
    def now(self) -> float:
        """The virtual time, in seconds since the world began."""
        return self._time.now

    def do(self, function: Callable[[], Awaitable[T]]) -> T:
        """Let the world move until an async function is done in it. To be called on another thread than the world's.

        Returns:
            What it returns.

        Raises:
            Stuck: it was not done within 30 real seconds.
            Hopeless: it never would be.
            Exception: what it raises.
        """
        answer = self._answer = queue.SimpleQueue()

        async def request() -> None:
            try:
                result = await function()
            except Exception as error:
                answer.put((None, error))
            else:
                answer.put((result, None))

        self._requests.put(request)
        try:
            result, error = answer.get(timeout=REAL_PATIENCE_S)
        except queue.Empty:
            self._given_up = True
            raise self._stuck() from self._broken
        if isinstance(error, Hopeless):
            assert self._soon is not None
            assert self._scope is not None
            self._soon(self._scope.cancel)
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]  # it comes through a queue

    def start(self, call: LocalCall, steps: Sequence[Step] = ()) -> None:
        """Begin a call; on the world's own thread.

        Args:
            call: the call.
            steps: what somebody does on it without being told, beside whoever else has the call.
        """
        assert self._tasks is not None
        self.calls.append(call)
        self._everyone.append(call)
        self._tasks.start_soon(self._play, call)
        if steps:
            self._tasks.start_soon(self._follow, call, steps)

    def close(self) -> None:
        """End what still runs, and the loop.

        A task that does not let itself be cancelled is left behind where it stands, its time stopped. So is a loop that
        somebody has waited for in vain.
        """
        self._requests.put(None)
        if not self._time.stopped.wait(_ONCE_MORE_S if self._given_up else REAL_PATIENCE_S) and not self._given_up:
            raise self._stuck()
        if self._broken is not None:
            raise self._broken

    async def _play(self, call: LocalCall) -> None:
        assert self._tasks is not None
        await call.run(self._tasks)
        self.calls.remove(call)

    async def _follow(self, call: LocalCall, steps: Sequence[Step]) -> None:
        try:
            await Follower(call).follow(steps)
        except NotSeen as error:
            self.astray.append(str(error))

    def _working(self) -> tuple[object, ...]:
        handlers = [(id(call), call.stints) for call in self.calls if call.at_work]
        others = 0
        if self._limiter:
            # Handlers' threads are among them, those too that wait for something about their call. Trio forgets one
            # that nobody waits for.
            counted = [call for call in self._everyone if call.thread_runs]
            if self.backend == "trio":
                counted = [call for call in counted if not call.handled]
            others = max(0, threads_at_work(self.backend, self._limiter) - len(counted))
        executing = self._loop.executing if self._loop else 0
        return (*handlers, others, executing) if handlers or others or executing else ()

    def _run(self) -> None:
        options: dict[str, Any] = {}
        if self.backend == "asyncio":
            options["loop_factory"] = self._make_loop
        else:
            clock = VirtualClock(self._time)
            options.update(clock=clock, instruments=[clock])
        try:
            anyio.run(self._serve, backend=self.backend, backend_options=options)
        except BaseException as error:
            self._broken = error
        finally:
            self._time.stopped.set()

    def _make_loop(self) -> asyncio.AbstractEventLoop:
        self._loop = VirtualLoop(self.loose, self._time)
        return self._loop

    async def _serve(self) -> None:
        self._limiter = anyio.to_thread.current_default_thread_limiter()
        if self.backend == "trio":
            self._soon = trio.lowlevel.current_trio_token().run_sync_soon
        else:
            self._soon = asyncio.get_running_loop().call_soon_threadsafe
        async with anyio.create_task_group() as self._tasks:
            async with self.stack:
                # Blocks the whole loop: that is what makes time stand still.
                while (request := self._requests.get()) is not None:
                    self._time.take_heart()
                    with anyio.CancelScope() as self._scope:
                        await request()
                with anyio.move_on_after(_CLEAN_UP_S):
                    for call in list(self.calls):
                        call.hangup()
                        call.crash()  # under options i and d it goes on after a hangup
                        await call.until_handled()
            self._tasks.cancel_scope.cancel()
            self._time.end = self._time.now + _CLEAN_UP_S

    def _despair(self) -> None:
        if self._time.end < math.inf:
            self._time.stopped.set()
        transcripts = "".join(f"\nin the call:{call.transcript()}" for call in self.calls)
        self._answer.put(
            (
                None,
                Hopeless(
                    "nothing will ever happen any more: nothing plays, no time limit runs (max_duration, idle_timeout) "
                    f"and no thread works, but the app waits for something{transcripts}"
                ),
            )
        )

    def _stuck(self) -> Stuck:
        frame = sys._current_frames().get(self._thread.ident or 0)
        where = "".join(traceback.format_stack(frame)[-3:]) if frame else "its thread has ended\n"
        return Stuck(
            f"nothing came of it in {REAL_PATIENCE_S:g} s of real time: the app's event loop is busy or blocked. "
            f"What blocks belongs on a thread (a plain `def` handler, anyio.to_thread), and a loop must wait for "
            f"something. It is here:\n{where}"
        )
