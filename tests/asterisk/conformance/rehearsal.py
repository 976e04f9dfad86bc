"""Random scenarios that are fair: what comes of them does not hang on a tenth of a second.

The rule that holds here: the model itself says which are, by running them in no time on a virtual clock, again and
again with each action up to 90 ms later. Where the events change, the real thing may show one or the other.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from ivrd.simulator.channel import Channel
from ivrd.simulator.reader import READ_SIZE
from ivrd.simulator.sounds import Sounds
from tests.asterisk.conformance.scenario import KEY_GAP_S, KEY_LEAD_S, Scenario

__all__ = ["steady"]

_REHEARSALS = 8
_LATE_S = 0.09


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
        self._events: list[str] = []
        self._channel = Channel(
            ("/app",),
            scenario.options,
            answered=scenario.channel != "down",
            hung_up=scenario.channel == "dead",
            sounds=sounds,
        )

    def run(self, acts: Sequence[tuple[float, bytes | str]]) -> list[str]:
        self._move(0.0)
        for when, act in acts:
            while (deadline := self._channel.next_deadline()) is not None and deadline <= when:
                self._channel.advance(deadline)
                self._move(deadline)
            self._channel.advance(when)
            if isinstance(act, bytes):
                self._pipe.append(act)
            elif act == "hangup":
                self._channel.hangup(when)
            else:
                self._channel.key(act, when)
            self._move(when)
        return self._events

    def _move(self, now: float) -> None:
        """Take the events, and read the pipe as long as the thread does."""
        while not self._channel.ended:
            if (line := self._channel.next_write()) is not None:
                self._events.append(re.sub(r"^(.),\d{10}", r"\1,TIME", line.decode("utf-8", "replace")))
                self._channel.wrote(len(line), now)
            elif self._pipe and self._channel.wants[0]:
                self._channel.stdout(self._read(), now)
            else:
                return

    def _read(self) -> bytes:
        if self._packet:
            return self._pipe.pop(0)
        data = b"".join(self._pipe)
        self._pipe = [data[READ_SIZE:]] if data[READ_SIZE:] else []
        return data[:READ_SIZE]


def steady(scenario: Scenario, sounds: Sounds) -> bool:
    """Whether the events stay the same when the app's writes and the caller's actions come a little later."""
    chance = random.Random(scenario.program)
    first = None
    for rehearsal in range(_REHEARSALS):
        acts: list[tuple[float, bytes | str]] = []
        late: dict[float, float] = {}  # writes of the same moment stay together
        for when, data in _app_writes(scenario):
            late.setdefault(when, chance.random() * _LATE_S * (rehearsal > 0))
            acts.append((when + late[when], data))
        acts += [(when + chance.random() * _LATE_S * (rehearsal > 0), act) for when, act in _caller_acts(scenario)]
        events = _Rehearsal(scenario, sounds).run(sorted(acts, key=lambda act: act[0]))
        if first is None:
            first = events
        elif events != first:
            return False
    return True
