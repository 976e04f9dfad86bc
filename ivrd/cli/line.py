"""One call at a terminal or from a script: the caller's side of `ivrd dial`, whatever is at the other end.

The rule that holds here: whoever leaves hangs up first, and the app's clean-up is waited for; a second Ctrl-C is for
those who will not wait.
"""

from __future__ import annotations

import io
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout

import anyio
from anyio.abc import TaskGroup
from rich.console import Console
from rich.live import Live

from ivrd.cli.keyboard import Keyboard
from ivrd.cli.screen import Screen
from ivrd.simulator.caller import NotSeen, SimulatedCall
from ivrd.simulator.records import KEYS
from ivrd.simulator.script import Step

__all__ = ["converse"]

_PICTURES_S = 0.1


async def converse(
    call: SimulatedCall,
    over: Callable[[], Awaitable[None]],
    *,
    screen: Screen | None,
    keyboard: bool,
    steps: Sequence[Step],
    console: Console,
) -> str:
    """Be the caller until the call is over at both ends.

    Args:
        call: the call, just dialled.
        over: waits until the app's end is over too.
        screen: what to show; nothing when not given.
        keyboard: keys come from the terminal.
        steps: what the caller does by script.
        console: where to show it.

    Returns:
        What went wrong with the script; "" when nothing did.
    """
    problems: list[str] = []

    async def follow(tasks: TaskGroup) -> None:
        try:
            await call.follow(steps)
        except NotSeen as error:
            problems.append(str(error).partition("\n")[0].rstrip(":"))
            call.hangup()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_obey_signals, call, tasks)
        if steps:
            tasks.start_soon(follow, tasks)
        if screen is not None:
            tasks.start_soon(_draw, screen, console)
        if keyboard:
            tasks.start_soon(_type, call, screen)
        await over()
        tasks.cancel_scope.cancel()
    return "; ".join(problems)


async def _draw(screen: Screen, console: Console) -> None:
    printed = io.StringIO()
    try:
        with (
            redirect_stdout(printed),
            redirect_stderr(printed),
            Live(
                screen, console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
            ) as live,
        ):
            while True:
                live.refresh()
                await anyio.sleep(_PICTURES_S)
    finally:
        # What the app prints would be drawn over; here it is, for whoever debugs by printing.
        console.out(printed.getvalue(), end="", highlight=False)


async def _type(call: SimulatedCall, screen: Screen | None) -> None:
    with Keyboard() as keyboard:
        async for character in keyboard.pressed():
            if len(character) == 1 and character.upper() in KEYS:
                call.press(character.upper())
            elif character == "h":
                call.hangup()
            elif character == "t" and screen is not None:
                screen.traces = not screen.traces
            elif character == "v" and screen is not None:
                screen.variables = not screen.variables
        call.hangup()  # the terminal is gone


async def _obey_signals(call: SimulatedCall, tasks: TaskGroup) -> None:
    asked = False
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        async for _ in signals:
            if asked:
                tasks.cancel_scope.cancel()
                return
            asked = True
            call.hangup()
            call.crash()  # under options i and d it goes on after a hangup; what follows needs no caller
