"""One call at a terminal or from a script: the caller's side of `ivrd dial`, whatever is at the other end.

The rule that holds here: whoever leaves hangs up first, and the app's clean-up is waited for, unless somebody wishes to
leave a second time; see `guard`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import anyio
from anyio.abc import TaskGroup
from rich.live import Live

from ivrd.cli.guard import Guard
from ivrd.cli.keyboard import Keyboard
from ivrd.cli.screen import Screen
from ivrd.cli.terminal import Terminal
from ivrd.simulator.caller import NotSeen, SimulatedCall
from ivrd.simulator.records import KEYS
from ivrd.simulator.script import Step

__all__ = ["converse"]

_PICTURES_S = 0.1


async def converse(
    call: SimulatedCall,
    over: Callable[[], Awaitable[None]],
    *,
    screen: Screen,
    terminal: Terminal,
    guard: Guard,
    steps: Sequence[Step],
) -> str:
    """Be the caller until the call is over at both ends.

    Args:
        call: the call, just dialled.
        over: waits until the app's end is over too.
        screen: what to show, where there is a screen.
        terminal: where to show it, and where keys come from.
        guard: tells when somebody wishes to leave.
        steps: what the caller does by script.

    Returns:
        What went wrong with the script; "" when nothing did.
    """
    problems: list[str] = []

    async def follow() -> None:
        try:
            await call.follow(steps)
        except NotSeen as error:
            problems.append(str(error).partition("\n")[0].rstrip(":"))
            call.hangup()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_obey, call, guard, tasks)
        if steps:
            tasks.start_soon(follow)
        if terminal.console is not None:
            tasks.start_soon(_draw, call, screen, terminal)
        if terminal.keyboard is not None:
            tasks.start_soon(_type, call, screen, terminal.keyboard)
        await over()
        tasks.cancel_scope.cancel()
    return "; ".join(problems)


async def _draw(call: SimulatedCall, screen: Screen, terminal: Terminal) -> None:
    try:
        with Live(
            screen,
            console=terminal.console,
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        ) as live:
            terminal.drawn = True
            while True:
                terminal.resize()
                live.refresh()
                await anyio.sleep(_PICTURES_S)
    except OSError:
        call.hangup()  # the terminal is gone
    finally:
        terminal.drawn = False


async def _type(call: SimulatedCall, screen: Screen, keyboard: Keyboard) -> None:
    with keyboard:
        async for character in keyboard.pressed():
            if len(character) == 1 and character.upper() in KEYS:
                call.press(character.upper())
            elif character == "h":
                call.hangup()
            elif character == "t":
                screen.traces = not screen.traces
            elif character == "v":
                screen.variables = not screen.variables
        call.hangup()  # the terminal is gone


async def _obey(call: SimulatedCall, guard: Guard, tasks: TaskGroup) -> None:
    async for wish in guard.wishes():
        if wish > 1:
            tasks.cancel_scope.cancel()
            return
        call.hangup()
        call.crash()  # under options i and d it goes on after a hangup; what follows needs no caller
