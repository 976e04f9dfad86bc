"""What went over the wire in a call, as it may be shown and kept: `ivrd dial --json`, `--save`, `ivrd trace --save`.

The rule that holds here: what is kept is fit to be seen. A secret key, and one of which it is not known what it was
for, is `*` from the start or becomes one; digits that were secret are `****` in every other line.
"""

from __future__ import annotations

import os
from typing import Literal

import msgspec

from ivrd.errors import IvrdError
from ivrd.simulator.caller import SimulatedCall
from ivrd.worker.tap import MASKED, is_key, shown

__all__ = ["MASKED", "Line", "Recording", "Wire", "load", "save"]

_KEPT = 20_000  # lines; hours of an ordinary call


class Line(msgspec.Struct, frozen=True):
    """One line on the wire.

    Attributes:
        at: seconds since the call began.
        kind: who said it; `note` is a word of ivrd's own.
        text: the line as it went, without its newline and, in events, without the time stamp.
    """

    at: float
    kind: Literal["event", "command", "stderr", "note"]
    text: str


class Recording(msgspec.Struct, kw_only=True):
    """A call.

    Attributes:
        version: of this format.
        app: its app.
        args: what the dialplan passed.
        options: the dialplan's option letters, where they are known.
        lines: what went over the wire, in order.
        result: how it ended; "" where that is not known.
        since: seconds of the call that had gone by when somebody began to look; 0 where its beginning is there.
        dropped: lines that are missing, since they came too fast or were too many.
        keys_hidden: nothing was known of what keys were for, so that everything that could be one is masked; see
            `simulator.masking`.
    """

    version: Literal[1] = 1
    app: str
    args: tuple[str, ...] = ()
    options: str = ""
    lines: list[Line]
    result: str = ""
    since: float = 0.0
    dropped: int = 0
    keys_hidden: bool = False


class Wire:
    """Listens on the wire of a simulated call; to be given to its channel as `trace`.

    Attributes:
        call: the call, to be set as soon as there is one; it knows what is secret.
    """

    def __init__(self) -> None:
        self.call: SimulatedCall | None = None
        # Time, who said it, the line, and whether it is the event of a key: the screen looks at them again and again.
        self._lines: list[tuple[float, Literal["event", "command", "stderr"], bytes, bool]] = []
        self.dropped = 0

    def __call__(self, at: float, kind: Literal["event", "command", "stderr"], line: bytes) -> None:
        """Take a line; see `simulator.records.Trace`."""
        if len(self._lines) < _KEPT:
            self._lines.append((at, kind, line, is_key(kind, line)))
        else:
            self.dropped += 1

    def lines(self, last: int | None = None) -> list[Line]:
        """Give the lines as they may be shown.

        Args:
            last: how many, from the end; all when not given.
        """
        first = 0 if last is None else max(0, len(self._lines) - last)
        number = sum(key for *_, key in self._lines[:first])
        lines = []
        for at, kind, line, key in self._lines[first:]:
            text = shown(kind, line)
            if key:
                if self.call is not None and self.call.key_fate(number) != "public":
                    text = MASKED
                number += 1
            elif self.call is not None:
                text = self.call.masked(text)
            lines.append(Line(round(at, 3), kind, text))
        if self.dropped:
            lines.append(Line(lines[-1].at, "note", f"{self.dropped} further lines were not kept"))
        return lines


def save(path: str, recording: Recording) -> None:
    """Write a recording to a file that only its owner can read.

    Raises:
        IvrdError: it cannot be written.
    """
    data = msgspec.json.format(msgspec.json.encode(recording)) + b"\n"
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            os.fchmod(file.fileno(), 0o600)  # one that is there already may be open to others
            file.write(data)
    except OSError as error:
        raise IvrdError(f"{path}: {error.strerror}; the recording was not written") from None


def load(path: str) -> Recording:
    """Read a recording.

    Raises:
        IvrdError: it cannot be read, or is none.
    """
    try:
        with open(path, "rb") as file:
            return msgspec.json.decode(file.read(), type=Recording)
    except OSError as error:
        raise IvrdError(f"{path}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise IvrdError(
            f"{path} is no recording: {error}; make one with `ivrd trace --save` or `dial --save`"
        ) from None
