"""A call to a handler in this process: the worker's session at one end, the model of Asterisk at the other.

The rule that holds here: nothing lies between the two but bytes in memory, each command a packet as on the pipes of a
real call. The session and the handler's thread are the worker's own, so an app behaves here as it does in service.
"""

from __future__ import annotations

import functools
import math
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Literal, TypeVar

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from ivrd.config import App
from ivrd.simulator.caller import SimulatedCall
from ivrd.simulator.channel import KEY_LOST, Channel
from ivrd.wire.messages import Ended, Start
from ivrd.worker.call import Call
from ivrd.worker.handler import Handler
from ivrd.worker.kinds import begin, is_async, require_run
from ivrd.worker.secrets import Secrets
from ivrd.worker.session import Session
from ivrd.worker.sync import SyncCall

__all__ = ["LocalCall", "LooseEnds"]

T = TypeVar("T")

_ROOM = 16
"""Commands on their way to Asterisk: what a pipe of the usual 64 KiB holds in packet mode."""


class LocalCall(SimulatedCall):
    """A call to a handler; `run` plays it.

    Args:
        channel: the model.
        app: the app's configuration.
        name: the app's name.
        handler: the app's function.
        args: what the dialplan passes.
        number: for the call's id.
        close_timeout: seconds that Asterisk is given to close its side.
    """

    __slots__ = (
        "_deadline",
        "_dialled",
        "_eof",
        "_inbox",
        "_lines",
        "_on_thread",
        "_poke",
        "_raised",
        "_session",
        "error",
        "problems",
        "result",
        "stints",
        "thread_runs",
        "thread_waits",
    )

    def __init__(
        self,
        channel: Channel,
        app: App,
        name: str,
        handler: Handler,
        args: Sequence[str] = (),
        *,
        number: int = 1,
        close_timeout: float = 5.0,
    ) -> None:
        super().__init__(channel)
        self._dialled = anyio.current_time()
        self._inbox = b""
        self._lines: deque[bytes] = deque()
        self._eof = False
        self._deadline = math.inf
        self._poke = anyio.Event()
        self._on_thread = not is_async(handler)
        self.thread_runs = False
        """The handler is on its thread, whether or not anybody waits for it."""
        self.thread_waits = False
        """That thread waits for something about the call."""
        self.stints = 0
        """How often that thread came back from such a wait."""
        self.result: Ended | None = None
        """How the call ended in the worker; None while it runs there, which may be longer than in Asterisk."""
        self._raised: BaseException | None = None
        self.error: BaseException | None = None
        """What the handler raised, if it did while the call went on."""
        self.problems: list[str] = []
        """What a worker would have logged: tracebacks, and handlers that do not end."""
        start = Start(
            id=f"local-{number}",
            args=tuple(arg.encode("utf-8", "surrogateescape") for arg in args),
            started=time.time(),
        )
        self._session = Session(
            start, app, name, self._watched(handler), self, close_timeout=close_timeout, log=_Problems(self)
        )

    async def run(self, handlers: TaskGroup) -> None:
        """Play the call to its end.

        Args:
            handlers: where the handler's task is started; one that does not end outlives this there.
        """
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._pass_time)
            try:
                self.result = await self._session.run(handlers)
            except Exception as error:
                self.note_problem("call.broke", "".join(traceback.format_exception(error)))
                self.result = self._session.give_up(f"error in ivrd: {error!r}")
            self._tell()
            tasks.cancel_scope.cancel()

    async def until_handled(self) -> None:
        """Wait until the worker's half is over too, the handler's clean-up included."""
        while self.result is None:
            await self.changed()

    @property
    def stuck(self) -> bool:
        """Whether the handler runs; after `until_handled`, that it goes on though the time for its clean-up is over."""
        return self._session.stuck

    @property
    def handled(self) -> bool:
        """Whether nobody waits for the handler any more."""
        return self._session.handled

    @property
    def at_work(self) -> bool:
        """Whether the handler's thread runs, as opposed to waiting for something about the call, or having none."""
        return self._on_thread and not self.thread_waits and not self._session.handled

    # See `SimulatedCall`

    def now(self) -> float:
        """Seconds since the call was dialled."""
        return anyio.current_time() - self._dialled

    def key_fate(self, number: int) -> Literal["secret", "public", "untaken"]:
        """Say whether a key may be shown; see `worker.keys.Keys.fate`."""
        if any(line.text == KEY_LOST for line in self.channel.log):
            return "secret"  # some were lost on their way, so that which is which is not known
        return self._session.key_fate(number)

    def masked(self, text: str) -> str:
        """Give the text with all secret digits replaced by asterisks."""
        return self._session.masked(text)

    def _write(self, data: bytes) -> int:
        self._inbox += data
        self._stir()
        return len(data)

    def _watch(self, stdout: bool, stderr: bool, stdin: bool, deadline: float | None) -> None:
        self._deadline = math.inf if deadline is None else self._dialled + deadline
        self._stir()

    def _close(self) -> None:
        self._eof = True
        self._lines.clear()
        self._deadline = math.inf
        self._stir()

    def _stir(self) -> None:
        self._poke.set()
        self._poke = anyio.Event()

    async def _pass_time(self) -> None:
        self._settle(self.now())
        while self.channel.ended is None:
            with anyio.CancelScope(deadline=self._deadline):
                await self._poke.wait()
            if self._deadline <= anyio.current_time():
                self.channel.advance(self.now())
                self._settle(self.now())
            self._pump()

    def _pump(self) -> None:
        while self._lines and self.channel.wants[0]:
            self.channel.stdout(self._lines.popleft(), self.now())
            self._settle(self.now())

    # The way to Asterisk; see `worker.transport.Transport`

    def read(self) -> bytes:
        """Return what Asterisk sent, empty at EOF."""
        if not self._inbox and not self._eof:
            raise BlockingIOError
        data, self._inbox = self._inbox, b""
        return data

    def write(self, line: bytes) -> None:
        """Write one command."""
        if self._eof:
            raise BrokenPipeError
        if len(self._lines) >= _ROOM:
            raise BlockingIOError
        self._lines.append(line)
        self._pump()

    def complain(self, text: str) -> None:
        """Put a line into Asterisk's log."""
        if not self._eof:
            self.channel.stderr(text.encode("utf-8", "surrogateescape").replace(b"\n", b" ") + b"\n", self.now())
            self._settle(self.now())

    def close(self) -> None:
        """See `Transport`: what is closed here is Asterisk's to notice."""
        if self.channel.ended is None:
            self.channel.stderr(b"", self.now())
            self._settle(self.now())

    async def wait_readable(self) -> None:
        """Wait until `read` gives something."""
        while not self._inbox and not self._eof:
            await self._poke.wait()
        await anyio.lowlevel.checkpoint()

    async def wait_writable(self) -> None:
        """Wait until `write` finds room."""
        while len(self._lines) >= _ROOM and not self._eof:
            await self._poke.wait()
        await anyio.lowlevel.checkpoint()

    # The handler

    def _watched(self, handler: Handler) -> Handler:
        """Give the same handler, of which one knows what it raised and, if it is on a thread, when it waits."""
        function: Callable[[Any], Any] = handler

        if self._on_thread:

            @functools.wraps(function)
            def on_thread(call: SyncCall) -> None:
                self.thread_runs = True
                try:
                    require_run(function, function(_WatchedCall(call, self)))
                except BaseException as error:
                    self._raised = error
                    raise
                finally:
                    self.thread_runs = False

            return on_thread

        @functools.wraps(function)
        async def on_loop(call: Call) -> None:
            try:
                await begin(function, call)
            except anyio.get_cancelled_exc_class():
                raise
            except BaseException as error:
                self._raised = error
                raise

        return on_loop

    def note_problem(self, event: str, text: str) -> None:
        """Take note of what the session would log."""
        if event == "call.app_error":
            self.error = self._raised
        self.problems.append(f"{event}: {text}")


class _WatchedCall(SyncCall):
    """The call of a handler on a thread; tells when that thread waits for the event loop."""

    def __init__(self, call: SyncCall, watcher: LocalCall) -> None:
        vars(self).update(vars(call))  # this is the handler's thread, on which none could be made anew
        self._watcher = watcher
        self._thread = threading.get_ident()

    def _run(self, method: Callable[..., Coroutine[Any, Any, T]], *args: Any, **kwargs: Any) -> T:
        if threading.get_ident() != self._thread:
            return super()._run(method, *args, **kwargs)

        async def waiting() -> T:
            # Set and cleared on the loop, so that it never takes a thread for waiting that has its answer.
            self._watcher.thread_waits = True
            try:
                return await method(*args, **kwargs)
            finally:
                self._watcher.thread_waits = False
                self._watcher.stints += 1

        return super()._run(waiting)


class _Problems:
    """A session's log."""

    def __init__(self, call: LocalCall) -> None:
        self._call = call

    def error(self, event: str, **fields: object) -> None:
        """Keep what a person needs of it."""
        told = fields.get("exception") or fields.get("error")
        rest = ", ".join(f"{name} {value}" for name, value in fields.items() if name != "call")
        self._call.note_problem(event, str(told or rest))

    def cover(self, secrets: Secrets) -> None:
        """What a session logs is covered already."""


class LooseEnds:
    """What tasks raise that no call answers for; see `worker.session.ErrorLog`."""

    def __init__(self) -> None:
        self._told: list[str] = []

    def error(self, event: str, **fields: object) -> None:
        """Keep it."""
        self._told.append(f"{event}: {fields.get('exception') or fields}")

    def told(self, maskers: Iterable[Callable[[str], str]]) -> list[str]:
        """Give it without what is secret in any of the calls whose `masked` these are: it may come from one of them."""
        told = self._told
        for masked in maskers:
            told = [masked(text) for text in told]
        return told
