"""Asterisk's side of one ExternalIVR call: the channel thread of `app_externalivr.c` as a pure state machine.

The rule that holds here: the model is one thread that does one thing at a time, and the clock is an argument. Whatever
holds the real thread up (an event that the pipe will not take, part of a line, digits that are being sent) holds the
model up: no command, no key, no hangup and, except while sending digits, no audio goes on meanwhile. Whoever drives it
writes what `next_write` gives and reports that with `wrote`, feeds what the reads return, and calls `advance` no later
than `next_deadline`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from . import arguments
from .application import Application
from .generator import Heard
from .reader import StreamReader
from .records import KEYS, Outcome, Trace
from .sounds import Sounds, SoundTable

__all__ = ["KEY_LOST", "Channel"]

KEY_LOST = "a key was lost: the channel thread was sending DTMF"
"""What is in a call's log for each key that was pressed in vain."""


class Channel(Application):
    """One channel in ExternalIVR().

    Args:
        argv: the command and its arguments, as in the dialplan.
        options: the dialplan's option letters, of `n`, `i` and `d`.
        answered: whether the channel is up before ExternalIVR() starts.
        hung_up: whether it is gone already (the `h` extension, for option `d`).
        generator_fails: whether Asterisk cannot start a generator on it: without option `n` the app is not started,
            else `T` answers `Z` with `GENERATOR_FAILURE`.
        sounds: which prompts there are; a `SoundTable()` when not given: every name exists and plays for a second.
        variables: channel and global variables at the start.
        burst_stall: True for Asterisk as it is (issue 2148), False for one that works off its buffer.
        patience: seconds that the thread may be stuck before the call ends as `deadlocked`.
        now: the model's time, in seconds.
        epoch: what to add to the model's time to have Unix time, for the timestamps in events.
        trace: told of every line in both directions.
    """

    __slots__ = (
        "_blocked_since",
        "_burst_stall",
        "_hangup_told",
        "_keys",
        "_patience",
        "_reading",
        "_stderr",
        "_stdout",
        "_write_blocked",
    )

    def __init__(
        self,
        argv: Sequence[str] = ("/bin/app",),
        options: str = "",
        *,
        answered: bool = False,
        hung_up: bool = False,
        generator_fails: bool = False,
        sounds: Sounds | None = None,
        variables: Mapping[str, str] | None = None,
        burst_stall: bool = True,
        patience: float = math.inf,
        now: float = 0.0,
        epoch: float = 1_800_000_000.0,
        trace: Trace | None = None,
    ) -> None:
        super().__init__(
            argv,
            options,
            answered=answered,
            hung_up=hung_up,
            generator_fails=generator_fails,
            sounds=SoundTable() if sounds is None else sounds,
            variables=variables or {},
            now=now,
            epoch=epoch,
            trace=trace,
        )
        self._stdout, self._stderr = StreamReader(), StreamReader()
        self._keys: list[str] = []
        self._burst_stall = burst_stall
        self._hangup_told = False
        self._reading: StreamReader | None = None  # the stream of which the thread waits for the rest of a line
        self._write_blocked = False
        self._patience = patience
        self._blocked_since = now
        self._begin()
        self._live(now)

    # What the driver tells, and what it has to do

    def stdout(self, data: bytes, now: float) -> None:
        """The child wrote to its stdout.

        Args:
            data: what one read(2) returns, `b""` at EOF. In packet mode one read is one of the child's writes.
            now: the time.
        """
        self._feed(self._stdout, data, now)

    def stderr(self, data: bytes, now: float) -> None:
        """The child wrote to its stderr; as `stdout`. Where both have something, Asterisk takes stderr first."""
        self._feed(self._stderr, data, now)

    def polled(self, output: Literal["stdout", "stderr"], now: float) -> bool:
        """poll(2) reports that output: Asterisk takes a line that its buffer holds, and only without one does it read.

        What is left unread meanwhile is one read later, however many writes it was.

        Returns:
            Whether nothing is to be read now; when it is, give what the read returns to `stdout` or `stderr`.
        """
        self.advance(now)
        if not any(self.wants):
            return True
        stream = self._stdout if output == "stdout" else self._stderr
        if not stream.holds_line:
            return False
        self._flush_finished()
        self._handle(stream, self._time)
        self._live(now)
        return True

    def key(self, key: str, now: float) -> None:
        """The caller presses a key.

        Raises:
            ValueError: it is not one of `KEYS`.
        """
        if len(key) != 1 or key not in KEYS:
            raise ValueError(f"{key!r} is not a key: a caller can press one of {KEYS}")
        self.advance(now)
        if not self.hung_up:
            self._keys.append(key)
            self._live(now)

    def hangup(self, now: float) -> None:
        """The caller hangs up."""
        self.advance(now)
        if self.hung_up or self.ended:
            return
        polling = not self._held()
        self.hung_up = True
        self._generator.stop(now)  # frames are only played by ast_read, which is not called any more
        self._notices_at = now
        self._notice_hangup()
        if polling:
            self._flush_finished()  # the hangup wakes the poll, and F goes out before the flag is looked at
        self._live(now)

    def crash(self, now: float) -> None:
        """Asterisk dies: the call is over with no word to the app."""
        if self.ended is None:
            self._break_off(Outcome.CRASHED, "Asterisk died", now)

    def advance(self, now: float) -> None:
        """Let time pass up to `now`. Times never go back; an earlier one counts as the latest that was given."""
        self._live(now)
        if self._stuck and self.ended is None and now >= self._blocked_since + self._patience:
            self._break_off(Outcome.DEADLOCKED, self.blocked or "", now)

    def next_deadline(self) -> float | None:
        """When `advance` must be called at the latest, `None` when only input can change anything."""
        if self.ended:
            return None
        if self._stuck:
            until = self._blocked_since + self._patience
            return None if until == math.inf else until
        if self._outbox:
            return None
        if self._busy_until is not None:
            return None if self._busy_until == math.inf else self._busy_until
        return self._next_tick()

    def next_write(self) -> bytes | None:
        """What Asterisk's thread is writing to the child's stdin: an event or its rest, to be reported with `wrote`."""
        return self._outbox[0] if self._outbox else None

    def wrote(self, size: int, now: float) -> None:
        """The pipe took `size` bytes of `next_write`.

        Fewer than all of them: the thread is now blocked in its write(2). A pipe that nobody reads any more (EPIPE)
        counts as having taken all, because Asterisk does not look at the error.
        """
        rest = self._outbox[0][size:]
        if rest:
            if size or not self._write_blocked:
                self._blocked_since = now
            self._outbox[0] = rest
            self._write_blocked = True
            return
        self._outbox.pop(0)
        if self._outbox:
            return
        if self._write_blocked:
            self._write_blocked = False
            self._blocked_since = now
            self._thaw(now)
        if self._leaving:
            self.ended = self._leaving
        self._live(now)

    @property
    def wants(self) -> tuple[bool, bool]:
        """Whether the thread would now read (stdout, stderr); what it would not read must stay in the pipe."""
        if self.ended or self._outbox or self._busy_until is not None:
            return False, False
        return self._reading is not self._stderr, self._reading is not self._stdout

    # What a test or a caller wants to see

    @property
    def heard(self) -> list[Heard]:
        """The prompts that the caller heard, in order; the last may still be playing."""
        return self._generator.heard

    @property
    def playing(self) -> str | None:
        """The prompt that plays now."""
        return self._generator.playing

    @property
    def playlist(self) -> tuple[str, ...]:
        """The prompts that are queued, the one that plays first among them."""
        return tuple(self._generator.playlist)

    @property
    def state(self) -> Literal["down", "up", "hung up"]:
        """The channel's state."""
        return "hung up" if self.hung_up else "up" if self.answered else "down"

    @property
    def blocked(self) -> str | None:
        """What holds the thread up for ever unless the app moves, in words; `None` when nothing does."""
        if self._write_blocked:
            return "Asterisk is blocked writing an event: the app does not read its stdin"
        if self._reading is not None:
            name = "stdout" if self._reading is self._stdout else "stderr"
            return f"Asterisk is blocked reading the app's {name}: a line has no end"
        return None

    # The thread

    @property
    def _stuck(self) -> bool:
        return self._write_blocked or self._reading is not None

    def _held(self) -> bool:
        return bool(self._outbox) or self._stuck or self._busy_until is not None or self._leaving is not None

    def _thaw(self, now: float) -> None:
        """The thread was blocked until now: the ticks of that time are lost, and a `D` only begins."""
        if self._busy_until is not None:
            late = max(0.0, now - self._time)
            self._busy_from += late
            self._busy_until += late
        self._generator.skip(now)
        self._time = max(self._time, now)

    def _break_off(self, outcome: Outcome, detail: str, now: float) -> None:
        self._outbox.clear()
        self._time = max(self._time, now)
        self._leave(outcome, detail)

    def _feed(self, stream: StreamReader, data: bytes, now: float) -> None:
        self.advance(now)
        stream.feed(data)
        self._live(now)

    def _live(self, now: float) -> None:
        """Do everything that falls due up to `now`, as far as nothing holds the thread."""
        while True:
            while not self._held() and self._turn():
                pass
            if self._outbox or self._leaving:
                return
            if self._reading is not None:
                if not self._reading.readable:
                    return
                self._handle(self._reading, now)
            elif self._busy_until is not None:
                # ast_safe_sleep reads the channel, so audio goes on; the finished prompts are told afterwards.
                until = min(now, self._busy_until)
                self._play(until)
                self._time = max(self._time, until)
                self._lose_keys()
                if self._busy_until > now:
                    return
                self._busy_until = None
            else:
                tick = self._next_tick()
                if tick is None or tick > now:
                    self._generator.run(now)
                    self._time = max(self._time, now)
                    return
                self._time = max(self._time, tick)
                self._flush_finished()  # the timer wakes the poll; what finished a tick ago is told first
                self._generator.run(tick)

    def _play(self, now: float) -> None:
        while (due := self._generator.due()) is not None and due <= now:
            self._generator.run(due)
        self._generator.run(now)

    def _lose_keys(self) -> None:
        # ast_safe_sleep throws away every frame that it reads, control frames excepted; DTMF frames are not.
        # Which key it was is not said: here nobody knows of a secret, and this is told wherever the call is.
        for _ in self._keys:
            self._say("SIMULATOR", KEY_LOST)
        self._keys.clear()

    def _next_tick(self) -> float | None:
        return self._generator.next_tick() if self._generator.finished else self._generator.due()

    def _turn(self) -> bool:
        """One turn of the loop in `eivr_comm`: False when it would sleep in its poll."""
        if self.hung_up and not self._hangup_told and "d" not in self._options:
            if "i" not in self._options:
                self._send("H")
                self._leave(Outcome.HUNGUP_BY_CALLER, "the caller hung up")
                return False
            self._hangup_told = True
            self._send("I", b"HANGUP")
            return True
        # Of what is ready at once the last in the poll's list wins: stderr, stdout, the channel.
        if self._ready(self._stderr):
            stream = self._stderr
        elif self._ready(self._stdout):
            stream = self._stdout
        elif self._keys and self.answered and not self.hung_up:
            self._flush_finished()
            self._dtmf(self._keys.pop(0))
            return True
        else:
            return False
        self._flush_finished()
        self._handle(stream, self._time)
        return True

    def _ready(self, stream: StreamReader) -> bool:
        return stream.readable or (not self._burst_stall and stream.holds_line)

    def _handle(self, stream: StreamReader, now: float) -> None:
        line = stream.line()
        if line is None:
            if self._reading is None:
                self._blocked_since = now
            self._reading = stream
            return
        if self._reading is not None:
            self._reading = None
            self._thaw(now)
        if not line:
            self._say("ERROR", "Child process went away")
            name = "stdout" if stream is self._stdout else "stderr"
            self._leave(Outcome.WENT_AWAY, f"EOF on the app's {name}")
        elif stream is self._stderr:
            if self._trace:
                self._trace(self._time, "stderr", line)
            self._say("NOTICE", f"stderr: {arguments.text(arguments.command(line).lstrip(arguments.BLANKS))}")
        else:
            self._command(line)
