"""Listening on one call's wire for an operator: what is read and written, fit to be seen.

The rule that holds here: a call that nobody looks at costs nothing, since a tap puts itself in the place of the
transport's functions and takes itself out again; one that is looked at waits for nobody. A key is told only when it is
known what it was for, or with its face covered, and digits that were secret are masked in every other line.
"""

from __future__ import annotations

from typing import Final, Literal, Protocol

import anyio

from ivrd import eivr
from ivrd.errors import AsteriskProtocolError
from ivrd.wire.messages import WireLine
from ivrd.worker.keys import Fate
from ivrd.worker.transport import StdioTransport

__all__ = ["MASKED", "Tap", "is_key", "shown"]

MASKED: Final = "?"
"""Stands in the event of a key for one that is not shown."""

_KEPT: Final = 1000  # lines that wait to be told; a slow listener misses what is beyond
_HELD_BACK_S: Final = 2.0  # for a key to be taken by the app
_MESSAGE_BYTES: Final = 60_000
_OVERHEAD: Final = 30  # bytes of a line's time and kind in a message
_LINE_BYTES: Final = 4096  # Asterisk's longest is half of that


class _Tapped(Protocol):
    """What a tap must know of a session."""

    @property
    def pressed(self) -> int:
        """How many keys came so far."""
        ...

    def key_fate(self, number: int) -> Fate:
        """Say what became of a key."""
        ...

    def masked(self, text: str) -> str:
        """Give the text without secret digits."""
        ...


class Tap:
    """A tap on one call, from now until `remove`.

    Args:
        session: the call.
        transport: its way to Asterisk.
        admitted: when the call was admitted, by the loop's clock.
    """

    def __init__(self, session: _Tapped, transport: StdioTransport, admitted: float) -> None:
        self.dropped = 0
        self._session = session
        self._transport = transport
        self._admitted = admitted
        self._rest = b""
        # Time, direction, line, and the number of the key where it is the event of one.
        self._waiting: list[tuple[float, Literal["event", "command"], bytes, int | None]] = []
        self._read, self._write = transport.read, transport.write
        transport.read, transport.write = self._read_and_tell, self._write_and_tell

    def remove(self) -> None:
        """Listen no more."""
        self._transport.read, self._transport.write = self._read, self._write

    def overhear(self, data: bytes) -> None:
        """Take what was read before this session had the call, or is being read."""
        number = self._session.pressed
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[:_LINE_BYTES]
        for line in lines:
            key = is_key("event", line)
            self._note("event", line, number if key else None)
            number += key

    def take(self, *, final: bool = False) -> list[WireLine]:
        """Give the lines that may be told by now, as many as fit into a message; each once.

        Args:
            final: do not wait for what keys are taken for.
        """
        told: list[WireLine] = []
        size = 0
        now = self._now()
        for at, kind, line, number in self._waiting:
            fate = "public" if number is None else self._session.key_fate(number)
            if fate == "untaken" and not final and now - at < _HELD_BACK_S:
                break
            if fate != "public":
                text = MASKED
            elif number is not None:
                text = shown(kind, line)
            else:
                text = self._session.masked(shown(kind, line))
            # What travels is the text: a byte that is no UTF-8 becomes three, and what covers a digit is four.
            size += len(text.encode()) + _OVERHEAD
            if size > _MESSAGE_BYTES:
                break
            told.append(WireLine(round(at, 4), kind, text))
        del self._waiting[: len(told)]
        return told

    def _now(self) -> float:
        return anyio.current_time() - self._admitted

    def _note(self, kind: Literal["event", "command"], line: bytes, number: int | None) -> None:
        if len(self._waiting) < _KEPT:
            self._waiting.append((self._now(), kind, line[:_LINE_BYTES], number))
        else:
            self.dropped += 1

    def _read_and_tell(self) -> bytes:
        data = self._read()
        self.overhear(data)
        return data

    def _write_and_tell(self, line: bytes) -> None:
        self._write(line)
        self._note("command", line, None)


def shown(kind: str, line: bytes) -> str:
    """Give a line as text: without its newline, and an event without its time stamp."""
    text = line.rstrip(b"\r\n").decode("utf-8", "replace")
    if kind != "event":
        return text
    tag, _, rest = text.partition(",")
    _, comma, data = rest.partition(",")
    return f"{tag}{comma}{data}"


def is_key(kind: str, line: bytes) -> bool:
    """Whether this is the event of a key as the call counts them: `D` with data is the one of a dropped prompt."""
    try:
        return kind == "event" and isinstance(eivr.parse(line.removesuffix(b"\n")), eivr.Key)
    except AsteriskProtocolError:
        return False
