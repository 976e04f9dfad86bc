"""Where apps run for tests: an event loop on a thread of its own, under virtual time, that moves only when it is asked.

The rule that holds here: between two requests the loop's thread is blocked, so that time stands still while a test
thinks. The test may run under any event loop or none: to it a request is a plain function that returns when it is done.
"""

from __future__ import annotations

import asyncio
import queue
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Literal, TypeVar

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from ivrd.errors import IvrdError
from ivrd.phone.local import LocalCall, LooseEnds
from ivrd.phone.virtual import VirtualClock, VirtualLoop, VirtualTime
from ivrd.simulator.caller import NotSeen
from ivrd.simulator.follower import Follower
from ivrd.simulator.script import Step

__all__ = ["Stuck", "World"]

T = TypeVar("T")

REAL_PATIENCE_S = 30.0
"""Real seconds for one request, in which hours of virtual time pass."""

_CLEAN_UP_S = 60.0
"""Virtual seconds that the handlers of calls have which are up when the world is closed."""


class Stuck(IvrdError, AssertionError):
    """The app takes real time and no virtual time: it blocks its event loop, or never waits."""


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
        self._time = VirtualTime(self._working)
        self._limiter: anyio.CapacityLimiter | None = None
        self._loop: VirtualLoop | None = None
        self._tasks: TaskGroup | None = None
        self._requests: queue.SimpleQueue[Callable[[], Awaitable[None]] | None] = queue.SimpleQueue()
        self._broken: BaseException | None = None
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
            Exception: what it raises.
        """
        answer: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

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
            raise self._stuck() from self._broken
        if error is not None:
            raise error
        return result  # type: ignore[return-value]  # None only where T is

    def start(self, call: LocalCall, steps: Sequence[Step] = ()) -> None:
        """Begin a call; on the world's own thread.

        Args:
            call: the call.
            steps: what somebody does on it without being told, beside whoever else has the call.
        """
        assert self._tasks is not None
        self.calls.append(call)
        self._tasks.start_soon(self._play, call)
        if steps:
            self._tasks.start_soon(self._follow, call, steps)

    def close(self) -> None:
        """End what still runs, and the loop."""
        self._requests.put(None)
        self._thread.join(REAL_PATIENCE_S)
        if self._thread.is_alive():
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
        others = self._limiter.borrowed_tokens if self._limiter else 0
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

    def _make_loop(self) -> asyncio.AbstractEventLoop:
        self._loop = VirtualLoop(self.loose, self._time)
        return self._loop

    async def _serve(self) -> None:
        self._limiter = anyio.to_thread.current_default_thread_limiter()
        async with anyio.create_task_group() as self._tasks:
            async with self.stack:
                # Blocks the whole loop: that is what makes time stand still.
                while (request := self._requests.get()) is not None:
                    await request()
                with anyio.move_on_after(_CLEAN_UP_S):
                    for call in list(self.calls):
                        call.hangup()
                        call.crash()  # under options i and d it goes on after a hangup
                        await call.until_handled()
            self._tasks.cancel_scope.cancel()

    def _stuck(self) -> Stuck:
        frame = sys._current_frames().get(self._thread.ident or 0)
        where = "".join(traceback.format_stack(frame)[-3:]) if frame else "its thread has ended\n"
        return Stuck(
            f"nothing came of it in {REAL_PATIENCE_S:g} s of real time: the app's event loop is busy or blocked. "
            f"What blocks belongs on a thread (a plain `def` handler, anyio.to_thread), and a loop must wait for "
            f"something. It is here:\n{where}"
        )
