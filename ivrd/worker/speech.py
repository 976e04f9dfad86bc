"""Spoken digits and numbers: which of Asterisk's stock prompts say them, in English.

The rule that holds here: only prompts of the core sounds are named, so that each installation with English sounds has
them; what they cannot say is refused before anything is played.
"""

from __future__ import annotations

from typing import Final

from ivrd.errors import InvalidValue

__all__ = ["LARGEST", "digit_prompts", "number_prompts"]

LARGEST: Final = 999_999_999
"""The largest number that Asterisk's own SayNumber says, either side of zero."""

_SIGNS: Final = {"*": "digits/star", "#": "digits/pound", "-": "digits/minus"}
_SCALES: Final = ((1_000_000, "digits/million"), (1_000, "digits/thousand"))


def digit_prompts(digits: str) -> list[str]:
    """Give the prompts that say digits one by one.

    Args:
        digits: any of `0`-`9`, `*`, `#` and `-`; blanks are left out.

    Raises:
        InvalidValue: there is a character that no prompt says, or it is no text.
    """
    if not isinstance(digits, str):
        raise InvalidValue(f"digits {digits!r} are of type {type(digits).__name__}: pass a str, such as '007'")
    prompts = []
    for digit in digits:
        if digit in _SIGNS:
            prompts.append(_SIGNS[digit])
        elif digit in "0123456789":
            prompts.append(f"digits/{digit}")
        elif digit != " ":
            raise InvalidValue(f"{digit!r} cannot be said as a digit: say_digits takes 0-9, *, # and -")
    return prompts


def number_prompts(number: int) -> list[str]:
    """Give the prompts that say a whole number as English speakers do: 342 is "three hundred forty two".

    Raises:
        InvalidValue: the number is beyond `LARGEST` either side of zero, or is not whole.
    """
    # A float or a str reaches this place from an app that mypy does not look at.
    if type(number) is not int or abs(number) > LARGEST:
        raise InvalidValue(f"number {number!r} cannot be said: give a whole number from -{LARGEST} to {LARGEST}")
    if number < 0:
        return ["digits/minus", *number_prompts(-number)]
    if number == 0:
        return ["digits/0"]
    prompts = []
    for scale, name in _SCALES:
        if number >= scale:
            prompts += [*_below_thousand(number // scale), name]
            number %= scale
    return prompts + _below_thousand(number)


def _below_thousand(number: int) -> list[str]:
    prompts = []
    if number >= 100:
        prompts += [f"digits/{number // 100}", "digits/hundred"]
        number %= 100
    if number >= 20:
        prompts.append(f"digits/{number // 10 * 10}")
        number %= 10
    if number:
        prompts.append(f"digits/{number}")
    return prompts
