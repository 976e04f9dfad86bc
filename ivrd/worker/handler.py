"""A handler and how it is run: on the loop, or on a thread of its own; and whose task is whose.

The rule that holds here: whatever a handler does, `SystemExit` and all, comes back as a value, and what it leaves
running can be found by its call.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextvars import Context, ContextVar
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakSet

import anyio

from ivrd.worker.kinds import begin, is_async, require_run

if TYPE_CHECKING:
    import asyncio

    from ivrd.worker.call import Call
    from ivrd.worker.secrets import Secrets
    from ivrd.worker.sync import SyncCall

__all__ = ["Handler", "Runner", "current_runner", "runner_in"]

Handler: TypeAlias = "Callable[[Call], Awaitable[object]] | Callable[[SyncCall], object]"

_runner: ContextVar[Runner | None] = ContextVar("ivrd_call", default=None)


class Runner:
    """One call's handler, from its start to its end or to when nobody waits for it any more.

    Args:
        handler: the app's function.
        call: what it gets, matching its kind.
        secrets: the call's.

    Attributes:
        call_id: the call's id.
        secrets: the call's, to be covered in what is told of its tasks.
        scope: cancelling it cancels an `async def` handler, and no longer waits for the thread of a plain one.
        finished: it does not run: not yet, or it has returned or raised, even if nobody waited for that.
        on_thread: it runs on a thread.
    """

    def __init__(self, handler: Handler, call: Call | SyncCall, secrets: Secrets) -> None:
        self.call_id = call.id
        self.secrets = secrets
        self.scope = anyio.CancelScope()
        self.finished = True
        self.on_thread = not is_async(handler)
        self._handler: Callable[[Any], Any] = handler
        self._call = call
        self._tasks: WeakSet[asyncio.Task[Any]] = WeakSet()

    async def run(self) -> BaseException | None:
        """Run the handler.

        Returns:
            What it raised; None when it returned, or when it was cancelled by way of `scope`.
        """
        try:
            with self.scope:
                _runner.set(self)
                if self.on_thread:
                    # A limit of our own on threads would let those that are stuck keep new callers waiting; how many
                    # calls there are at once is the daemon's to say.
                    limiter = anyio.CapacityLimiter(1)
                    return await anyio.to_thread.run_sync(self._run_on_thread, abandon_on_cancel=True, limiter=limiter)
                self.finished = False
                try:
                    await begin(self._handler, self._call)
                finally:
                    self.finished = True
        except BaseException as error:
            # Cancelled from further out is not the handler's doing, and must go on to where it came from.
            if anyio.current_effective_deadline() == -math.inf and (cancellation := _cancellation(error)):
                raise cancellation from None
            return error
        return None

    def _run_on_thread(self) -> BaseException | None:
        self.finished = False
        try:
            require_run(self._handler, self._handler(self._call))
        except BaseException as error:
            return error
        finally:
            self.finished = True
        return None

    def adopt(self, task: asyncio.Task[Any]) -> None:
        """Take note of an asyncio task that was created by the handler or by a task of its."""
        self._tasks.add(task)

    def cancel_leftovers(self) -> None:
        """Cancel what the handler started with `asyncio.create_task` and left running."""
        for task in list(self._tasks):
            if not task.done():
                task.cancel()


def _cancellation(error: BaseException) -> BaseException | None:
    """Give what is cancellation in an error or in a group of errors."""
    cancelled = anyio.get_cancelled_exc_class()
    if isinstance(error, BaseExceptionGroup):
        return error.split(cancelled)[0]
    return error if isinstance(error, cancelled) else None


def current_runner() -> Runner | None:
    """Give the runner of the handler in whose context this is called."""
    return _runner.get()


def runner_in(context: Context) -> Runner | None:
    """Give the runner of the handler that a context comes from."""
    return context.get(_runner)
