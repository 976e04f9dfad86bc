"""Playing a recorded caller again, and saying where the app now behaves differently; pure.

The rule that holds here: a caller reacts to prompts, so a key is pressed as long after the prompt that played as it was
then, not at the same moment of the call. What the app says is compared line by line, times left aside. Prompts that say
digits are covered once a call has a secret; here they are so from its start, for a name must be the same in all lines.
They are not waited for: the pauses before and behind them become one.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import msgspec

from ivrd.errors import IvrdError
from ivrd.phone.recording import MASKED, Line, Recording
from ivrd.simulator.generator import TICK
from ivrd.simulator.records import KEYS
from ivrd.simulator.script import PATIENCE_S, Hangup, Patience, Pause, Step, Tap, Wait
from ivrd.worker.secrets import COVER, cover_spoken

__all__ = ["differences", "script_of", "variables_of"]

_LEAST_PAUSE_S = 0.001


def script_of(recording: Recording, secret: str = "") -> list[Step]:
    """Give what the caller of a recording did.

    Args:
        recording: the call.
        secret: the digits that it does not show, in order.

    Returns:
        Steps for `SimulatedCall.follow`. A key takes no time of its own, so that pauses are what they were.

    Raises:
        IvrdError: there are not as many secret digits as the recording hides, or one is no key.
    """
    secrets = iter(_checked(recording, secret))
    lines = _evenly_covered(recording.lines)
    acts: list[tuple[float, Step]] = [(when, Wait(prompt)) for when, prompt in _begun(lines) if COVER not in prompt]
    for line in lines:
        if line.kind != "event":
            continue
        if line.text == MASKED or (len(line.text) == 1 and line.text in KEYS):
            acts.append((line.at, Tap(next(secrets) if line.text == MASKED else line.text)))
        elif line.text == "I,HANGUP" or (line.text == "H" and not _says(lines, line, "H")):
            acts.append((line.at, Hangup()))
            break
    acts.sort(key=lambda act: act[0])  # what comes at the same moment stays in this order: prompts first
    while acts and isinstance(acts[-1][1], Wait):
        del acts[-1]  # the caller did nothing more, and stays on the line whatever is played
    return list(_steps(acts))


def _checked(recording: Recording, secret: str) -> str:
    hidden = sum(line.kind == "event" and line.text == MASKED for line in recording.lines)
    secret = secret.upper()
    if wrong := set(secret) - set(KEYS):
        raise IvrdError(f"--secret {secret!r}: {min(wrong)!r} is no key; a caller can press {KEYS}")
    if hidden != len(secret):
        raise IvrdError(
            f"the recording hides {hidden} keys and {len(secret)} were given: give all in one, as --secret DIGITS"
        )
    return secret


def _steps(acts: Sequence[tuple[float, Step]]) -> Iterator[Step]:
    """Give what somebody does at these times, each as long behind the one before."""
    times = [0.0, *(when for when, _ in acts)]
    longest = max((later - sooner for sooner, later in pairwise(times)), default=0.0)
    if longest > PATIENCE_S / 2:
        yield Patience(round(2 * longest))
    before = 0.0
    for when, step in acts:
        pause = round(max(0.0, when - before), 3)
        before = max(when, before)
        if isinstance(step, Hangup):
            yield Hangup(pause)
            return
        if not isinstance(step, Wait) and pause >= _LEAST_PAUSE_S:
            yield Pause(pause)
        yield step


@dataclass
class _Queued:
    """A prompt that the app queued.

    Attributes:
        name: its name.
        at: when it was queued.
        fate: the letter of the event that told its end, "" when none has.
        ended: when that event came.
    """

    name: str
    at: float
    fate: str = ""
    ended: float = 0.0


def _begun(lines: Sequence[Line]) -> list[tuple[float, str]]:
    """Give the prompts that the caller heard, each with the time at which it began.

    What an event says of a prompt may stand behind commands that the app gave later, for they cross on the wire. So
    first each prompt's fate is looked up, and then it is asked when it can have begun.
    """
    queued: list[_Queued] = []
    for line in lines:
        letter, _, data = line.text.partition(",")
        if line.kind == "command" and letter in ("A", "S") and data:
            queued.append(_Queued(data, line.at))
        elif line.kind == "event" and letter in ("F", "T", "D", "Z") and data:
            found = next((one for one in queued if one.name == data and not one.fate), None)
            if found is not None:
                found.fate, found.ended = letter, line.at
        elif line.kind == "event" and line.text == "Z":
            # The channel is not up, so that none of these was taken.
            for one in queued:
                one.fate = one.fate or "Z"
    last = max((number for number, one in enumerate(queued) if one.fate in ("F", "T")), default=-1)
    # Behind those whose end was told one may have played to the end of the call. One before them was never told of: its
    # file could not be opened.
    playing = next((one for one in queued[last + 1 :] if not one.fate), None)
    heard: list[tuple[float, str]] = []
    free = 0.0  # from when on the next one can play
    for one in queued:
        if one.fate in ("F", "T") or one is playing:
            # It begins at the generator's next tick. The end of the one before is told a tick late.
            heard.append((max(one.at + TICK, free), one.name))
            free = one.ended - TICK if one.fate == "F" else 0.0
    return heard


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


def _says(lines: Sequence[Line], event: Line, letter: str) -> bool:
    """Whether the app said it before that event."""
    return any(line.kind == "command" and line.text[:1] == letter and line.at <= event.at for line in lines)
