"""Random scenarios that are fair: what comes of them does not hang on a tenth of a second.

The rule that holds here: the model itself says which are, by running them in no time on a virtual clock, again and
again with each action a little earlier or later. Where something changes, the real thing may show one or the other.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from ivrd.simulator.channel import Channel
from ivrd.simulator.reader import READ_SIZE
from ivrd.simulator.sounds import Sounds
from tests.asterisk.conformance.scenario import KEY_GAP_S, KEY_LEAD_S, Scenario

__all__ = ["lively", "steady"]

_REHEARSALS = 7
_APP_LATE_S = (0.0, 0.1)
_CALLER_LATE_S = (-0.1, 0.15)
_MOVES_S = 0.25  # what follows an action moves with it, and no more than this
_SPARE_WRITES = 6
_LIVELY = 5


def _app_writes(scenario: Scenario) -> list[tuple[float, bytes]]:
    """What goes to stdout, with its time. `until` and the like have no place in a random scenario."""
    writes = []
    now = 0.0
    for step in scenario.program.splitlines():
        kind, _, text = step.partition(" ")
        if kind == "wait":
            now += float(text) / 1000
        elif kind == ">":
            writes.append((now, text.replace("\\n", "\n").encode() + b"\n"))
        elif kind != "packet":
            raise ValueError(f"{step!r} cannot be rehearsed")
    return writes


def _caller_acts(scenario: Scenario) -> list[tuple[float, str]]:
    acts = []
    now = 0.0
    for pause_ms, action in scenario.caller:
        now += pause_ms / 1000
        if action == "hangup":
            acts.append((now, action))
        else:
            acts.append((now + KEY_LEAD_S, action))
            now += KEY_LEAD_S + KEY_GAP_S
    return acts


class _Rehearsal:
    def __init__(self, scenario: Scenario, sounds: Sounds) -> None:
        self._packet = scenario.steps[0] == "packet"
        self._pipe: list[bytes] = []
        self.times: list[float] = []
        self._events: list[str] = []
        self._channel = Channel(
            ("/app",),
            scenario.options,
            answered=scenario.channel != "down",
            hung_up=scenario.channel == "dead",
            sounds=sounds,
        )

    def run(self, acts: Sequence[tuple[float, bytes | str]]) -> tuple[bool, list[str], list[str]]:
        """Whether the call was over by the end, the events, the log."""
        self._move(0.0)
        for when, act in acts:
            self._pass_time(when)
            if isinstance(act, bytes):
                self._pipe.append(act)
            elif act == "hangup":
                self._channel.hangup(when)
            else:
                self._channel.key(act, when)
            self._move(when)
        return self._channel.ended is not None, self._events, [line.text for line in self._channel.log]

    def _pass_time(self, until: float) -> None:
        while (deadline := self._channel.next_deadline()) is not None and deadline <= until:
            self._channel.advance(deadline)
            self._move(deadline)
        self._channel.advance(until)

    def _move(self, now: float) -> None:
        """Take the events, and read the pipe as long as the thread does."""
        while not self._channel.ended:
            if (line := self._channel.next_write()) is not None:
                self.times.append(now)
                self._events.append(re.sub(r"^(.),\d{10}", r"\1,TIME", line.decode("utf-8", "replace")))
                self._channel.wrote(len(line), now)
            elif self._pipe and self._channel.wants[0]:
                if not self._channel.polled("stdout", now):
                    self._channel.stdout(self._read(), now)
            else:
                return

    def _read(self) -> bytes:
        if self._packet:
            return self._pipe.pop(0)
        data = b"".join(self._pipe)
        self._pipe = [data[READ_SIZE:]] if data[READ_SIZE:] else []
        return data[:READ_SIZE]


def _delayed(scenario: Scenario, chance: random.Random | None) -> list[tuple[float, bytes | str]]:
    """What app and caller do, each a bit off its time if `chance` is given."""

    def off(limits: tuple[float, float]) -> float:
        return chance.uniform(*limits) if chance else 0.0

    acts: list[tuple[float, bytes | str]] = []
    late: dict[float, float] = {}  # writes of the same moment stay together
    for when, data in _app_writes(scenario)[:-_SPARE_WRITES]:
        late.setdefault(when, off(_APP_LATE_S))
        acts.append((when + late[when], data))
    acts += [(when + off(_CALLER_LATE_S), act) for when, act in _caller_acts(scenario)]
    return sorted(acts, key=lambda act: act[0])


def lively(scenario: Scenario, sounds: Sounds) -> bool:
    """Whether enough comes of it to be worth a call."""
    return len(_Rehearsal(scenario, sounds).run(_delayed(scenario, None))[1]) >= _LIVELY


def steady(scenario: Scenario, sounds: Sounds) -> bool:
    """Whether it comes to an end, and events and log stay the same when app and caller are a little off their times."""
    chance = random.Random(scenario.program)
    first = _Rehearsal(scenario, sounds)
    outcome = first.run(_delayed(scenario, None))
    if not outcome[0]:
        return False
    for _ in range(_REHEARSALS):
        other = _Rehearsal(scenario, sounds)
        if other.run(_delayed(scenario, chance)) != outcome:
            return False
        if any(abs(a - b) > _MOVES_S for a, b in zip(first.times, other.times, strict=True)):
            return False
    return True
