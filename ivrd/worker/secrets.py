"""The secret digits of a call, and text in which they are covered; pure.

The rule that holds here: whatever is written down about a call, by whom and wherever, goes through `masked` first. A
secret is known as it was typed, and as stock prompts say it: an app that reads a PIN back names `digits/8`, `digits/6`
and so on, one by one and perhaps with others in between. So once a call has a secret, no prompt for a digit or a number
is shown by its name any more, whatever it says.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["COVER", "Secrets", "cover_spoken"]

COVER: Final = "****"
"""Stands where something is not shown."""

_MANY: Final = 3  # digits that are no coincidence
_SPOKEN: Final = re.compile(r"\bdigits/[\w-]+")


class Secrets:
    """What a caller typed for `digits(secret=True)`."""

    def __init__(self) -> None:
        self._digits: list[str] = []

    def keep(self, digits: str) -> None:
        """Let these digits appear in no text from now on."""
        number = digits.lstrip("0")  # as it is written once an app has made an `int` of it
        forms = {digits, number if len(number) >= _MANY else digits} - {""}
        # The longest first, so that no part of one is left beside what covers another one.
        self._digits = sorted({*self._digits, *forms}, key=len, reverse=True)

    def masked(self, text: str) -> str:
        """Give the text with all secret digits replaced by asterisks."""
        for digits in self._digits:
            text = text.replace(digits, COVER)
        return cover_spoken(text) if self._digits else text

    def masked_elsewhere(self, text: str) -> str:
        """Give a text that belongs to no call in particular without these digits, unless they are but one or two."""
        for digits in self._digits:
            if len(digits) >= _MANY:
                text = text.replace(digits, COVER)
        return text


def cover_spoken(text: str) -> str:
    """Give the text without what the stock prompts in it say."""
    return _SPOKEN.sub(f"digits/{COVER}", text)
