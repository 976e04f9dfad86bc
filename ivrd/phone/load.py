"""Many callers at once, each doing what one script says, through the real shim; and what they met with.

The rule that holds here: calls begin when their turn comes, whether or not those before were answered: a slow service
meets the same callers as a fast one, and its slowness shows in the figures instead of in the offer.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import msgspec
import trio

from ivrd.simulator.caller import NotSeen
from ivrd.simulator.process import Exchange, ProcessCall
from ivrd.simulator.script import Step

__all__ = ["Figures", "Load", "Spread"]

_REFUSALS = frozenset({"UNAVAILABLE", "OVERLOADED", "UNKNOWN_APP", "DRAINING", "DENIED"})
"""Values of `IVRD_STATUS` that mean that no app has seen the call."""


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """How long something took, in seconds; all 0 where it never happened.

    Attributes:
        count: how often it was measured.
        p50: half of them were at most this long.
        p90: so were nine tenths.
        p99: and 99 of 100.
        longest: the longest.
    """

    count: int
    p50: float
    p90: float
    p99: float
    longest: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Spread:
        """Sum measurements up."""
        ordered = sorted(seconds) or [0.0]

        def at(share: float) -> float:
            return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 6)

        return cls(count=len(seconds), p50=at(0.5), p90=at(0.9), p99=at(0.99), longest=at(1.0))


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What the callers met with.

    Attributes:
        offered: calls that were begun.
        answered: those that reached the app, which said something.
        refused: how many did not, by the status that the shim was given.
        outcomes: how many ended in each way, as Asterisk sees it; `unfinished` were hung up when their time was over,
            `not_begun` had no process or descriptor left, `broken_off` were up when somebody wished to stop.
        off_script: callers who waited for a prompt in vain.
        complaints: what they waited for, with how many did.
        most_at_once: calls that were up at once.
        seconds: from the first call to the end of the last.
        handover: from dialling to the app's first command, the shim's start included.
        response: from a key to the app's next command, from the last key where several came before it.
    """

    offered: int
    answered: int
    refused: dict[str, int]
    outcomes: dict[str, int]
    off_script: int
    complaints: dict[str, int]
    most_at_once: int
    seconds: float
    handover: Spread
    response: Spread


class Load:
    """A load on one app; `run` makes it.

    Args:
        exchange: where calls are dialled.
        argv: the shim and its arguments.
        steps: what each caller does.
        patience: seconds that a call may last behind its script's end.

    Attributes:
        offered: calls begun so far.
        ended: calls ended so far.
        up: calls that are up.
    """

    def __init__(self, exchange: Exchange, argv: Sequence[str], steps: Sequence[Step], *, patience: float) -> None:
        self.offered = 0
        self.ended = 0
        self.up = 0
        self._exchange = exchange
        self._argv = list(argv)
        self._steps = steps
        self._patience = patience
        self._most = 0
        self._took = 0.0
        self._refused: Counter[str] = Counter()
        self._outcomes: Counter[str] = Counter()
        self._complaints: Counter[str] = Counter()
        self._handovers: list[float] = []
        self._responses: list[float] = []

    async def run(self, calls: int, rate: float) -> None:
        """Call; over once the last call is.

        Args:
            calls: how many times.
            rate: calls a second.
        """
        began = trio.current_time()
        try:
            async with trio.open_nursery() as nursery:
                for number in range(calls):
                    await trio.sleep_until(began + number / rate)
                    nursery.start_soon(self._one)
        finally:
            self._took = trio.current_time() - began

    def figures(self) -> Figures:
        """Give what came of it, also when `run` was cancelled."""
        return Figures(
            offered=self.offered,
            answered=len(self._handovers),
            refused=dict(self._refused.most_common()),
            outcomes=dict(self._outcomes.most_common()),
            off_script=self._complaints.total(),
            complaints=dict(self._complaints.most_common(10)),
            most_at_once=self._most,
            seconds=round(self._took, 3),
            handover=Spread.of(self._handovers),
            response=Spread.of(self._responses),
        )

    async def _one(self) -> None:
        self.offered += 1
        watch = _Watch(self._responses)
        try:
            call = self._exchange.dial(self._argv, trace=watch)
        except OSError:
            self._outcomes["not_begun"] += 1
            self.ended += 1
            return
        watch.call = call
        self.up += 1
        self._most = max(self._most, self.up)
        late = "broken_off"
        try:
            try:
                await call.follow(self._steps)
            except NotSeen as error:
                self._complaints[str(error).partition("\n")[0].rstrip(":")] += 1
            with trio.move_on_after(self._patience):
                await call.ended(math.inf)
            late = "unfinished"
        finally:
            self._outcomes[late if call.outcome is None else str(call.outcome)] += 1
            self._note(call)

    def _note(self, call: ProcessCall) -> None:
        """Take note of a call that is over, or hang it up."""
        if call.outcome is None:
            call.hangup()
            call.crash()
        status = call.variables.get("IVRD_STATUS", "")
        if status in _REFUSALS:
            self._refused[status] += 1
        elif call.first_command_at is not None:
            self._handovers.append(call.first_command_at)
        self.up -= 1
        self.ended += 1


class _Watch:
    """Measures from the last key before a command to that command, in one call; see `simulator.records.Trace`.

    What the caller still types is no waiting: it is measured as `ivrd_response_seconds` is.
    """

    __slots__ = ("_told", "call", "responses")

    def __init__(self, responses: list[float]) -> None:
        self.call: ProcessCall | None = None
        self.responses = responses
        self._told = 0

    def __call__(self, at: float, kind: Literal["event", "command", "stderr"], line: bytes) -> None:
        if kind == "command" and self.call is not None and len(self.call.keys) > self._told:
            self.responses.append(at - self.call.keys[-1][0])
            self._told = len(self.call.keys)
