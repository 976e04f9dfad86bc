"""Asterisk's side of the wire, in small: how it prints an event and how it reads, cuts, strips and understands
commands.

Written from what `app_externalivr.c`, `iostream.c` and `pbx_variables.c` do, apart from the code under test, and as
literal as they are: C strings end at a NUL, buffers have sizes, nothing is forgiven.
"""

from __future__ import annotations

from typing import TypeAlias

BUFFER = 1024
LETTERS = "ADEGHILOPSTVX"

Meaning: TypeAlias = tuple[str, object]


def prints(letter: str, at: int, data: str | bytes | None = None) -> bytes:
    """Print an event as send_eivr_event() does."""
    line = b"%c,%10d" % (letter.encode(), at)
    if data is not None:
        line += b"," + (data if isinstance(data, bytes) else data.encode())
    return line + b"\n"


def reply_to_get(stored: dict[bytes, bytes], names: list[bytes]) -> bytes:
    """Answer `G` as ast_eivr_getvariable() does: no escapes, 2,047 bytes, the last comma off."""
    out = b"".join(b"%s=%s," % (name, stored.get(name, b"")) for name in names)[:2047]
    return out.removesuffix(b",")


def reads(stream: bytes) -> list[Meaning]:
    """Say what Asterisk does with these bytes: one (letter, meaning) for each command that it takes for one."""
    meanings = []
    while stream:
        size = min(stream.find(b"\n") + 1 or len(stream), BUFFER - 1)
        taken, stream = stream[:size], stream[size:]
        text = _strip(taken.split(b"\0")[0])
        if len(text) >= 3 and chr(text[0]) in LETTERS:
            meanings.append(_understand(chr(text[0]), text[2:]))
    return meanings


def _strip(text: bytes) -> bytes:
    # ast_strip()'s result is thrown away: only what it cuts from the end in place has an effect.
    end = len(text)
    while end and text[end - 1] < 33:
        end -= 1
    return text[:end]


def _understand(letter: str, data: bytes) -> Meaning:
    if letter == "V":
        return letter, [_assignment(piece) for piece in data.split(b",")]
    if letter == "G":
        return letter, data.split(b",")
    if letter == "D":
        digits, interval, duration, *_ = [*data.split(b","), b"", b""]
        return letter, (digits, int(interval or 0) or 250, int(duration or 0))
    if letter == "O":
        return letter, {b"autoclear": True, b"noautoclear": False}.get(data.lower(), "unknown")
    if letter in "PIT":
        return letter, None
    return letter, data


def _assignment(piece: bytes) -> tuple[str, bytes, bytes] | tuple[str, bytes, bytes, bytes]:
    name, _, value = piece.partition(b"=")
    if name.endswith(b")"):
        function, _, argument = name.partition(b"(")
        return "function", function, argument.rpartition(b")")[0], value
    return "variable", name, value
