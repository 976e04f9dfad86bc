"""The words of a call's life: what can happen to it, and what the daemon can be asked to do about it.

The rule that holds here: nothing is decided. A fact says what somebody saw, an action what is to be done, and only
`rules.life` leads from the one to the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal, TypeAlias

from ivrd.wire.hello import Action as Way
from ivrd.wire.hello import Status
from ivrd.wire.messages import Result

__all__ = [
    "Act",
    "Action",
    "Admitted",
    "Assigned",
    "Broken",
    "CallerGone",
    "Confirmed",
    "Expired",
    "Fact",
    "Lost",
    "Marked",
    "OrderedOut",
    "Over",
    "Say",
    "ShimGone",
    "Tell",
    "TurnedAway",
    "WorkerDied",
]

# What can happen.


@dataclass(frozen=True, slots=True)
class Admitted:
    """There is room for the call: it may wait for a worker."""


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """Nobody will take the call: no room, no such app, the daemon is draining."""

    status: Status
    reason: str


@dataclass(frozen=True, slots=True)
class Assigned:
    """The routing has a free place for it in a worker."""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The worker says that the call is its own now."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The worker died, or its socket was full, before it confirmed: it has done nothing with the call."""


@dataclass(frozen=True, slots=True)
class ShimGone:
    """The shim closed before the call was started: it fell back, or was killed before it could."""


@dataclass(frozen=True, slots=True)
class Over:
    """The worker reports the call's end: everything is closed on its side.

    Attributes:
        result: how it ended.
        unsaid: why nothing was said to Asterisk, so that we have to end the call; "" where all is said.
    """

    result: Result
    unsaid: str = ""


@dataclass(frozen=True, slots=True)
class WorkerDied:
    """The process that ran the call is gone."""

    reason: str


@dataclass(frozen=True, slots=True)
class CallerGone:
    """We read the channel's last event or EOF: Asterisk has closed; `left` where it went on in the dialplan."""

    left: bool = False


@dataclass(frozen=True, slots=True)
class Marked:
    """Asterisk answered the retry's marker: whatever comes now belongs to the second life."""


@dataclass(frozen=True, slots=True)
class OrderedOut:
    """Somebody ends the call from outside: the operator, or the end of the drain."""

    result: Literal["operator", "drained"]
    reason: str


@dataclass(frozen=True, slots=True)
class Expired:
    """The state's deadline has passed."""


@dataclass(frozen=True, slots=True)
class Broken:
    """An error of ours struck while the call was dealt with; it is to cost this call alone."""


Fact: TypeAlias = (
    Admitted
    | TurnedAway
    | Assigned
    | Confirmed
    | Lost
    | ShimGone
    | Over
    | WorkerDied
    | CallerGone
    | Marked
    | OrderedOut
    | Expired
    | Broken
)


# What to do about it.


class Act(Enum):
    """Actions that need no words."""

    READ = "read the events that come while the call waits"
    REJOIN = "put the call back into the line"
    DISPATCH = "stop reading; hand the call and what was read to the worker"
    DROP = "tell the worker to let go of the call"
    TAKE_BACK = "take the call away from a worker that does not confirm it; it gets no more until it answers"
    RESET = "clear what the dead worker left on the channel, and put the marker behind it"
    DRAIN = "read until Asterisk closes"
    CLOSE = "close all descriptors: the call is over"


@dataclass(frozen=True, slots=True)
class Tell:
    """Answer the shim."""

    kind: Literal["queued", "started", "ended", "refused"]
    status: Status = Status.UNAVAILABLE
    way: Way = "-"
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Say:
    """Set `IVRD_STATUS`, explain in Asterisk's log, then hang up or leave to the dialplan."""

    status: Status
    way: Literal["hangup", "exit"]
    reason: str


Action: TypeAlias = Act | Tell | Say
