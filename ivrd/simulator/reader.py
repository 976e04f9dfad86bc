"""Asterisk's buffered line reader (`ast_iostream_gets`), fed with what each read(2) returned.

The rule that holds here: one call of `line` is one call of `ast_iostream_gets` with the 1,024-byte buffer of
`app_externalivr.c`. It takes one line, or 1,023 bytes of a longer one, and leaves the rest in the buffer, where poll(2)
on the raw descriptor does not see it: that is the burst stall.
"""

from __future__ import annotations

__all__ = ["LINE_LIMIT", "READ_SIZE", "StreamReader"]

READ_SIZE = 2048
"""Bytes that Asterisk asks for in one read(2): the size of the stream's buffer."""

LINE_LIMIT = 1023
"""Bytes, newline included, that one line can have: a buffer of 1,024 less the closing NUL."""


class StreamReader:
    """One of the child's output pipes as Asterisk sees it: bytes that wait in the pipe, and in the buffer."""

    __slots__ = ("_buffer", "_eof", "_unread")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._unread: list[bytes] = []
        self._eof = False

    def feed(self, data: bytes) -> None:
        """Put what one read(2) would return into the pipe.

        Args:
            data: the bytes; `b""` is EOF. More than `READ_SIZE` bytes are what several reads return.
        """
        if not data:
            self._eof = True
        elif len(data) <= READ_SIZE:
            self._unread.append(data)
        else:
            self._unread.extend(data[start : start + READ_SIZE] for start in range(0, len(data), READ_SIZE))

    @property
    def readable(self) -> bool:
        """Whether poll(2) would report the raw descriptor: unread bytes or EOF, never the buffer's content."""
        return bool(self._unread) or self._eof

    @property
    def holds_line(self) -> bool:
        """Whether a line could be had from the buffer alone, without a read."""
        return b"\n" in self._buffer or len(self._buffer) >= LINE_LIMIT

    def line(self) -> bytes | None:
        """Take the next line as `ast_iostream_gets` does.

        Returns:
            The line with its newline; 1,023 bytes of a longer one; what there was before EOF; `b""` at EOF; `None` when
            Asterisk would now sit in a blocking read(2), with part of a line or nothing in hand.
        """
        while True:
            newline = self._buffer.find(b"\n", 0, LINE_LIMIT)
            if newline >= 0:
                return self._take(newline + 1)
            if len(self._buffer) >= LINE_LIMIT:
                return self._take(LINE_LIMIT)
            if self._unread:
                self._buffer += self._unread.pop(0)
            elif self._eof:
                return self._take(len(self._buffer))
            else:
                return None

    def _take(self, size: int) -> bytes:
        line = bytes(self._buffer[:size])
        del self._buffer[:size]
        return line
