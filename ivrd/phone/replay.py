"""Playing a recorded caller again, and saying where the app now behaves differently; pure.

The rule that holds here: a caller reacts to prompts, so a key is pressed as long after the prompt that played as it was
then, not at the same moment of the call. What the app says is compared line by line, times left aside. Prompts that say
digits are covered once a call has a secret; here they are so from its start, for a name must be the same in all lines.
They are not waited for: the pauses before and behind them become one.
"""

from __future__ import annotations

import difflib
from collections import deque
from collections.abc import Sequence

import msgspec

from ivrd.errors import IvrdError
from ivrd.phone.recording import MASKED, Line, Recording
from ivrd.simulator.records import KEYS
from ivrd.simulator.script import Hangup, Pause, Press, Step, Wait
from ivrd.worker.secrets import COVER, cover_spoken

__all__ = ["differences", "script_of", "variables_of"]


def script_of(recording: Recording, secret: str = "") -> list[Step]:
    """Give what the caller of a recording did.

    Args:
        recording: the call.
        secret: the digits that it does not show, in order.

    Returns:
        Steps for `SimulatedCall.follow`.

    Raises:
        IvrdError: there are not as many secret digits as the recording hides.
    """
    hidden = sum(line.kind == "event" and line.text == MASKED for line in recording.lines)
    if hidden != len(secret):
        raise IvrdError(
            f"the recording hides {hidden} keys and {len(secret)} were given: give all in one, as --secret DIGITS"
        )
    secrets = iter(secret)
    steps: list[Step] = []
    queue: deque[str] = deque()
    acted = 0.0  # when the caller last did something, or a prompt began

    def begins(prompt: str, at: float) -> None:
        nonlocal acted
        if COVER not in prompt:
            steps.append(Wait(prompt))
            acted = at

    lines = _evenly_covered(recording.lines)
    for line in lines:
        letter, _, data = line.text.partition(",")
        if line.kind == "command":
            if letter == "S":
                queue.clear()
            if letter in ("A", "S"):
                queue.append(data)
                if len(queue) == 1:
                    begins(data, line.at)
        elif line.kind == "event":
            if letter in ("F", "T", "D", "Z") and data in queue:
                plays = queue[0]
                queue.remove(data)
                if letter == "Z" and data == plays and COVER not in data:
                    steps.remove(Wait(data))  # there is no such prompt, so it never began
                if queue and data == plays and letter in ("F", "Z"):
                    begins(queue[0], line.at)
            elif letter == MASKED or (letter in KEYS and not data):
                steps += [*_pause(line.at - acted), Press(next(secrets) if letter == MASKED else letter)]
                acted = line.at
            elif line.text == "I,HANGUP" or (letter == "H" and not _says(lines, line, "H")):
                steps.append(Hangup(round(max(0.0, line.at - acted), 2)))
                break
    return steps


def variables_of(recording: Recording) -> dict[str, str]:
    """Give the variables that the app asked for, as they were when it first asked for each."""
    values: dict[str, str] = {}
    for line in recording.lines:
        if line.kind == "event" and line.text.startswith("G,"):
            name, _, value = line.text[2:].partition("=")
            values.setdefault(name, value)
    return values


def differences(then: Recording, now: Recording) -> list[str]:
    """Compare what the app said: commands in their order, and the result.

    Returns:
        Lines for a person, `-` what it said then, `+` what it says now, with some of what is around; empty when all is
        as it was.
    """
    lines = _evenly_covered([*then.lines, *now.lines])
    before = _said(lines[: len(then.lines)], then.result)
    after = _said(lines[len(then.lines) :], now.result)
    if not then.result:
        after = after[: len(before)]  # who looked left before the call's end
    return list(difflib.unified_diff(before, after, "then", "now", lineterm="", n=3))[2:]


def _said(lines: Sequence[Line], result: str) -> list[str]:
    said = [line.text for line in lines if line.kind == "command"]
    return [*said, f"result: {result}"] if result else said


def _evenly_covered(lines: Sequence[Line]) -> Sequence[Line]:
    if not any(f"digits/{COVER}" in line.text for line in lines):
        return lines
    return [msgspec.structs.replace(line, text=cover_spoken(line.text)) for line in lines]


def _pause(seconds: float) -> list[Step]:
    return [Pause(round(seconds, 2))] if seconds >= 0.02 else []


def _says(lines: Sequence[Line], event: Line, letter: str) -> bool:
    """Whether the app said it before that event."""
    return any(line.kind == "command" and line.text[:1] == letter and line.at <= event.at for line in lines)
