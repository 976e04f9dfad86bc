"""What Asterisk says to an application: one class for each event, and `parse` from a line to an event.

The rule that holds here: a line becomes an event only if `app_externalivr.c` could have printed it; everything else is
an `AsteriskProtocolError`, never a guess. All events are printed by one `"%c,%10d"`, with `",%s"` behind it where there
is data, so a line is a tag, the time in at least ten characters, and possibly data in which commas mean nothing to the
format.

Data is UTF-8 with surrogateescape: Asterisk treats names and values as bytes, and so none is lost on the way through
`str`. Nothing is escaped: a variable or an argument with a newline in it comes in as more than one line, which no
reader can undo.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, Literal, TypeAlias

import msgspec

from ivrd.errors import AsteriskProtocolError

__all__ = [
    "REPLY_LIMIT",
    "TAGS",
    "Cause",
    "Dropped",
    "Event",
    "Failed",
    "Finished",
    "Hungup",
    "Inform",
    "Interrupted",
    "Key",
    "Left",
    "Params",
    "Variables",
    "parse",
    "tag",
]

REPLY_LIMIT: Final = 2047
"""Bytes of data in the longest reply to `G` (a buffer of 2,048 with its NUL); what is behind is cut off."""

Cause: TypeAlias = Literal["unknown_file", "not_up", "answer_failure", "generator_failure"]

_SHOWN = 80
# RFC 4733 and the tone detector make capitals; SIP INFO passes a to d through in small letters.
_KEYS: Final = frozenset("0123456789*#ABCDabcd")
# "%10d" of an int: padded to ten, and negative from 2038 on, when the int has no room for the time.
_TIME: Final = re.compile(rb" *-?[0-9]+")


class Key(msgspec.Struct, frozen=True):
    """The caller pressed a key: one of `0`-`9`, `*`, `#`, `A`-`D`.

    Attributes:
        at: Unix time in whole seconds by Asterisk's clock, as in every event.
        key: the key, letters always as capitals.
    """

    at: int
    key: str


class Finished(msgspec.Struct, frozen=True):
    """`F`: a prompt played to its end. Silence never makes events."""

    at: int
    prompt: str


class Interrupted(msgspec.Struct, frozen=True):
    """`T`: the prompt that was playing was stopped, by a command or by a key under autoclear."""

    at: int
    prompt: str


class Dropped(msgspec.Struct, frozen=True):
    """`D` with data: a prompt that waited in the playlist was thrown away before it played."""

    at: int
    prompt: str


class Failed(msgspec.Struct, frozen=True):
    """`Z`: a command could not be done.

    Attributes:
        at: Unix time in whole seconds.
        detail: the prompt that does not exist, or a word of Asterisk's, or "" where the channel is not up.
    """

    at: int
    detail: str

    @property
    def cause(self) -> Cause:
        """Why it failed; a prompt that is itself named `ANSWER_FAILURE` cannot be told from the word."""
        if self.detail == "":
            return "not_up"
        if self.detail == "ANSWER_FAILURE":
            return "answer_failure"
        if self.detail == "GENERATOR_FAILURE":
            return "generator_failure"
        return "unknown_file"


class Params(msgspec.Struct, frozen=True):
    """`P`: the command (or the `ivr://` address) of `ExternalIVR()`, then its arguments.

    Asterisk cuts the reply at about 99 bytes, so with long arguments the last one is short and others are missing.
    """

    at: int
    params: tuple[str, ...]


class Variables(msgspec.Struct, frozen=True):
    """`G`: the reply to a request for variables, as it came.

    Attributes:
        at: Unix time in whole seconds.
        raw: `NAME=value,NAME=value`, with nothing escaped, so that only who asked can take it apart.
    """

    at: int
    raw: str

    @property
    def cut(self) -> bool:
        """Whether the reply is as long as a reply can be, so that its end is most likely missing."""
        return len(self.raw.encode("utf-8", "surrogateescape")) >= REPLY_LIMIT

    def values(self, names: Sequence[str]) -> dict[str, str]:
        """Take the reply apart.

        A single name gets all that is there, commas included. With more names a value ends where the next name begins,
        so a value that contains `,NEXTNAME=` is taken apart wrongly: ask for one name at a time where values are free
        text.

        Args:
            names: the names that were asked for, in the order in which they were asked.

        Returns:
            The value of each name, "" for a variable that is not set. Names that a `cut` reply does not reach are left
            out, and its last value may be short.

        Raises:
            AsteriskProtocolError: the reply is not one to a request for these names.
        """
        values: dict[str, str] = {}
        rest = self.raw
        for this, following in zip(names, [*names[1:], None], strict=False):
            start = f"{this}="
            if not rest.startswith(start):
                if values and self.cut:
                    return values
                raise _not_an_event(f"a reply to G that does not answer for {this}", self.raw)
            rest = rest.removeprefix(start)
            if following is None:
                values[this] = rest
            else:
                value, comma, tail = rest.partition(f",{following}=")
                values[this] = value
                rest = f"{following}={tail}" if comma else ""
        return values

    def value(self, name: str, others: Sequence[str] = ()) -> str:
        """Give one value of the reply.

        Args:
            name: the variable wanted.
            others: all names that were asked for, in order and `name` among them; leave it out if `name` alone was
                asked.

        Returns:
            The value; "" if the variable is not set or a `cut` reply does not reach it.

        Raises:
            AsteriskProtocolError: the reply is not one to that request.
        """
        return self.values(others or (name,)).get(name, "")


class Inform(msgspec.Struct, frozen=True):
    """`I`: news that asks for no reply; `HANGUP` under option `i`, where the application has to end the call itself."""

    at: int
    detail: str


class Hungup(msgspec.Struct, frozen=True):
    """`H`: the channel is gone, or the reply to the command `H`; Asterisk closes its ends in the same breath."""

    at: int


class Left(msgspec.Struct, frozen=True):
    """`E`: the reply to the command `E`; Asterisk closes its ends in the same breath and the dialplan continues."""

    at: int


Event: TypeAlias = Key | Finished | Interrupted | Dropped | Failed | Params | Variables | Inform | Hungup | Left

_TAG_OF: Final[dict[type, str]] = {
    Key: "key",
    Finished: "F",
    Interrupted: "T",
    Dropped: "D",
    Failed: "Z",
    Params: "P",
    Variables: "G",
    Inform: "I",
    Hungup: "H",
    Left: "E",
}
TAGS: Final[tuple[str, ...]] = tuple(_TAG_OF.values())
"""All values of `tag`: the event's letter, and "key" for all keys (what a caller presses is nobody's metric)."""

_WITH_DATA: Final[dict[str, Callable[[int, str], Event]]] = {
    "F": Finished,
    "T": Interrupted,
    "D": Dropped,
    "Z": Failed,
    "P": lambda at, data: Params(at, _split_params(data)),
    "G": Variables,
    "I": Inform,
}
_WITHOUT_DATA: Final[dict[str, Callable[[int], Event]]] = {
    "Z": lambda at: Failed(at, ""),
    "H": Hungup,
    "E": Left,
}


def tag(event: Event) -> str:
    """Give the tag of an event, one of `TAGS`, for counting by kind."""
    return _TAG_OF[type(event)]


def parse(line: bytes) -> Event:
    """Read one line of Asterisk's.

    Args:
        line: the line without its newline.

    Returns:
        The event.

    Raises:
        AsteriskProtocolError: Asterisk prints no such line.
    """
    if b"\n" in line or b"\0" in line:
        raise _not_an_event("a newline or a NUL inside a line", line)
    head, *fields = line.split(b",", 2)
    letter = head.decode("ascii", "replace")
    if letter not in _WITH_DATA and letter not in _WITHOUT_DATA and letter not in _KEYS:
        raise _not_an_event("a line with an unknown tag", line)
    if not fields or not 10 <= len(fields[0]) <= 11 or not _TIME.fullmatch(fields[0]):
        raise _not_an_event("a line without a time of ten digits", line)
    at = int(fields[0])
    if len(fields) == 1:
        if letter in _KEYS:
            return Key(at, letter.upper())
        if letter in _WITHOUT_DATA:
            return _WITHOUT_DATA[letter](at)
        raise _not_an_event(f"event {letter} without its data", line)
    if letter not in _WITH_DATA:
        raise _not_an_event(f"event {letter} with data, which it never has", line)
    # A name is never empty: a command of fewer than three characters is dropped unread, so none was ever queued. Only
    # the parameters can be, and a reply to G holds at least `=`.
    if (not fields[1] and letter != "P") or (letter == "G" and b"=" not in fields[1]):
        raise _not_an_event(f"event {letter} with data that says nothing", line)
    return _WITH_DATA[letter](at, fields[1].decode("utf-8", "surrogateescape"))


def _split_params(data: str) -> tuple[str, ...]:
    # Old versions joined with `|`. The command comes first and is a path or an address, which holds neither, so the
    # separator that comes first is the one in use, and the other one belongs to the arguments.
    comma, bar = data.find(","), data.find("|")
    return tuple(data.split("|" if bar >= 0 and (comma < 0 or bar < comma) else ","))


def _not_an_event(what: str, line: bytes | str) -> AsteriskProtocolError:
    shown = repr(line[:_SHOWN])[:_SHOWN]
    return AsteriskProtocolError(
        f"{what} came where Asterisk's events are read: {shown}; "
        f"check that Asterisk itself is at the other end and that no channel variable holds a newline"
    )
