"""Counting: tallies of calls added up, and what was counted since the last time it was told.

The rule that holds here: a tally holds numbers by kind and times in seconds, never a key, a prompt or a caller.
"""

from __future__ import annotations

from ivrd.wire.messages import Tally

__all__ = ["RESPONSES_KEPT", "add", "difference"]

RESPONSES_KEPT = 2000
"""Response times that one tally holds at most, which is what fits a message; further ones are left out."""


def add(total: Tally, part: Tally) -> None:
    """Add `part` to `total`, in place."""
    _add_counts(total.events, part.events)
    _add_counts(total.commands, part.commands)
    _add_counts(total.refused, part.refused)
    total.malformed += part.malformed
    if total.first_command is None:
        total.first_command = part.first_command
    total.responses.extend(part.responses[: RESPONSES_KEPT - len(total.responses)])


def difference(now: Tally, before: Tally) -> Tally:
    """Give what was counted between two states of one tally."""
    return Tally(
        events=_difference(now.events, before.events),
        commands=_difference(now.commands, before.commands),
        refused=_difference(now.refused, before.refused),
        malformed=now.malformed - before.malformed,
        first_command=now.first_command if before.first_command is None else None,
        responses=now.responses[len(before.responses) :],
    )


def _add_counts(total: dict[str, int], part: dict[str, int]) -> None:
    for kind, count in part.items():
        total[kind] = total.get(kind, 0) + count


def _difference(now: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    return {kind: count - before.get(kind, 0) for kind, count in now.items() if count > before.get(kind, 0)}
