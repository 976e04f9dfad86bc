"""Keeping a flood of one complaint from drowning the rest of the log.

The rule that holds here: what is left out is counted, and the count is written with the next line of its kind, so that
nothing disappears unseen. Lines that tell of a call's end are never left out.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BURST", "WINDOW", "Repeats"]

BURST = 20  # lines of one kind that are written in a window
WINDOW = 10.0  # seconds
_KINDS = 1000  # so that a flood of ever new kinds does not fill the memory


@dataclass(slots=True)
class _Seen:
    since: float
    written: int = 0
    left_out: int = 0


class Repeats:
    """The memory of what was written lately, by kind of line."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def admit(self, kind: str, now: float) -> int | None:
        """Say whether a line may be written.

        Args:
            kind: what makes two lines the same, such as the event's name.
            now: seconds.

        Returns:
            None when it is one too many; else how many of its kind were left out since the last that was written.
        """
        seen = self._seen.get(kind)
        if seen is None or now - seen.since >= WINDOW:
            if len(self._seen) >= _KINDS:
                self._seen.clear()
            left_out = seen.left_out if seen is not None else 0
            self._seen[kind] = _Seen(now, written=1)
            return left_out
        if seen.written >= BURST:
            seen.left_out += 1
            return None
        seen.written += 1
        return 0
