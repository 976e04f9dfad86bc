"""The secret digits of a call, and text in which they are covered; pure.

The rule that holds here: whatever is written down about a call, by whom and wherever, goes through `masked` first.
"""

from __future__ import annotations

__all__ = ["Secrets"]


class Secrets:
    """What a caller typed for `digits(secret=True)`."""

    def __init__(self) -> None:
        self._digits: list[str] = []

    def keep(self, digits: str) -> None:
        """Let these digits appear in no text from now on."""
        if digits and digits not in self._digits:
            self._digits.append(digits)
            # The longest first, so that no part of one is left beside what covers another one.
            self._digits.sort(key=len, reverse=True)

    def masked(self, text: str) -> str:
        """Give the text with all secret digits replaced by asterisks."""
        for digits in self._digits:
            text = text.replace(digits, "****")
        return text
