"""asyncio made safe for many apps' calls on one loop: what one handler's tasks do is that call's affair.

The rule that holds here: nothing that an app raises in a task or a callback stops the loop, and it is told without the
secrets of its call. asyncio itself lets `SystemExit` and `KeyboardInterrupt` through to whoever runs the loop, which
would end all calls of the worker. (In trio every task has a nursery, so that such errors come out in the handler.)
"""

from __future__ import annotations

import asyncio
import selectors
import traceback
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

from ivrd.errors import CallEnded
from ivrd.worker.handler import Runner, current_runner, runner_in
from ivrd.worker.session import ErrorLog

__all__ = ["IsolatingLoop"]

T = TypeVar("T")


class IsolatingLoop(asyncio.SelectorEventLoop):
    """An event loop that outlives what its tasks raise, and knows which call a task belongs to.

    Args:
        log: where loose ends are told.
        selector: waits for I/O; the system's best when not given.
    """

    def __init__(self, log: ErrorLog, selector: selectors.BaseSelector | None = None) -> None:
        super().__init__(selector)
        self._log = log
        self.set_task_factory(_create_task)
        self.set_exception_handler(self._tell)

    def run_forever(self) -> None:
        """Run until `stop()` is called, whatever tasks raise."""
        while True:
            try:
                return super().run_forever()
            except (SystemExit, KeyboardInterrupt) as error:
                # The rest of the loop's round is still queued, so that running on loses nothing. Who awaits the task
                # gets the error as well; the log is told in case that nobody does.
                self._log.error("task.exited", error=repr(error))

    def _tell(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, CallEnded):
            return
        fields = {"message": context.get("message")}
        if isinstance(error, BaseException):
            fields["error"] = traceback.format_exception_only(error)[-1].strip()
            fields["exception"] = "".join(traceback.format_exception(error))
        runner = _runner_of(context)
        if runner is not None:
            fields = {name: runner.secrets.masked(str(text)) for name, text in fields.items()}
            fields["call"] = runner.call_id
        self._log.error("task.failed", **fields)


class Task(asyncio.Task[T]):
    """A task that knows its handler, which the interpreter forgets before it tells of an error nobody asked for."""

    runner: Runner | None = None


def _create_task(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T] | Generator[Any, None, T], **kwargs: Any
) -> asyncio.Task[T]:
    task = Task(coroutine, loop=loop, **kwargs)
    runner = current_runner()
    if runner is not None:
        task.runner = runner
        runner.adopt(task)
    return task


def _runner_of(context: dict[str, Any]) -> Runner | None:
    """Give the handler whose task or callback it was, where that is known."""
    task = context.get("task") or context.get("future")
    if isinstance(task, Task):
        return task.runner
    handle = context.get("handle")
    if isinstance(handle, asyncio.Handle):
        return runner_in(handle._context)  # type: ignore[attr-defined]  # Python 3.11 has no public way to it
    return None
