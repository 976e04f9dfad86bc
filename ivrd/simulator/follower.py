"""Somebody at the caller's end of a call: who has heard what so far, and does what a script says.

The rule that holds here: each follower listens for itself. Several may be at one call, a script that runs on its own
and a test that looks on, and none hears a prompt less because another has heard it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import anyio

from .generator import Heard
from .masking import fits
from .script import PATIENCE_S, Hangup, Patience, Pause, Press, Step, Tap, Wait

if TYPE_CHECKING:
    from .caller import SimulatedCall

__all__ = ["KEY_S", "Follower"]

KEY_S = 0.1
"""Seconds that a caller takes for a key: the tone and a pause."""


class Follower:
    """One who follows a call.

    Args:
        call: the call, with all that it has played from its beginning still to be heard.
    """

    __slots__ = ("_call", "_hears_from")

    def __init__(self, call: SimulatedCall) -> None:
        self._call = call
        self._hears_from = 0

    async def hears(self, prompt: str, timeout: float) -> Heard:
        """Wait until a prompt begins; see `SimulatedCall.hears`."""
        heard = self._call.heard

        def found() -> bool:
            while self._hears_from < len(heard):
                self._hears_from += 1
                if fits(heard[self._hears_from - 1].prompt, prompt):
                    return True
            return False

        await self._call.until(found, f"prompt {prompt!r}", timeout)
        return heard[self._hears_from - 1]

    async def follow(self, steps: Iterable[Step]) -> None:
        """Do what a script says; see `SimulatedCall.follow`."""
        call = self._call
        patience = PATIENCE_S
        for step in steps:
            match step:
                case Press(keys):
                    for key in keys:
                        call.press(key)
                        await self._pause(KEY_S)
                case Tap(keys):
                    call.press(keys)
                case Wait(prompt):
                    await self.hears(prompt, patience)
                case Pause(seconds):
                    await self._pause(seconds)
                case Hangup(after):
                    await self._pause(after)
                    call.hangup()
                case Patience(seconds):
                    patience = seconds

    async def _pause(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            while self._call.channel.ended is None:
                await self._call.changed()
