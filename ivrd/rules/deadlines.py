"""When a call has to end, and how long its end may take: the reckoning of its four time limits.

The rule that holds here: nothing reads a clock; every moment is an argument or a result, in seconds of one and the same
clock, and a limit that is off is a moment that never comes.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import msgspec

__all__ = ["Due", "EndBy", "Limits"]


class Due(NamedTuple):
    """The next time limit of a live call.

    Attributes:
        at: when the call has to end.
        look_again: when to reckon again at the latest, since what happens until then may bring `at` forward.
        which: the limit's name in the configuration.
    """

    at: float
    look_again: float
    which: Literal["max_duration", "idle_timeout"]


class EndBy(NamedTuple):
    """By when the parts of an ending call have to be over.

    Attributes:
        closed: when Asterisk is no longer waited for, and everything is closed.
        given_up: when the handler is no longer waited for.
    """

    closed: float
    given_up: float


class Limits(msgspec.Struct, frozen=True):
    """A call's time limits, in seconds; the first two are off at 0.

    Attributes:
        max_duration: from the call's admission to its end.
        idle_timeout: without an event from Asterisk or a command to it, while no prompt plays.
        hangup_grace: for the handler, from the call's end.
        close_timeout: for Asterisk to close its side, from the call's end.
    """

    max_duration: float
    idle_timeout: float
    hangup_grace: float
    close_timeout: float

    def due(self, now: float, *, admitted: float, active: float, playing_until: float = -math.inf) -> Due:
        """Reckon when a live call has to end.

        Args:
            now: the present.
            admitted: when the call was admitted.
            active: when the last event came or the last command was sent.
            playing_until: how long what plays may go on at most, or any past moment when nothing plays. The end of
                a prompt is an event, so that idle time counts from there.

        Returns:
            The limit that is reached first. It has passed if its `at` is not later than `now`.
        """
        end = admitted + self.max_duration if self.max_duration else math.inf
        if not self.idle_timeout:
            return Due(end, end, "max_duration")
        idle = max(active, playing_until) + self.idle_timeout
        due, which = min((end, "max_duration"), (idle, "idle_timeout"))
        # A prompt may end sooner than it might, which brings the idle limit forward to no sooner than this.
        look_again = min(due, now + self.idle_timeout)
        return Due(due, look_again, "max_duration" if which == "max_duration" else "idle_timeout")

    def end_by(self, ended: float) -> EndBy:
        """Reckon how long the end of a call may take.

        Args:
            ended: when the command that ends the call was sent, or the hangup was seen.
        """
        return EndBy(ended + self.close_timeout, ended + self.hangup_grace)
