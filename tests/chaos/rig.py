"""A real daemon under load: `Service` with the simulator's exchange beside it, on trio.

The rule here: what the scenarios see is what Asterisk and the operator see, pipes and the control socket; nothing looks
into the daemon.
"""

from __future__ import annotations

import os
import random
import resource
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from ivrd.simulator.process import Exchange, ProcessCall, open_exchange
from ivrd.simulator.sounds import SoundTable
from ivrd.wire import control
from tests.service import Service

__all__ = ["PATIENCE_S", "Pace", "Rig", "in_thread", "open_rig"]

APPS = (Path(__file__).parent / "apps.py").read_text()
SOUNDS = SoundTable({"beep": 0.2}, default=60.0)
PATIENCE_S = 30.0  # for what takes a moment on a machine that is not busy
_AT_ONCE = 50  # calls that are being set up; more would measure the machine's start of processes

in_thread = trio.to_thread.run_sync


class Rig:
    """A service and the calls to it.

    Attributes:
        service: the daemon.
        exchange: where calls come from.
    """

    def __init__(self, service: Service, exchange: Exchange) -> None:
        self.service = service
        self.exchange = exchange

    def dial(self, app: str, *args: str, timeout: float = 20.0, fallback: str = "hangup") -> ProcessCall:
        """Call an app through the shim."""
        shim = [str(self.service.shim), f"--socket={self.service.socket}", f"--timeout={timeout}"]
        return self.exchange.dial([*shim, f"--fallback={fallback}", app, *args])

    async def live(self, count: int, app: str = "hold") -> list[ProcessCall]:
        """Calls that have said `PID`: they run in a worker and their shims are gone."""
        calls: list[ProcessCall] = []
        room = trio.CapacityLimiter(_AT_ONCE)

        async def one() -> None:
            async with room:
                call = self.dial(app)
                await call.until(lambda: "PID" in call.variables, "the app's start", PATIENCE_S)
                await call.exited(PATIENCE_S)
                calls.append(call)

        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(one)
        return calls

    async def ask(self, request: control.Request) -> list[control.Answer]:
        """Ask the daemon; all its answers. `Refused` is an answer here."""
        answers = []
        with trio.socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            await sock.connect(str(self.service.directory / "control.sock"))
            await sock.send(control.encode(request))
            while data := await sock.recv(control.MAX_MESSAGE):
                answers.append(control.decode_answer(data))
        return answers

    async def status(self) -> control.StatusAnswer:
        """What `ivrd status` shows."""
        (answer,) = await self.ask(control.Status())
        assert isinstance(answer, control.StatusAnswer)
        return answer

    async def app(self, name: str) -> control.AppStatus:
        """The same of one app."""
        return next(app for app in (await self.status()).apps if app.name == name)

    async def holds(self, app: str, count: int) -> bool:
        """Whether the workers of an app hold so many calls."""
        return sum(worker.calls for worker in (await self.app(app)).workers) == count

    async def books_are(self, count: int) -> bool:
        """Whether so many calls run, in the daemon's books and in the workers', and nothing else is there."""
        status = await self.status()
        held = sum(worker.calls for app in status.apps for worker in app.workers)
        return held == count and status.calls == ({"running": count} if count else {})

    async def calls(self) -> list[control.CallRow]:
        """What `ivrd calls` shows."""
        return [
            row
            for answer in await self.ask(control.Calls())
            if isinstance(answer, control.CallsAnswer)
            for row in answer.rows
        ]

    async def reload(self) -> str:
        """`ivrd reload`: "" when it is done, else why it was refused."""
        (answer,) = await self.ask(control.Reload())
        return answer.text if isinstance(answer, control.Refused) else ""

    async def until(self, ask: Callable[[], object], what: str, timeout: float = PATIENCE_S) -> float:
        """Look every few milliseconds until it is so; returns how many seconds that took."""
        begun = trio.current_time()
        while True:
            found = ask()
            if await found if hasattr(found, "__await__") else found:
                return trio.current_time() - begun
            if trio.current_time() - begun > timeout:
                raise AssertionError(f"{what} did not happen within {timeout:g} s")
            await trio.sleep(0.005)

    async def start(self) -> None:
        """Start the daemon again; returns when it is ready."""
        await in_thread(self.service.start)


class Pace:
    """Moments at random, so many a second on average, however long it took to do what is done at each."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._due = trio.current_time()

    async def next(self) -> None:
        """Wait for the next one; at least for the others to have their turn."""
        self._due += random.expovariate(self._rate)
        await trio.sleep_until(self._due)


async def all_ended(calls: Iterable[ProcessCall], timeout: float = PATIENCE_S) -> None:
    """Wait until all these calls are over, or the time is."""
    with trio.move_on_after(timeout):
        for call in calls:
            await call.ended(timeout)


async def hears_echo(call: ProcessCall, key: str, timeout: float = PATIENCE_S) -> bool:
    """Press a key; whether the app answers it."""
    before = call.variables.get("ECHO")
    call.press(key)
    with trio.move_on_after(timeout):
        await call.until(lambda: call.variables.get("ECHO") != before, f"the answer to {key}", timeout + 1)
        return call.variables["ECHO"].startswith(key)
    return False


@asynccontextmanager
async def open_rig(
    config: str, *, files: Mapping[str, str] | None = None, env: Mapping[str, str] | None = None, **server: object
) -> AsyncIterator[Rig]:
    """A rig for as long as the block lasts; arguments as for `Service`, and `apps.py` is among its files."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # SIGSEGV is part of the play.
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    # Modules are written anew within a second, which the time stamps in compiled ones do not tell apart.
    environment = {"PYTHONDONTWRITEBYTECODE": "1", **(env or {})}
    server.setdefault("max_calls", 2000)  # the default wants more descriptors than some machines give
    service = Service(config, files={"apps.py": APPS, **(files or {})}, env=environment, **server)
    await in_thread(service.__enter__)
    try:
        async with open_exchange(sounds=SOUNDS, env={"PATH": os.defpath}) as exchange:
            yield Rig(service, exchange)
    except BaseException as error:
        with trio.CancelScope(shield=True):
            await in_thread(service.__exit__, type(error), error, None)
        raise
    await in_thread(service.__exit__, None, None, None)
