"""What went over the wire in a call, as it may be shown and kept: `ivrd dial --json`, `--save`, `ivrd trace --save`.

The rule that holds here: what is kept is fit to be seen. A secret key, and one of which it is not known what it was
for, is `*` from the start or becomes one; digits that were secret are `****` in every other line.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Literal, NamedTuple

import msgspec

from ivrd.errors import IvrdError
from ivrd.simulator.caller import SimulatedCall
from ivrd.worker.tap import MASKED, is_key, shown

__all__ = ["MASKED", "Line", "Recording", "Wire", "load", "save"]

_FIRST, _LAST = 18_000, 2_000  # lines; hours of an ordinary call


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


class _Heard(NamedTuple):
    """A line as it went, and the number of the key where it is the event of one."""

    at: float
    kind: Literal["event", "command", "stderr"]
    line: bytes
    key: int | None


class Wire:
    """Listens on the wire of a simulated call; to be given to its channel as `trace`.

    Of a call with more lines than it keeps, those in the middle are dropped: the first ones are for a replay, the last
    for whoever looks on.

    Args:
        first: how many lines to keep from the beginning.
        last: how many from the end.

    Attributes:
        call: the call, to be set as soon as there is one; it knows what is secret.
        dropped: lines that were not kept.
    """

    def __init__(self, first: int = _FIRST, last: int = _LAST) -> None:
        self.call: SimulatedCall | None = None
        self.dropped = 0
        self._keep = first
        self._keys = 0
        self._first: list[_Heard] = []
        self._last: deque[_Heard] = deque(maxlen=last)

    def __call__(self, at: float, kind: Literal["event", "command", "stderr"], line: bytes) -> None:
        """Take a line; see `simulator.records.Trace`."""
        heard = _Heard(at, kind, line, self._keys if is_key(kind, line) else None)
        self._keys += heard.key is not None
        if len(self._first) < self._keep:
            self._first.append(heard)
        else:
            self.dropped += len(self._last) == self._last.maxlen
            self._last.append(heard)

    def lines(self, last: int | None = None) -> list[Line]:
        """Give the lines as they may be shown, with a note where some were dropped.

        Args:
            last: how many, from the end; all when not given.
        """
        if last is not None:
            # The screen asks for them again and again.
            before = self._first[-(last - len(self._last)) :] if last > len(self._last) else []
            return [self._shown(heard) for heard in [*before, *self._last][-last:]]
        lines = [self._shown(heard) for heard in self._first]
        if self.dropped:
            lines.append(Line(lines[-1].at, "note", f"{self.dropped} lines were not kept"))
        return lines + [self._shown(heard) for heard in self._last]

    def _shown(self, heard: _Heard) -> Line:
        text = shown(heard.kind, heard.line)
        if self.call is not None:
            if heard.key is None:
                text = self.call.masked(text)
            elif self.call.key_fate(heard.key) != "public":
                text = MASKED
        return Line(round(heard.at, 3), heard.kind, text)


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
