"""What `app_externalivr.c` holds about one call, and what it does for each command.

The rule that holds here: each method is one branch of the loop in `eivr_comm`, with the same checks, events and log
lines in the same order. When a branch is reached, and what holds the loop up, is the affair of `channel`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Literal

from . import arguments
from .generator import TICK, Generator
from .records import Ending, Log, Outcome, SentDtmf, Trace
from .sounds import Sounds

__all__ = ["SLEEP_LATE", "Application"]

# By so much a sleep of the channel thread's takes longer on average where the generator's timer wakes it meanwhile:
# what is left of it is rounded up to the next millisecond each time.
SLEEP_LATE = 0.0005  # seconds


class Application:
    """The state of ExternalIVR() on one channel; `channel.Channel` is this with a thread and a clock.

    Args:
        argv: the command and its arguments, as in the dialplan.
        options: the dialplan's option letters, of `n`, `i` and `d`.
        answered: whether the channel is up.
        hung_up: whether it is gone.
        generator_fails: whether Asterisk cannot start a generator on the channel, which it hardly ever cannot.
        sounds: which prompts there are.
        variables: channel and global variables.
        now: the model's time, in seconds.
        epoch: what to add to the model's time to have Unix time.
        trace: told of every line in both directions.
    """

    __slots__ = (
        "_arguments",
        "_autoclear",
        "_busy_from",
        "_busy_until",
        "_epoch",
        "_generator",
        "_generator_fails",
        "_leaving",
        "_notices_at",
        "_options",
        "_outbox",
        "_sleeps",
        "_sounds",
        "_time",
        "_trace",
        "answered",
        "commands",
        "ended",
        "first_command_at",
        "function_writes",
        "hung_up",
        "log",
        "sent_dtmf",
        "variables",
    )

    def __init__(
        self,
        argv: Sequence[str],
        options: str,
        *,
        answered: bool,
        hung_up: bool,
        generator_fails: bool,
        sounds: Sounds,
        variables: Mapping[str, str],
        now: float,
        epoch: float,
        trace: Trace | None,
    ) -> None:
        self._arguments = arguments.parameters(argv)
        self._options = frozenset(options.split(",", 1)[0])
        self.answered = answered
        self.hung_up = hung_up
        self.variables: dict[str, str] = dict(variables)
        self.function_writes: list[tuple[str, str]] = []
        """Dialplan functions that `V` would have written, as (`CALLERID(name)`, value); recorded, not done."""
        self.log: list[Log] = []
        self.sent_dtmf: list[SentDtmf] = []
        self.commands = 0
        """How many lines from stdout were handled, ignored ones included."""
        self.first_command_at: float | None = None
        self.ended: Ending | None = None
        """Set once the thread has left ExternalIVR(): close all pipes now."""
        self._sounds = sounds
        self._generator = Generator(sounds, lambda time, text: self._say("WARNING", text, time))
        self._generator_fails = generator_fails
        self._autoclear = False
        self._outbox: list[bytes] = []  # events that the thread still has to write
        self._leaving: Ending | None = None  # the loop is left as soon as they are written
        self._busy_until: float | None = None  # the thread sleeps in a D, since `_busy_from`
        self._busy_from = now
        self._sleeps: list[arguments.Sleep] = []
        # A sleep notices the hangup by reading the channel, which only a queued frame or the generator's timer makes it
        # do; both are gone after that, and the next D takes its time.
        self._notices_at: float | None = now if hung_up else None
        self._time = now
        self._epoch = epoch
        self._trace = trace

    def _begin(self) -> None:
        """`app_exec` up to the fork: answer and start the generator, unless option `n` says not to."""
        if "n" in self._options:
            return
        if not self.answered and "d" in self._options:
            text = "Running ExternalIVR with 'd'ead flag on non-hungup channel isn't supported"
            self._say("ERROR", text)
            self._leave(Outcome.REFUSED, text)
            return
        self.answered = self.answered or not self.hung_up
        if self._generator_fails:
            self._say("ERROR", "Failed to activate generator")
            self._leave(Outcome.REFUSED, "Failed to activate generator")
            return
        self._start_generator()

    def _start_generator(self) -> None:
        self._generator.start(self._time)
        if self.hung_up:
            self._generator.stop(self._time)
            if self._notices_at is None:
                self._notices_at = self._time + TICK

    def _say(
        self, level: Literal["ERROR", "WARNING", "NOTICE", "SIMULATOR"], text: str, now: float | None = None
    ) -> None:
        self.log.append(Log(self._time if now is None else now, level, text))

    def _send(self, tag: str, data: str | bytes | None = None) -> None:
        """`send_eivr_event`: `tag,timestamp[,data]`, the timestamp in ten digits."""
        line = f"{tag},{int(self._epoch + self._time):10d}".encode()
        if data is not None:
            line += b"," + (data if isinstance(data, bytes) else data.encode("utf-8", "surrogateescape"))
        line += b"\n"
        if self._trace:
            self._trace(self._time, "event", line)
        self._outbox.append(line)

    def _leave(self, outcome: Outcome, detail: str) -> None:
        self._leaving = Ending(outcome, self._time, detail)
        self._generator.stop(self._time)
        if not self._outbox:
            self.ended = self._leaving

    def _flush_finished(self) -> None:
        """Tell what played to its end, as after each poll."""
        if self.answered:
            for name in self._generator.finished:
                self._send("F", name)
            self._generator.finished.clear()

    def _clear_playlist(self) -> None:
        for tag, name in self._generator.interrupt():
            self._send(tag, name)

    def _dtmf(self, key: str) -> None:
        """The caller's key: with autoclear its event comes before those of the interruption."""
        self._send(key)
        if self._autoclear:
            self._clear_playlist()

    def _command(self, line: bytes) -> None:
        """One line as read from the app's stdout."""
        self.commands += 1
        if self.first_command_at is None:
            self.first_command_at = self._time
        if self._trace:
            self._trace(self._time, "command", line)
        command = arguments.command(line)
        if len(command) < 3:
            return  # in silence: `P`, `H` and `E,` do nothing
        # The second byte is skipped whatever it is, and a letter that is no command is no error.
        handler = self._COMMANDS.get(command[:1])
        if handler:
            handler(self, arguments.text(command[2:]))

    def _usable(self, complaint: str) -> bool:
        if self.answered and not self.hung_up:
            return True
        self._say("WARNING", f"{complaint} called on unanswered channel")
        self._send("Z")
        return False

    def _exists(self, name: str) -> bool:
        if self._sounds.find(name) is not None:
            return True
        self._say("WARNING", f"Unknown file requested '{name}'")
        self._send("Z", name)
        return False

    def _parameters(self, _data: str) -> None:
        self._send("P", self._arguments)

    def _send_dtmf(self, data: str) -> None:
        digits, sleeps, illegal = arguments.sending_dtmf(data)
        late = SLEEP_LATE if self._generator.running else 0.0
        self._sleeps = [sleep._replace(seconds=sleep.seconds + late) for sleep in sleeps]
        for character in illegal:
            self._say("WARNING", f"Illegal DTMF character '{character}' in string. (0-9*#aAbBcCdD allowed)")
        if not self.hung_up:
            self.sent_dtmf.append(SentDtmf(self._time, digits))
        self._busy_from = self._time
        self._busy_until = self._time + sum(sleep.seconds for sleep in self._sleeps)
        self._notice_hangup()

    def _notice_hangup(self) -> None:
        """The hangup cuts the D short that is under way."""
        if self._busy_until is not None and self._notices_at is not None and self._notices_at < self._busy_until:
            after = max(0.0, self._notices_at - self._busy_from)
            self._busy_until = self._busy_from + arguments.sending_ends(self._sleeps, after)
            self._notices_at = None

    def _answer(self, _data: str) -> None:
        if not self.answered:
            if "d" in self._options or self.hung_up:
                self._say(
                    "WARNING",
                    "Running ExternalIVR with 'd'ead flag on non-hungup channel isn't supported"
                    if "d" in self._options
                    else "Failed to answer channel",
                )
                self._send("Z", "ANSWER_FAILURE")
                return
            self.answered = True
        if self._generator.started:
            return
        if self._generator_fails:
            self._say("WARNING", "Failed to activate generator")
            self._send("Z", "GENERATOR_FAILURE")
        else:
            self._start_generator()

    def _interrupt(self, _data: str) -> None:
        if self._usable("Queue 'I'nterrupt"):
            self._clear_playlist()

    def _set_queue(self, name: str) -> None:
        if self._usable("Queue re'S'et") and self._exists(name):
            self._clear_playlist()
            self._generator.append(name)

    def _append(self, name: str) -> None:
        if self._usable("Queue 'A'ppend") and self._exists(name):
            self._generator.append(name)

    def _get_variables(self, request: str) -> None:
        self._send("G", arguments.variable_values(request, self.variables))

    def _set_variables(self, data: str) -> None:
        for name, value in arguments.assignments(data):
            if name.endswith(")"):
                self.function_writes.append((name, value))
                self._say("SIMULATOR", f"dialplan function not written: {name}={value}")
            else:
                # Up to two underscores mean inheritance and are no part of the name.
                self.variables[name.removeprefix("_").removeprefix("_")] = value

    def _log_message(self, message: str) -> None:
        self._say("NOTICE", f"Log message from EIVR: {message}")

    def _exit(self, message: str) -> None:
        self._say("NOTICE", f"Exiting: {message}")
        self._send("E")
        self._leave(Outcome.CONTINUED, message)

    def _exit_deprecated(self, message: str) -> None:
        self._say("NOTICE", f"Exiting: {message}")
        self._say("WARNING", "e'X'it command is deprecated, use 'E'xit instead")
        self._leave(Outcome.CONTINUED, message)

    def _hang_up(self, message: str) -> None:
        self._say("NOTICE", f"Hanging up: {message}")
        self._send("H")
        self._leave(Outcome.HUNGUP_BY_APP, message)

    def _set_option(self, option: str) -> None:
        if self._usable("Option"):
            if option.lower() in ("autoclear", "noautoclear"):
                self._autoclear = option.lower() == "autoclear"
            else:
                self._say("WARNING", f"Unknown option requested: {option}")

    _COMMANDS: ClassVar[dict[bytes, Callable[[Application, str], None]]] = {
        b"P": _parameters,
        b"D": _send_dtmf,
        b"T": _answer,
        b"I": _interrupt,
        b"S": _set_queue,
        b"A": _append,
        b"G": _get_variables,
        b"V": _set_variables,
        b"L": _log_message,
        b"X": _exit_deprecated,
        b"E": _exit,
        b"H": _hang_up,
        b"O": _set_option,
    }
