"""What stands behind a command's letter, read as `app_externalivr.c` reads it.

The rule that holds here: pure functions, bytes cut where the C buffers end, nothing escaped and nothing refused,
because Asterisk does neither.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

__all__ = [
    "BLANKS",
    "Sleep",
    "assignments",
    "command",
    "parameters",
    "sending_dtmf",
    "sending_ends",
    "text",
    "variable_values",
]

PARAMETERS_LIMIT = 99
"""Bytes of the reply to `P`: a string buffer of 100 on the stack, which cannot grow."""

VALUES_LIMIT = 2047
"""Bytes of the reply to `G`: a buffer of 2,048."""

BLANKS = bytes(range(1, 33))
"""To `ast_strip` every byte under 33 is a blank."""

# sscanf("%30Lf%9s"): a number, then perhaps a unit.
_TIME = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(\S{1,9})?")
_UNITS = {"h": 3_600_000.0, "s": 1000.0, "m": 60_000.0, "ms": 1.0}


def text(data: bytes) -> str:
    """Bytes as text that turns into the same bytes again (`encode("utf-8", "surrogateescape")`)."""
    return data.decode("utf-8", "surrogateescape")


def command(line: bytes) -> bytes:
    """The command in a line as read: up to a NUL, trailing blanks off, *leading ones kept*.

    `ast_strip` returns where the text begins; the application ignores that and looks at the first byte, so ` P,1` is
    nothing.
    """
    return line.split(b"\0", 1)[0].rstrip(BLANKS)


def parameters(argv: Sequence[str]) -> bytes:
    """The reply to `P`: command and arguments joined by commas, cut at 99 bytes."""
    return ",".join(argv).encode("utf-8", "surrogateescape")[:PARAMETERS_LIMIT]


def variable_values(request: str, variables: Mapping[str, str]) -> bytes:
    """The reply to `G`: `name=value,…` for each name asked for, nothing escaped, cut at 2,047 bytes.

    A name is looked up as it stands: functions and names with a leading underscore come back empty.
    """
    reply = "".join(f"{name}={variables.get(name, '')}," for name in request.split(","))
    data = reply.encode("utf-8", "surrogateescape")[:VALUES_LIMIT]
    # Only one comma at the end goes, and after a cut it may be part of a value.
    return data[:-1] if data.endswith(b",") else data


def assignments(data: str) -> list[tuple[str, str]]:
    """The assignments in `V`: every comma begins the next one, only the first `=` divides, no `=` sets to nothing."""
    pairs = []
    for assignment in data.split(","):
        name, _, value = assignment.partition("=")
        pairs.append((name, value))
    return pairs


class Sleep(NamedTuple):
    """One of the sleeps that sending digits is made of."""

    seconds: float
    tone: bool
    """Whether a digit sounds meanwhile, and not a pause goes on."""


def sending_dtmf(data: str) -> tuple[str, list[Sleep], str]:
    """What `D` sends and what the channel thread sleeps through for it.

    Args:
        data: `digits[,interval[,duration]]`, in milliseconds unless a unit follows.

    Returns:
        The keys that are sent, the sleeps (a tone of `inf` seconds for a negative duration), the characters that are
        no keys.
    """
    digits, interval, duration = [*data.split(",", 2), "", ""][:3]
    pause = _milliseconds(interval)
    pause = 250 if pause <= 0 else pause
    hold = _milliseconds(duration)
    hold = math.inf if hold < 0 else max(100, hold)
    sleeps = [Sleep(0.1, tone=False)]  # a quiet time comes first
    sent, illegal = "", ""
    for character in digits:
        if character in "wW":
            sleeps.append(Sleep(0.5 if character == "w" else 1.0, tone=False))
        elif character in "0123456789*#abcdABCD":
            sent += character
            sleeps += [Sleep(hold / 1000, tone=True), Sleep(pause / 1000, tone=False)]
        elif character in "fF":  # a flash, no tone
            sleeps.append(Sleep(pause / 1000, tone=False))
        else:
            illegal += character
    return sent, sleeps, illegal


def sending_ends(sleeps: Sequence[Sleep], hangup: float) -> float:
    """When `D` is over, seconds after its start, if the hangup is noticed `hangup` seconds after it.

    The sleep that notices is cut short. A pause then ends it all, but nobody looks at how a tone's sleep ended: the
    remaining digits are sent to nobody, at full length, for the hangup is noticed only once.
    """
    end = 0.0
    noticed = False
    for sleep in sleeps:
        if noticed or hangup >= end + sleep.seconds:
            end += sleep.seconds
        elif sleep.tone:
            end, noticed = hangup, True
        else:
            return hangup
    return end


def _milliseconds(value: str) -> float:
    match = _TIME.match(value)
    if not match:
        return 0
    unit = (match[2] or "ms").lower()
    return math.trunc(min(float(match[1]) * _UNITS[unit], 2**31 - 1)) if unit in _UNITS else 0
