"""What a caller is to do, in one line: `wait:welcome 1 pause:0.5 2 # hangup:3`; pure.

The rule that holds here: a script is a list of steps done one after the other, text becomes steps or a `ScriptError`
that says which word is wrong and what it could be, and `write` gives text that reads as the same steps.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from ivrd.errors import IvrdError

from .records import KEYS

__all__ = [
    "PATIENCE_S",
    "WORDS",
    "Hangup",
    "Patience",
    "Pause",
    "Press",
    "ScriptError",
    "Step",
    "Tap",
    "Wait",
    "read",
    "write",
]

PATIENCE_S = 60.0
"""Seconds for which a caller waits for a prompt, and for the call's end after the script's, unless told otherwise."""

WORDS = """\
1 2# *9        keys, a tenth of a second each
tap:KEYS       keys, in no time at all
wait:PROMPT    until the prompt begins
pause:SECONDS  for so long
hangup         hang up; hangup:SECONDS after so long
patience:SECONDS  what each `wait` from here on is given (60)"""
"""The language, for people."""

_WORD = re.compile(r"""(?:[^\s"]|"(?:[^"\\]|\\.)*(?:"|\\?\Z))+""", re.DOTALL)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_OTHERS = "tap:KEYS, wait:PROMPT, pause:SECONDS, hangup, patience:SECONDS"
_LONGEST_S = 86_400.0


class ScriptError(IvrdError):
    """A caller's script that makes no sense; the message names the word and its place."""


@dataclass(frozen=True)
class Press:
    """Press keys one after the other."""

    keys: str


@dataclass(frozen=True)
class Tap:
    """Press keys in no time; with pauses between them what a caller did can be told to the millisecond."""

    keys: str


@dataclass(frozen=True)
class Wait:
    """Wait until a prompt begins."""

    prompt: str


@dataclass(frozen=True)
class Pause:
    """Do nothing for some seconds."""

    seconds: float


@dataclass(frozen=True)
class Hangup:
    """Hang up after some seconds; what follows is not done."""

    after: float = 0.0


@dataclass(frozen=True)
class Patience:
    """Give each wait from here on so many seconds."""

    seconds: float


Step: TypeAlias = Press | Tap | Wait | Pause | Hangup | Patience


def read(text: str) -> list[Step]:
    """Read a script.

    Args:
        text: words divided by blanks or newlines; `#` is a key, so there are no comments. What stands between quotes
            (`wait:"with blanks"`) is part of a word as it stands, but for a backslash, which is left out and takes the
            meaning from what follows it.

    Returns:
        The steps, in order. When they are done the caller stays on the line until the app ends the call.

    Raises:
        ScriptError: a word is none, or something follows a hangup.
    """
    steps: list[Step] = []
    for number, found in enumerate(_WORD.finditer(text), 1):
        place = f"word {number} ({found[0][:40]!r}, column {found.start() + 1}) of the caller's script"
        if steps and isinstance(steps[-1], Hangup):
            raise ScriptError(f"{place} comes after the hangup: take it out or put it before")
        steps.append(_step(_unquoted(found[0], place), place))
    return steps


def write(steps: Iterable[Step]) -> str:
    """Write steps as a script."""
    return " ".join(map(_word, steps))


def _unquoted(word: str, place: str) -> str:
    parts = _QUOTED.split(word)  # what is quoted has an odd number
    if any('"' in part for part in parts[::2]):
        raise ScriptError(f"{place} has a quote that is not closed")
    return "".join(re.sub(r"\\(.)", r"\1", part, flags=re.DOTALL) if at % 2 else part for at, part in enumerate(parts))


def _step(word: str, place: str) -> Step:
    name, colon, value = word.partition(":")
    match name:
        case "wait":
            if not value:
                raise ScriptError(f"{place} names no prompt: write wait:PROMPT")
            return Wait(value)
        case "tap":
            return Tap(_keys(value, f"{place} needs keys behind the colon, of {KEYS}"))
        case "pause" | "patience":
            seconds = _seconds(value, place)
            return Pause(seconds) if name == "pause" else Patience(seconds)
        case "hangup":
            return Hangup(_seconds(value, place) if colon else 0.0)
    return Press(_keys(word, f"{place} is neither keys ({KEYS}) nor one of {_OTHERS}"))


def _keys(word: str, otherwise: str) -> str:
    keys = word.upper()
    if not keys or any(key not in KEYS for key in keys):
        raise ScriptError(otherwise)
    return keys


def _seconds(value: str, place: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= _LONGEST_S:  # also where it is no number
        raise ScriptError(f"{place} needs seconds behind the colon, from 0 to {_LONGEST_S:.0f}")
    return seconds


def _word(step: Step) -> str:
    match step:
        case Press(keys):
            return keys
        case Tap(keys):
            return f"tap:{keys}"
        case Wait(prompt):
            return f"wait:{_quoted(prompt)}"
        case Pause(seconds):
            return f"pause:{_number(seconds)}"
        case Hangup(after):
            return f"hangup:{_number(after)}" if after else "hangup"
        case Patience(seconds):
            return f"patience:{_number(seconds)}"


def _quoted(prompt: str) -> str:
    if not re.search(r'[\s"]', prompt):
        return prompt
    return '"' + re.sub(r'(["\\])', r"\\\1", prompt) + '"'


def _number(seconds: float) -> str:
    # The shortest text that reads as the same number, without an exponent's sign for anything a caller does.
    return repr(seconds).removesuffix(".0")
