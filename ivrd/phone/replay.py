"""Playing a recorded caller again, and saying where the app now behaves differently; pure.

The rule that holds here: a caller reacts to prompts, so a key is pressed as long after the prompt that played as it was
then, not at the same moment of the call. What the app says is compared line by line, times left aside. Prompts that say
digits are covered once a call has a secret; here they are so from its start, for a name must be the same in all lines.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import msgspec

from ivrd.errors import IvrdError
from ivrd.phone.recording import MASKED, Line, Recording
from ivrd.simulator.generator import TICK
from ivrd.simulator.masking import MASK, hide_keys
from ivrd.simulator.records import KEYS
from ivrd.simulator.script import PATIENCE_S, Hangup, Patience, Pause, Step, Tap, Wait
from ivrd.simulator.sounds import DEFAULT_SECONDS, SoundTable
from ivrd.worker.secrets import COVER, cover_spoken
from ivrd.worker.session import CALL_ID

__all__ = ["cautions", "differences", "script_of", "sounds_of", "variables_of"]

_LEAST_PAUSE_S = 0.001
_LATE = 0.1  # of a tick, by which an event may be read late
_OWN = (f"V,{CALL_ID}=", "L,ivrd call ")
"""How lines begin that ivrd itself says, and that tell one call from another."""


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
    acts = [_Act(at, number, Wait(prompt.name)) for prompt, at, number in _played(_queued(lines))]
    for number, line in enumerate(lines):
        if line.kind != "event":
            continue
        if line.text == MASKED or (len(line.text) == 1 and line.text in KEYS):
            acts.append(_Act(line.at, number, Tap(next(secrets) if line.text == MASKED else line.text)))
        elif line.text == "I,HANGUP" or (line.text == "H" and not _says(lines, line, "H")):
            acts.append(_Act(line.at, number, Hangup()))
            break
    acts.sort(key=lambda act: (act.at, act.number))
    while acts and isinstance(acts[-1].step, Wait):
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


class _Act(NamedTuple):
    """What somebody does: when, at which line of the recording, and what."""

    at: float
    number: int
    step: Step


def _steps(acts: Sequence[_Act]) -> Iterator[Step]:
    """Give what somebody does at these times, each as long behind the one before."""
    times = [0.0, *(act.at for act in acts)]
    longest = max((later - sooner for sooner, later in pairwise(times)), default=0.0)
    if longest > PATIENCE_S / 2:
        yield Patience(round(2 * longest))
    before = 0.0
    for when, _, step in acts:
        if isinstance(step, Wait):
            before = when + TICK  # the generator begins it at its next tick
            yield step
            continue
        pause = round(max(0.0, when - before), 3)
        before = max(when, before)
        if isinstance(step, Hangup):
            yield Hangup(pause)
            return
        if pause >= _LEAST_PAUSE_S:
            yield Pause(pause)
        yield step


@dataclass
class _Queued:
    """A prompt that the app queued.

    Attributes:
        name: its name.
        at: when it was queued.
        number: at which line.
        fate: the letter of the event that told its end, "" when none has.
        told: when that event came, and at which line.
    """

    name: str
    at: float
    number: int
    fate: str = ""
    told: tuple[float, int] = (0.0, 0)


def _queued(lines: Sequence[Line]) -> list[_Queued]:
    """Give the prompts that the app queued, with their fates.

    What an event says of a prompt may stand behind commands that the app gave later, for they cross on the wire.
    """
    queued: list[_Queued] = []
    for number, line in enumerate(lines):
        letter, _, data = line.text.partition(",")
        if line.kind == "command" and letter in ("A", "S") and data:
            queued.append(_Queued(data, line.at, number))
        elif line.kind == "event" and letter in ("F", "T", "D", "Z") and data:
            found = next((one for one in queued if one.name == data and not one.fate), None)
            if found is not None:
                found.fate, found.told = letter, (line.at, number)
        elif line.kind == "event" and line.text == "I,HANGUP" and (playing := _playing(queued)) is not None:
            playing.fate, playing.told = "T", (line.at, number)  # its end is not told any more
        elif line.kind == "event" and line.text == "Z":
            # The channel is not up, so that none of these was taken.
            for one in queued:
                one.fate = one.fate or "Z"
    return queued


class _Played(NamedTuple):
    """A prompt that the caller heard, and from when on it could begin, at the next tick."""

    prompt: _Queued
    at: float
    number: int


def _played(queued: Sequence[_Queued]) -> list[_Played]:
    playing = _playing(queued)
    played: list[_Played] = []
    free = (0.0, 0)  # from when on the next one can play
    for one in queued:
        if one.fate in ("F", "T") or one is playing:
            played.append(_Played(one, *max((one.at, one.number), free)))
            ended, number = one.told
            # The end of a prompt is told a tick after the next one has begun.
            free = (ended - 2 * TICK, number) if one.fate == "F" else (0.0, 0)
    return played


def _playing(queued: Sequence[_Queued]) -> _Queued | None:
    """Give the one that still plays behind those whose end was told, if there is one."""
    return next((one for one in queued[_last_told(queued) + 1 :] if not one.fate), None)


def _last_told(queued: Sequence[_Queued]) -> int:
    return max((number for number, one in enumerate(queued) if one.fate in ("F", "T")), default=-1)


def sounds_of(recording: Recording) -> SoundTable:
    """Give the prompts as they were: how long those played that were heard to their end, and which were not there.

    One that was interrupted is taken to go on for another second at least; any other plays as long as an unknown one.
    """
    queued = _queued(_evenly_covered(recording.lines))
    end = max((line.at for line in recording.lines), default=0.0)
    whole: dict[str, float] = {}
    part: dict[str, float] = {}
    for prompt, at, _ in _played(queued):
        if prompt.fate == "F":
            ticks = max(1, math.ceil((prompt.told[0] - at) / TICK - 2 - _LATE))
            whole[prompt.name] = min(ticks * TICK, whole.get(prompt.name, math.inf))
        else:
            heard = (prompt.told[0] if prompt.fate else end) - at
            part[prompt.name] = max(heard + DEFAULT_SECONDS, part.get(prompt.name, 0.0))
    return SoundTable(
        part | whole,
        missing={line.text[2:] for line in recording.lines if line.kind == "event" and line.text.startswith("Z,")},
        unopenable=set() if recording.dropped else _unopenable(queued) - whole.keys() - part.keys(),
    )


def _unopenable(queued: Sequence[_Queued]) -> set[str]:
    """Give those of which nothing was told, before one whose end was: their files could not be opened."""
    return {one.name for one in queued[: _last_told(queued)] if not one.fate}


def variables_of(recording: Recording) -> dict[str, str]:
    """Give the variables that the app asked for, as they were when it first asked for each; no masked ones."""
    return {name: value for name, value in _answers(recording).items() if MASK not in value}


def cautions(recording: Recording, given: Collection[str] = ()) -> list[str]:
    """Give what of a recording will not be as it was, a line for each thing.

    Args:
        recording: the call.
        given: the variables that have been given by hand.
    """
    told = []
    if recording.since:
        told.append(
            f"the recording begins {recording.since:.1f} s after the call did: what was before cannot be played, and "
            f"shows as a difference"
        )
    if recording.dropped:
        told.append(f"{recording.dropped} lines are missing from the recording: differences may come of that")
    masked = [name for name, value in _answers(recording).items() if MASK in value and name not in given]
    if masked:
        told.append(f"the recording hides what was in {', '.join(masked)}: give it with --set NAME=VALUE")
    return told


def differences(then: Recording, now: Recording, keys: Sequence[str] = ()) -> list[str]:
    """Compare what the app said: commands in their order, and the result where both sides know it.

    Args:
        then: the recording.
        now: the call with the same caller.
        keys: the keys that this caller pressed. Where one side masks whatever could be one, both do.

    Returns:
        Lines for a person, `-` what it said then, `+` what it says now, with some of what is around; empty when all is
        as it was.
    """
    lines = _evenly_covered([*then.lines, *now.lines])
    before, after = _said(lines[: len(then.lines)]), _said(lines[len(then.lines) :])
    if then.keys_hidden or now.keys_hidden:
        before, after = ([_covered(text, keys) for text in said] for said in (before, after))
    if not _is_whole(then):
        after = after[: len(before)]
    elif then.result and now.result:
        before.append(f"result: {then.result}")
        after.append(f"result: {now.result}")
    return list(difflib.unified_diff(before, after, "then", "now", lineterm="", n=3))[2:]


def _answers(recording: Recording) -> dict[str, str]:
    values: dict[str, str] = {}
    for line in recording.lines:
        if line.kind == "event" and line.text.startswith("G,"):
            name, _, value = line.text[2:].partition("=")
            values.setdefault(name, value)
    return values


def _said(lines: Sequence[Line]) -> list[str]:
    return [line.text for line in lines if line.kind == "command" and not line.text.startswith(_OWN)]


def _evenly_covered(lines: Sequence[Line]) -> Sequence[Line]:
    if not any(f"digits/{COVER}" in line.text for line in lines):
        return lines
    return [msgspec.structs.replace(line, text=cover_spoken(line.text)) for line in lines]


def _covered(text: str, keys: Sequence[str]) -> str:
    # Of a run of digits a part is masked or all of it, as much as was known.
    return re.sub(r"[0-9*#]*\*{4}[0-9*#]*", MASK, hide_keys(text, keys))


def _is_whole(recording: Recording) -> bool:
    """Whether it goes to the call's end; who looked may have left before."""
    return bool(recording.result) or any(line.kind == "event" and line.text in ("H", "E") for line in recording.lines)


def _says(lines: Sequence[Line], event: Line, letter: str) -> bool:
    """Whether the app said it before that event."""
    return any(line.kind == "command" and line.text[:1] == letter and line.at <= event.at for line in lines)
