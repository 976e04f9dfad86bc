"""The audio half of the model: the playlist and the generator that plays it, 50 ticks a second.

The rule that holds here: nothing changes but at a tick. An append or an interruption takes effect at the next one, a
prompt is finished at the tick that finds no frame left, and ticks that a blocked channel thread misses are lost: the
prompt plays on later.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

from .sounds import SILENCE, Sounds

__all__ = ["TICK", "Generator", "Heard"]

TICK = 0.02
"""Seconds between two frames: the channel's timer runs at 50 Hz."""

_PER_SECOND = 50


class Heard:
    """One prompt as the caller heard it."""

    __slots__ = ("end", "how", "prompt", "start")

    def __init__(self, prompt: str, start: float) -> None:
        self.prompt = prompt
        self.start = start
        """When its first frame was played, in seconds of the model's clock."""
        self.end: float | None = None
        """When it ended, `None` while it plays."""
        self.how: Literal["playing", "finished", "interrupted", "cut off"] = "playing"
        """`cut off` when the call ended or left the application while it played."""

    def __repr__(self) -> str:
        end = "" if self.end is None else f"{self.end:.2f}"
        return f"<{self.prompt} {self.start:.2f}-{end} {self.how}>"


class Generator:
    """`playlist`, `finishlist` and the generator of `app_externalivr.c`, with its flags.

    Args:
        sounds: where prompts are looked up.
        warn: called with a time and the text for Asterisk's log.
    """

    __slots__ = (
        "_abort",
        "_current",
        "_end_tick",
        "_open",
        "_origin",
        "_running",
        "_silent",
        "_sounds",
        "_tick",
        "_warn",
        "finished",
        "heard",
        "playlist",
        "started",
    )

    def __init__(self, sounds: Sounds, warn: Callable[[float, str], None]) -> None:
        self._sounds = sounds
        self._warn = warn
        self.playlist: list[str] = []
        """Queued prompts; the one that plays stays at the head until it has finished."""
        self.finished: list[str] = []
        """Prompts that played to their end and whose `F` is still to be sent."""
        self.heard: list[Heard] = []
        self.started = False
        """`gen_active`: set once, and left set when the generator dies, so a second `T` does not revive it."""
        self._running = False
        self._abort = False
        self._silent = True  # before the first tick too: an interruption then gives D, not T
        self._open = False
        self._current: str | None = None
        self._origin = 0.0
        self._tick = 0  # the last tick that ran
        self._end_tick: float = 0  # the tick that will find the open file at its end

    @property
    def playing(self) -> str | None:
        """The prompt whose frames the caller now gets."""
        return self._current if self._running and self._open else None

    @property
    def running(self) -> bool:
        """Whether its timer wakes the channel thread."""
        return self._running

    def start(self, now: float) -> None:
        """Activate the generator; its first tick is 20 ms away."""
        self.started = self._running = True
        self._origin = now
        self._tick = 0

    def stop(self, now: float) -> None:
        """The channel is gone or the application was left: what played is cut off, or was being interrupted."""
        if self._running:
            self._close(now, "interrupted" if self._abort else "cut off")
            self._running = False

    def append(self, name: str) -> None:
        """Queue a prompt."""
        self.playlist.append(name)

    def interrupt(self) -> list[tuple[str, str]]:
        """Clear the playlist as `I`, `S` and autoclear do.

        Returns:
            The events to send, in order: (`T`, the playing prompt), then (`D`, each prompt behind it). No `T` in
            silence, nor while an earlier interruption waits for its tick: what was queued in between is dropped.
        """
        events: list[tuple[str, str]] = []
        if not self._abort and not self._silent and self.playlist:
            events.append(("T", self.playlist.pop(0)))
        events.extend(("D", name) for name in self.playlist)
        self.playlist.clear()
        if not self._silent:
            self._abort = True
        return events

    def due(self) -> float | None:
        """When the next tick is that changes something, `None` if nothing will."""
        tick = self._due_tick()
        return None if tick is None else self._origin + tick / _PER_SECOND

    def next_tick(self) -> float:
        """When the timer next wakes the channel thread, whether or not anything changes."""
        return self._origin + (self._tick + 1) / _PER_SECOND

    def run(self, now: float) -> None:
        """Run the ticks up to `now`, at most one of which may be `due`."""
        if not self._running:
            return
        due, last = self._due_tick(), self._tick_at(now)
        if due is not None and due <= last:
            self._tick = due
            if not self._read_frame(self._origin + due / _PER_SECOND):
                # gen_generate returns -1: Asterisk deactivates the generator for good and tells nobody.
                self._close(now, "cut off")
                self._running = False
        self._tick = max(self._tick, last)

    def skip(self, now: float) -> None:
        """The channel thread was blocked until `now`: the ticks since the last one are lost."""
        last = self._tick_at(now)
        if self._running and last > self._tick:
            self._end_tick += last - self._tick
            self._tick = last

    def _tick_at(self, now: float) -> int:
        # The small addend keeps a time that is meant to be a tick from falling just before it.
        return math.floor((now - self._origin) * _PER_SECOND + 1e-4)

    def _due_tick(self) -> int | None:
        if not self._running:
            return None
        if not self._open or self._abort or (self._silent and self.playlist):
            return self._tick + 1
        return None if self._end_tick == math.inf else max(self._tick + 1, int(self._end_tick))

    def _read_frame(self, now: float) -> bool:
        """`gen_readframe`: False when there is no frame to play, which ends the generator."""
        if self._abort or (self._silent and self.playlist):
            self._next_file(now)
        if self._open and self._tick < self._end_tick:
            return True
        if self._current is not None:
            self._close(now, "finished")
            self.playlist.pop(0)
            self.finished.append(self._current)
            self._current = None
        # A file without a frame right behind another one has no second chance: the generator dies.
        return self._next_file(now) and self._tick < self._end_tick

    def _next_file(self, now: float) -> bool:
        self._close(now, "interrupted")
        self._abort = self._silent = False
        while not self._open:
            self._current = self.playlist[0] if self.playlist else None
            self._silent = self._current is None
            name = SILENCE if self._current is None else self._current
            sound = self._sounds.find(name)
            if sound is None or sound.seconds is None:
                # It leaves the playlist with no event at all: an app that waits for its F waits for ever.
                self._warn(now, f"File '{name}' could not be opened: No such file or directory")  # whatever the cause
                if self._silent:
                    return False
                self.playlist.pop(0)
                continue
            self._open = True
            frames = math.ceil(sound.seconds * _PER_SECOND - 1e-6)
            # Silence is opened again and again without a trace, so to the model it has no end.
            self._end_tick = math.inf if self._silent and frames else self._tick + frames
            if self._current is not None:
                self.heard.append(Heard(self._current, now))
        return True

    def _close(self, now: float, how: Literal["finished", "interrupted", "cut off"]) -> None:
        if self._open and self._current is not None and self.heard and self.heard[-1].end is None:
            self.heard[-1].end = now
            self.heard[-1].how = how
        self._open = False
