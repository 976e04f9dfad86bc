"""Texts without the caller's keys, for calls of which nobody knows which keys are secret; pure.

The rule that holds here: a run of digits (`*` and `#` are some too) that stands anywhere in a text is masked as a whole
if two neighbours in it were pressed one after the other, and a single one if it was pressed at all. An app may cut a
PIN out of what was typed, put a country code before it or say it digit by digit: each of these is masked. A number in
which no two digits stand as the caller pressed them, a date for one, stays. Masking too much costs a look at the
program's own log, masking too little costs a PIN.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

__all__ = ["MASK", "fits", "hide_keys"]

MASK = "****"
"""Stands for digits that are not shown, however many they are."""

_LETTERS = frozenset("ABCD")
_DIGITS = re.compile(r"[0-9*#]+")
_DIGITS_AND_LETTERS = re.compile(r"[0-9A-D*#]+")
_DIVIDERS = frozenset("*#")


def hide_keys(text: str, keys: Sequence[str]) -> str:
    """Mask what could be the caller's keys.

    Args:
        text: anything that an app said.
        keys: the keys that were pressed, in order.

    Returns:
        The text. A letter counts as a digit where the caller pressed one, but never by itself: it would be the name of
        a command.
    """
    if not keys:
        return text
    # `1#2#3#` is a way of typing 123.
    typed = (keys, [key for key in keys if key not in _DIVIDERS])
    pairs = {pair for each in typed for pair in pairwise(each)}
    pressed = set(keys)

    def masked(run: re.Match[str]) -> str:
        found = run[0]
        if len(found) == 1:
            return MASK if found in pressed - _LETTERS else found
        return MASK if not pairs.isdisjoint(pairwise(found)) else found

    return (_DIGITS_AND_LETTERS if pressed & _LETTERS else _DIGITS).sub(masked, text)


def fits(name: str, masked: str) -> bool:
    """Whether a name is one that was written down masked (digits, or what says some: `digits/hundred`), or the same."""
    if MASK not in masked:
        return name == masked
    return re.fullmatch(r"[\w*#-]+".join(map(re.escape, masked.split(MASK))), name) is not None
