"""What an app passes to the methods of its call, looked at before anything is done with it.

The rule that holds here: what makes no sense is an `InvalidValue` that says what to pass instead, at the call of the
method and not when a caller first presses a wrong key. Apps are not all looked at by mypy, and a `TypeError` from three
functions further down says nothing to who wrote `timeout="5"`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real

from ivrd.errors import InvalidValue
from ivrd.worker.keys import ANY_KEY, one_key

__all__ = ["choices_of", "interrupting_keys", "keys_of", "prompts_of", "seconds", "whole"]


def seconds(what: str, value: object) -> float:
    """Give a time that is to be waited.

    Args:
        what: the argument's name.
        value: seconds; `math.inf` is without a limit.

    Raises:
        InvalidValue: it is none.
    """
    try:
        number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    except OverflowError:
        number = math.inf
    if not number >= 0:
        raise InvalidValue(f"{what}={value!r}: give seconds as a number that is not negative, math.inf for no limit")
    return number


def whole(what: str, value: object, least: int) -> int:
    """Give a number of things.

    Raises:
        InvalidValue: it is no whole number, or one below `least`.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidValue(f"{what}={value!r}: give a whole number, {least} at least")
    return value


def keys_of(what: str, value: object) -> str:
    """Give the keys in a text, as events have them; there may be none.

    Raises:
        InvalidValue: it is no text, or there is something in it that is no key.
    """
    if not isinstance(value, str):
        raise InvalidValue(f"{what}={value!r}: give the keys in one str, such as '*#', or '' for none")
    return "".join(map(one_key, value))


def interrupting_keys(value: object) -> str:
    """Give the keys that an `interrupt` argument means: all, none, or those that it names.

    Raises:
        InvalidValue: it is something else.
    """
    if isinstance(value, bool):
        return ANY_KEY if value else ""
    if not isinstance(value, str):
        raise InvalidValue(f"interrupt={value!r}: give True for all keys, False for none, or those keys in one str")
    return keys_of("interrupt", value)


def choices_of(value: object) -> Mapping[str, object]:
    """Give what each key of a menu stands for, by the keys as events have them.

    Args:
        value: the keys in a text, each of which stands for itself, or a mapping.

    Raises:
        InvalidValue: it is something else, or there is no key in it.
    """
    if isinstance(value, str):
        value = {key: key for key in value}
    elif not isinstance(value, Mapping):
        raise InvalidValue(f"choices={value!r}: give the keys in one str, such as '12*', or what each one stands for")
    if not value:
        raise InvalidValue("choices: there is no key to press; give one at least")
    return {one_key(key): meaning for key, meaning in value.items()}


def prompts_of(value: object) -> list[str]:
    """Give the prompts of a question, of which there may be none.

    Args:
        value: a name, or a list or tuple of names, which are not looked at here.

    Raises:
        InvalidValue: it is something else.
    """
    if value is None or isinstance(value, str):
        return [value] if value else []
    if not isinstance(value, list | tuple):
        raise InvalidValue(f"prompt={value!r}: give the name of a sound file, or a list of names")
    return list(value)
