"""How many workers an app needs, which to replace and which to let go: one pure plan from what is there.

The rule that holds here: a worker that has to go (recycled, of an old generation, one too many) is first replaced, then
retired at its last call; never the other way round. Growth looks at the spare places, so that it happens before a
caller needs it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Member", "Plan", "Size", "due", "plan", "wanted"]

IDLE = 30.0  # seconds; the default of `shrink_after`

WorkerState = Literal["starting", "ready", "retiring", "stopping"]


@dataclass(frozen=True, slots=True)
class Size:
    """The part of an app's configuration that says how many workers it has.

    Attributes:
        least: workers kept at any time.
        most: workers that take calls at any time.
        spare: places kept free.
        places: calls that one worker holds.
        shrink_after: seconds for which a worker had nothing to do before it is one too many.
    """

    least: int
    most: int
    spare: int
    places: int
    shrink_after: float = IDLE


@dataclass(frozen=True, slots=True)
class Member:
    """One worker as the plan sees it.

    Attributes:
        key: its key.
        state: where it is in its life.
        stale: it is to be replaced: an old generation, or due for recycling.
        load: calls it holds.
        idle_since: since when it has had no call, from its start on, on the clock of `now`; None while it has one.
    """

    key: int
    state: WorkerState
    stale: bool
    load: int
    idle_since: float | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now.

    Attributes:
        start: workers to start.
        retire: keys of the workers to retire.
        wake: when to look again at the latest, on the clock of `now`; None where only an event can change anything.
    """

    start: int
    retire: tuple[int, ...]
    wake: float | None


def wanted(size: Size, calls: int) -> int:
    """How many workers it takes for so many calls, running and waiting, with the spare places beside them."""
    return max(size.least, min(size.most, math.ceil((calls + size.spare) / size.places)))


def plan(members: Sequence[Member], size: Size, *, calls: int, now: float, not_before: float) -> Plan:
    """Decide.

    Args:
        members: the app's workers.
        size: what the configuration allows.
        calls: calls of the app, running in workers that are kept and waiting.
        now: seconds.
        not_before: no worker may be started before this time (the app's back-off).

    Returns:
        What to do, and when to look again.
    """
    want = wanted(size, calls)
    fresh = [member for member in members if not member.stale and member.state in ("starting", "ready")]
    ready = [member for member in members if member.state == "ready"]
    wake: float | None = None

    start = max(0, want - len(fresh))
    if start and now < not_before:
        start, wake = 0, not_before

    # Stale ones first, the least loaded before the others: it is soonest gone.
    surplus = len(ready) - want
    stale = sorted((member for member in ready if member.stale), key=lambda member: member.load)
    retire = [member.key for member in stale[: max(0, surplus)]]
    surplus -= len(retire)

    for member in ready:
        if surplus <= 0:
            break
        if member.stale or member.idle_since is None:
            continue
        due_at = member.idle_since + size.shrink_after
        # The very sum at which we wake: a difference may be rounded to just below it, and we would wake for ever.
        if now >= due_at:
            retire.append(member.key)
            surplus -= 1
        else:
            wake = due_at if wake is None else min(wake, due_at)
    return Plan(start, tuple(retire), wake)


def due(
    *, served: int, max_calls: int, memory: int, max_memory: int, age: float, max_age: float, jitter: float
) -> str | None:
    """Tell whether a worker is to be recycled.

    Args:
        served: calls it was given.
        max_calls: after so many; 0 is off.
        memory: its resident memory in bytes.
        max_memory: above so much; 0 is off.
        age: seconds since it was started.
        max_age: past so many seconds; 0 is off.
        jitter: this worker's own number from 0 to 1: it goes up to a tenth earlier, so that not all go at once.

    Returns:
        The reason in a word, or None.
    """
    if max_calls and served >= max(1, math.ceil(max_calls * (1 - jitter / 10))):
        return "max_calls"
    if max_memory and memory > max_memory:
        return "max_memory"
    if max_age and age >= max_age * (1 - jitter / 10):
        return "max_age"
    return None
