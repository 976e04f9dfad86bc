"""The keys of a call: which of them still wait for a question, and what became of the others; pure.

The rule that holds here: keys are settled one by one in the order in which they were pressed, so that each has a number
and a fate whatever becomes of its neighbours: taken by a question, or thrown away. One may be shown to somebody who
looks at the call only if a question that was not secret has taken it. Until then it might be the first of a PIN that
was typed ahead, and that `call.events()` gives it to the app as well does not say what it is for.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal, NamedTuple, TypeAlias

from ivrd.errors import InvalidValue

__all__ = ["ANY_KEY", "KEYS_KEPT", "Fate", "Keys", "Press", "one_key"]

ANY_KEY: Final = "0123456789*#ABCD"
KEYS_KEPT: Final = 256
"""Keys that wait for a question; beyond that the oldest are thrown away."""
# A terminator pressed so soon after the last digit of a full entry belongs to that entry.
_TRAILING_S: Final = 1.0

Fate: TypeAlias = Literal["secret", "public", "untaken"]
"""What became of a key: taken by a secret question, by another one, or by none, be it so far or for good."""


class Press(NamedTuple):
    """A key that was pressed.

    Attributes:
        key: which.
        at: when it was read, in seconds.
    """

    key: str
    at: float


class _Trailing(NamedTuple):
    keys: str
    until: float
    fate: Fate


class Keys:
    """The keys of one call.

    Attributes:
        waiting: those that no question has taken, the oldest first.
        pressed: how many came, so that each one has a number, counted from 0.
    """

    def __init__(self) -> None:
        self.waiting: deque[Press] = deque()
        self.pressed = 0
        self._secret_questions = 0
        self._trailing = _Trailing("", 0.0, "untaken")
        # Runs of keys with one fate, each by the number of its first, and how many keys all of them are.
        self._starts: list[int] = []
        self._fates: list[Fate] = []
        self._settled = 0

    def press(self, key: str, now: float) -> bool:
        """Take note of a key.

        Returns:
            Whether it means something; False for the terminator behind a full entry.
        """
        self.pressed += 1
        trailing, self._trailing = self._trailing, _Trailing("", 0.0, "untaken")
        if key in trailing.keys and now < trailing.until:
            self._settle(trailing.fate)  # nothing waits, so that it is this one's turn
            return False
        self.waiting.append(Press(key, now))
        if len(self.waiting) > KEYS_KEPT:
            self._drop()
        return True

    def take(self) -> Press:
        """Take the oldest key that waits, for a question."""
        self._settle(self._taken)
        return self.waiting.popleft()

    def take_trailing(self, terminators: str, last: Press) -> None:
        """Take the terminator that a caller presses out of habit behind a full entry, or take it when it comes.

        Args:
            terminators: the entry's.
            last: its last key, which the terminator has to follow at once.
        """
        if not self.waiting:
            self._trailing = _Trailing(terminators, last.at + _TRAILING_S, self._taken)
        elif self.waiting[0].key in terminators and self.waiting[0].at < last.at + _TRAILING_S:
            self.take()

    def clear(self) -> None:
        """Throw away what waits."""
        while self.waiting:
            self._drop()

    @contextmanager
    def secret_question(self) -> Iterator[None]:
        """For as long as a secret is asked for: all keys that are taken meanwhile are secret, also earlier ones."""
        self._secret_questions += 1
        try:
            yield
        finally:
            self._secret_questions -= 1

    def fate(self, number: int) -> Fate:
        """Say what became of a key.

        Args:
            number: which of the keys that came, counted from 0.
        """
        return self._fates[bisect_right(self._starts, number) - 1] if number < self._settled else "untaken"

    @property
    def _taken(self) -> Fate:
        return "secret" if self._secret_questions else "public"

    def _drop(self) -> None:
        # One that a secret question throws away was meant for it, most likely.
        self._settle("secret" if self._secret_questions else "untaken")
        self.waiting.popleft()

    def _settle(self, fate: Fate) -> None:
        if not self._fates or self._fates[-1] != fate:
            self._starts.append(self._settled)
            self._fates.append(fate)
        self._settled += 1


def one_key(key: object) -> str:
    """Give a key as events have it.

    Raises:
        InvalidValue: it is not exactly one key, as a text.
    """
    if not isinstance(key, str) or len(key) != 1 or key.upper() not in ANY_KEY:
        raise InvalidValue(f"{key!r} is not a key: a caller can press one of {ANY_KEY!r}, each a str")
    return key.upper()
