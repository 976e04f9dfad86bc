"""A session in this process with the model of Asterisk at the other end of its transport, for a clock that jumps."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import trio

from ivrd.config import App
from ivrd.simulator.caller import SimulatedCall
from ivrd.simulator.channel import Channel
from ivrd.simulator.sounds import SoundTable
from ivrd.wire.messages import Ended, Start
from ivrd.worker.handler import Handler
from ivrd.worker.secrets import Secrets
from ivrd.worker.session import Session

SOUNDS = SoundTable({"short": 0.2, "welcome": 1.0, "long": 60.0}, missing={"nope"}, unopenable={"locked"})


def stopwatch() -> Callable[[], float]:
    """Give what tells the seconds from now on."""
    began = trio.current_time()
    return lambda: trio.current_time() - began


class MemoryCall(SimulatedCall):
    """A simulated call that is its own transport; `room` lines fit on their way to Asterisk."""

    def __init__(self, channel: Channel, room: int = 2) -> None:
        super().__init__(channel)
        self._dialled = trio.current_time()
        self._room = room
        self._inbox = b""
        self._lines: deque[bytes] = deque()
        self._eof = False
        self._deadline = math.inf
        self._poke = trio.Event()
        self.commands: list[str] = []
        self.reading = True
        self.closed = False

    async def run(self) -> None:
        """Let the model's time pass."""
        self._settle(self.now())
        while True:
            with trio.move_on_at(self._deadline):
                await self._poke.wait()
            self.channel.advance(self.now())
            self._settle(self.now())
            self._pump()

    def now(self) -> float:
        return trio.current_time() - self._dialled

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
        self._poke = trio.Event()

    def _pump(self) -> None:
        while self._lines and self.channel.wants[0]:
            self.channel.stdout(self._lines.popleft(), self.now())
            self._settle(self.now())

    # The transport

    def read(self) -> bytes:
        if not self._inbox and not self._eof:
            raise BlockingIOError
        data, self._inbox = self._inbox, b""
        return data

    def write(self, line: bytes) -> None:
        if self._eof:
            raise BrokenPipeError
        if len(self._lines) >= self._room:
            raise BlockingIOError
        self.commands.append(line.decode().rstrip("\n"))
        self._lines.append(line)
        self._pump()

    def complain(self, text: str) -> None:
        if not self._eof:
            self.channel.stderr(text.encode() + b"\n", self.now())

    def close(self) -> None:
        self.closed = True

    async def wait_readable(self) -> None:
        while not self._inbox and not self._eof:
            await self._poke.wait()
        await trio.lowlevel.checkpoint()

    async def wait_writable(self) -> None:
        while len(self._lines) >= self._room and not self._eof:
            await self._poke.wait()
        await trio.lowlevel.checkpoint()


class Errors:
    """Keeps what a session logs."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, object]]] = []

    def error(self, event: str, **fields: object) -> None:
        self.lines.append((event, fields))

    def cover(self, secrets: Secrets) -> None:
        pass

    @property
    def events(self) -> list[str]:
        return [event for event, _ in self.lines]


class Running:
    """A session under way: the caller's end in `caller`, the result in `ended` when it has one."""

    def __init__(self, caller: MemoryCall, session: Session, errors: Errors) -> None:
        self.caller = caller
        self.session = session
        self.errors = errors
        self.ended: Ended | None = None
        self.at = math.nan
        self._done = trio.Event()

    async def run(self, handlers: trio.Nursery) -> None:
        self.ended = await self.session.run(handlers)  # type: ignore[arg-type]  # a nursery has the one method it needs
        self.at = self.caller.now()
        self._done.set()

    async def end(self) -> Ended:
        await self._done.wait()
        assert self.ended is not None
        return self.ended

    def sent(self, letter: str) -> list[str]:
        """What was sent by commands of one letter."""
        return [line[2:] for line in self.caller.commands if line[0] == letter]


@asynccontextmanager
async def running(
    handler: Handler,
    *args: bytes,
    options: str = "",
    answered: bool = False,
    hung_up: bool = False,
    variables: Mapping[str, str] | None = None,
    early: bytes = b"",
    age: float = 0.0,
    room: int = 2,
    **settings: Any,
) -> AsyncIterator[Running]:
    """A session that runs `handler`; what is left of it at the end of the block is cancelled."""
    channel = Channel(
        ("/bin/app", "one"), options, answered=answered, hung_up=hung_up, variables=variables, sounds=SOUNDS
    )
    caller = MemoryCall(channel, room)
    errors = Errors()
    app = App(handler="m:f", **settings)
    start = Start(id="call1", args=args, started=1.8e9, early=early, age=age)
    session = Session(start, app, "menu", handler, caller, close_timeout=5.0, log=errors)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(caller.run)
        one = Running(caller, session, errors)
        nursery.start_soon(one.run, nursery)
        yield one
        nursery.cancel_scope.cancel()
