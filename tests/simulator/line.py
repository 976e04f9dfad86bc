"""A channel and a child that always reads: what the tests of the model talk through."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ivrd.simulator.channel import Channel
from ivrd.simulator.records import Outcome
from ivrd.simulator.sounds import Sounds, SoundTable

# Every line that Asterisk can send, and nothing else.
EVENT = re.compile(
    rb"(?:[0-9A-D*#],\d{10}"  # a key
    rb"|[FTDPG],\d{10},[^\n\0]*"
    rb"|Z,\d{10}(?:,[^\n\0]+)?"
    rb"|I,\d{10},HANGUP"
    rb"|[HE],\d{10})\n"
)

SECONDS: Mapping[str, float] = {"welcome": 2.0, "menu": 3.0, "bye": 1.0, "click": 0.1}


class Line:
    """Time starts at 0 and goes where `wait` takes it; events are kept as (tag, data or `None`)."""

    def __init__(self, options: str = "", *, answered: bool = True, sounds: Sounds | None = None, **more: Any) -> None:
        self.now = 0.0
        self.events: list[tuple[str, str | None]] = []
        self.times: list[float] = []
        self.channel = Channel(
            ("/bin/app", "one"),
            options,
            answered=answered,
            sounds=sounds or SoundTable(SECONDS, missing={"nope"}, unopenable={"locked"}),
            **more,
        )
        self._take()

    def _take(self) -> None:
        while (line := self.channel.next_write()) is not None:
            assert EVENT.fullmatch(line), line
            parts = line[:-1].decode("utf-8", "surrogateescape").split(",", 2)
            self.events.append((parts[0], parts[2] if len(parts) == 3 else None))
            self.times.append(self.now)
            self.channel.wrote(len(line), self.now)

    def write(self, *lines: bytes | str) -> Line:
        """Each line in a write of its own, as in packet mode."""
        for line in lines:
            self.burst(line)
        return self

    def burst(self, *lines: bytes | str) -> Line:
        """All lines in one write."""
        data = b"".join(line if isinstance(line, bytes) else f"{line}\n".encode() for line in lines)
        self.channel.stdout(data, self.now)
        self._take()
        return self

    def raw(self, data: bytes) -> Line:
        self.channel.stdout(data, self.now)
        self._take()
        return self

    def stderr(self, data: bytes) -> Line:
        self.channel.stderr(data, self.now)
        self._take()
        return self

    def press(self, keys: str) -> Line:
        for key in keys:
            self.channel.key(key, self.now)
            self._take()
        return self

    def hangup(self) -> Line:
        self.channel.hangup(self.now)
        self._take()
        return self

    def wait(self, seconds: float) -> Line:
        """Let time pass, stopping at each deadline as a driver does."""
        until = self.now + seconds
        while (deadline := self.channel.next_deadline()) is not None and deadline <= until:
            assert deadline >= self.now
            self.now = deadline
            self.channel.advance(self.now)
            self._take()
        self.now = until
        self.channel.advance(self.now)
        self._take()
        return self

    def take(self) -> list[tuple[str, str | None]]:
        """The events since the last call."""
        events, self.events = self.events, []
        self.times = []
        return events

    @property
    def outcome(self) -> Outcome | None:
        return self.channel.ended.outcome if self.channel.ended else None

    @property
    def logged(self) -> list[str]:
        return [line.text for line in self.channel.log]
