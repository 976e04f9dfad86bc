"""Where `ivrd dial` connects a call to: a handler in this process, a running daemon's shim, or any program.

The rule that holds here: an app in this process runs as in a worker, on the same loop and by the same session, so what
is seen at the desk is what happens in service.
"""

from __future__ import annotations

import functools
import math
import shutil
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import anyio
import trio
from anyio.abc import TaskGroup

from ivrd.cli.guard import Guard
from ivrd.cli.lifespan import enter, leave
from ivrd.cli.line import converse
from ivrd.cli.screen import Screen
from ivrd.cli.terminal import Terminal
from ivrd.config import App
from ivrd.errors import IvrdError
from ivrd.phone.local import LocalCall, LooseEnds
from ivrd.phone.recording import Wire
from ivrd.phone.world import World
from ivrd.simulator.caller import NotSeen, SimulatedCall
from ivrd.simulator.channel import Channel
from ivrd.simulator.process import open_exchange
from ivrd.simulator.records import Outcome
from ivrd.simulator.script import Step
from ivrd.simulator.sounds import Sounds
from ivrd.worker.loader import load
from ivrd.worker.session import STATUS

__all__ = ["Order", "Served", "dial_app", "dial_app_fast", "dial_program", "find_shim"]

PATIENCE = 10.0  # seconds after which a channel that is blocked counts as blocked for ever
_SHIM = "ivrd-shim"
_BAD_RESULTS = frozenset({"app_error", "timeout", "worker_died", "rejected"})
_BAD_OUTCOMES = frozenset({Outcome.WENT_AWAY, Outcome.DEADLOCKED, Outcome.REFUSED, Outcome.CRASHED})


@dataclass(frozen=True)
class Order:
    """What is dialled and by whom.

    Attributes:
        title: what to call it.
        args: what the dialplan passes.
        options: the dialplan's option letters.
        variables: the channel's variables.
        sounds: which prompts there are.
        steps: the caller's script.
        burst_stall: a program behind real pipes meets Asterisk as it is; see `Exchange`.
        terminal: where it is shown.
        leave: ends the process once a call is told, where something of the app's goes on.
    """

    title: str
    args: tuple[str, ...]
    options: str
    variables: dict[str, str]
    sounds: Sounds
    steps: Sequence[Step]
    burst_stall: bool
    terminal: Terminal
    leave: Callable[[Served], NoReturn]

    async def converse(self, call: SimulatedCall, wire: Wire, over: Callable[[], Awaitable[None]], guard: Guard) -> str:
        """Be the caller of a call; see `line.converse`."""
        screen = Screen(self.title, call, wire, self.sounds)
        return await converse(call, over, screen=screen, terminal=self.terminal, guard=guard, steps=self.steps)


@dataclass
class Served:
    """A call that is over.

    Attributes:
        call: the call.
        wire: what went over its wire.
        result: how it ended for ivrd, where that is known.
        problem: what went wrong with the caller's script.
        errors: what the app's worker would have logged, or that ivrd ended the call by itself.
    """

    call: SimulatedCall
    wire: Wire
    result: str = ""
    problem: str = ""
    errors: list[str] = field(default_factory=list)

    @property
    def went_well(self) -> bool:
        """Whether the call went as its script, the app and ivrd meant it to."""
        outcome = self.call.outcome
        ended = outcome is not None and outcome not in _BAD_OUTCOMES and self.result not in _BAD_RESULTS
        return ended and not self.problem and not self.errors


def dial_app(app: App, name: str, order: Order) -> Served:
    """Call a handler in this process, in real time.

    Raises:
        AppLoadError: it cannot be had.
    """
    handler, lifespan = load(app)
    loose = LooseEnds()
    options: dict[str, Any] = {}
    if app.backend == "asyncio":
        from ivrd.worker.isolation import IsolatingLoop

        options["loop_factory"] = functools.partial(IsolatingLoop, loose)

    async def talk(tasks: TaskGroup, guard: Guard) -> Served:
        async with AsyncExitStack() as stack:
            await enter(stack, app, lifespan)
            wire = Wire()
            wire.call = call = LocalCall(_channel(name, order, wire), app, name, handler, order.args)
            tasks.start_soon(call.run, tasks)
            problem = await order.converse(call, wire, call.until_handled, guard)
            error = await leave(stack, app)
        served = _served(call, wire, problem, loose, error)
        if call.result is None:
            served.errors.append("left before the app had ended")
        if call.stuck:
            order.leave(served)  # neither its task nor its thread would let this end
        return served

    async def run(guard: Guard) -> Served | IvrdError:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(guard.beat)
            try:
                ended: Served | IvrdError = await talk(tasks, guard)
            except IvrdError as error:
                ended = error  # as itself, and not as one of a group
            tasks.cancel_scope.cancel()
        return ended

    with Guard(order.terminal.restore, order.terminal.alarm) as guard:
        ended = anyio.run(run, guard, backend=app.backend, backend_options=options)
    if isinstance(ended, IvrdError):
        raise ended
    return ended


def dial_app_fast(app: App, name: str, order: Order) -> Served:
    """Call a handler in this process, in virtual time.

    Raises:
        AppLoadError: it cannot be had.
        Stuck: it blocks its loop.
    """
    handler, lifespan = load(app)
    world = World(app.backend)

    async def talk() -> tuple[LocalCall, Wire, str, str]:
        async with AsyncExitStack() as stack:
            await enter(stack, app, lifespan)
            wire = Wire()
            wire.call = call = LocalCall(_channel(name, order, wire), app, name, handler, order.args)
            world.start(call)
            problem = ""
            try:
                await call.follow(order.steps)
            except NotSeen as error:
                problem = str(error).partition("\n")[0].rstrip(":")
                call.hangup()
            await call.until_handled()
            return call, wire, problem, await leave(stack, app)

    try:
        call, wire, problem, error = world.do(talk)
    except Exception:
        world.close()
        raise
    world.close()
    return _served(call, wire, problem, world.loose, error)


def dial_program(argv: Sequence[str], order: Order) -> Served:
    """Call a program, the shim for one, over real pipes. Nothing is known of what is secret, so keys are not shown."""

    async def run(guard: Guard) -> Served:
        async with (
            open_exchange(sounds=order.sounds, burst_stall=order.burst_stall, patience=PATIENCE) as exchange,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(guard.beat)
            wire = Wire()
            call = exchange.dial(argv, order.options, variables=order.variables, trace=wire)
            call.hides_keys = True
            wire.call = call

            async def over() -> None:
                await call.ended(timeout=math.inf)

            problem = await order.converse(call, wire, over, guard)
            tasks.cancel_scope.cancel()
        # All that is known here of what happened behind the shim: the call ends as it is configured to in any case.
        status = call.variables.get(STATUS, "OK")
        unasked = status not in ("OK", order.variables.get(STATUS))
        return Served(call, wire, problem=problem, errors=[f"the app did not end it: {STATUS} is {status}"] * unasked)

    with Guard(order.terminal.restore, order.terminal.alarm) as guard:
        return trio.run(run, guard)


def find_shim() -> str:
    """Give the shim's path: beside this Python, or on the PATH.

    Raises:
        IvrdError: it is not installed.
    """
    beside = Path(sys.executable).with_name(_SHIM)
    found = str(beside) if beside.exists() else shutil.which(_SHIM)
    if found is None:
        raise IvrdError(f"{_SHIM} is neither beside {sys.executable} nor on the PATH: install ivrd with its shim")
    return found


def _channel(name: str, order: Order, wire: Wire) -> Channel:
    return Channel(
        (f"/usr/bin/{_SHIM}", name, *order.args),
        order.options,
        variables=order.variables,
        sounds=order.sounds,
        patience=PATIENCE,
        trace=wire,
    )


def _served(call: LocalCall, wire: Wire, problem: str, loose: LooseEnds, error: str) -> Served:
    result = call.result.result if call.result else ""
    errors = [*map(call.masked, call.problems), *loose.told([call.masked]), *filter(None, [error])]
    return Served(call, wire, result, problem, errors)
