"""Log lines as journald takes them: one datagram a line, each field a field of the journal's own.

The rule that holds here: a field `call` is found as `journalctl IVRD_CALL=…`; and a journal that does not take a line
is no reason to wait, let alone to stop: lines are lost then, and how many is told with the next one that is taken. (The
form is systemd's "native journal protocol": `NAME=value` lines, and for values with a newline in them the name, a
length of eight bytes and the value.)
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Final

__all__ = ["SOCKET", "JournalWriter", "encode", "is_stderr", "render"]

SOCKET: Final = "/run/systemd/journal/socket"
_LONGEST: Final = 65_536  # bytes of one value; a datagram socket takes some 200,000 in all
_PRIORITIES: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


def is_stderr(environment: Mapping[str, str]) -> bool:
    """Whether stderr is journald's, as systemd tells its services by `JOURNAL_STREAM` (device and inode)."""
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def encode(event: Mapping[str, object]) -> bytes:
    """Turn one line into a datagram.

    Args:
        event: the fields; `event` is the line's name and `level` its severity.
    """
    fields = dict(event)
    name = str(fields.pop("event", ""))
    priority = _PRIORITIES.get(str(fields.pop("level", "info")), 6)
    fields.pop("timestamp", None)  # the journal has its own
    exception = fields.pop("exception", None)
    words = [name, *(f"{key}={value}" for key, value in fields.items() if value is not None)]
    message = " ".join(words) + (f"\n{exception}" if exception else "")
    parts = [
        _field("MESSAGE", message),
        _field("PRIORITY", str(priority)),
        _field("SYSLOG_IDENTIFIER", "ivrd"),
        _field("IVRD_EVENT", name),
    ]
    parts += [_field(f"IVRD_{_name(key)}", str(value)) for key, value in fields.items() if value is not None]
    return b"".join(parts)


def _name(key: str) -> str:
    # The journal takes capitals, digits and underscores, 64 of them.
    return "".join(char if char.isascii() and char.isalnum() else "_" for char in key.upper())[:50]


def _field(name: str, value: str) -> bytes:
    data = value.encode("utf-8", "backslashreplace")[:_LONGEST]
    if b"\n" in data:
        return name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"
    return name.encode() + b"=" + data + b"\n"


def render(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> bytes:
    """As the last of structlog's processors."""
    return encode(event)


class JournalWriter:
    """As structlog's logger: takes what `render` made.

    Args:
        path: the journal's socket.
    """

    def __init__(self, path: str = SOCKET) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)  # a journal that does not keep up must not hold up calls
        self._lost = 0

    def msg(self, datagram: bytes) -> None:
        """Send one line."""
        if self._lost:
            datagram += _field("IVRD_LINES_LOST", str(self._lost))
        try:
            self._socket.sendto(datagram, self._path)
        except OSError:
            self._lost += 1
        else:
            self._lost = 0

    debug = info = warning = error = critical = msg

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()
