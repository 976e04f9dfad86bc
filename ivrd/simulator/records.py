"""What the simulator tells about a call: how it ended, what Asterisk logged, what was sent.

The rule that holds here: plain records with the model's time in them, no behaviour.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Literal, NamedTuple

__all__ = ["KEYS", "Ending", "Log", "Outcome", "SentDtmf", "Trace"]

KEYS = "0123456789ABCD*#"
"""The keys that a caller can press."""

Trace = Callable[[float, Literal["event", "command", "stderr"], bytes], None]
"""Called with the time, the direction and each whole line that is sent or handled."""


class Outcome(StrEnum):
    """How ExternalIVR() ended."""

    CONTINUED = "continued"
    """The app sent `E` (or `X`): the dialplan goes on."""
    HUNGUP_BY_APP = "hungup_by_app"
    """The app sent `H`."""
    HUNGUP_BY_CALLER = "hungup_by_caller"
    """The caller hung up, and Asterisk told the app so with `H`."""
    WENT_AWAY = "went_away"
    """EOF on stdout or stderr ("Child process went away"): the channel is hung up."""
    REFUSED = "refused"
    """Asterisk would not start the app: option `d` on a channel that is neither answered nor hung up."""
    CRASHED = "crashed"
    """Asterisk itself died: its ends of the pipes were closed with no event before."""
    DEADLOCKED = "deadlocked"
    """The channel thread was stuck for longer than `patience`. The real one stays so for ever, hangup included."""


class Ending(NamedTuple):
    """The end of a call's stay in ExternalIVR()."""

    outcome: Outcome
    time: float
    detail: str


class Log(NamedTuple):
    """A line of Asterisk's log; level `SIMULATOR` marks what only the simulator tells."""

    time: float
    level: Literal["ERROR", "WARNING", "NOTICE", "SIMULATOR"]
    text: str


class SentDtmf(NamedTuple):
    """Keys that the app had sent to the caller with `D`."""

    time: float
    digits: str
