"""Cut what Asterisk writes into lines, whatever the reads look like.

The rule that holds here: memory is bounded by `limit` and no byte is looked at twice, so a peer that never ends its
line costs neither memory nor time. An overlong line is dropped and counted instead of raised, because an exception out
of `feed` would take the good lines around it along.
"""

from __future__ import annotations

__all__ = ["LINE_LIMIT", "LineSplitter"]

LINE_LIMIT = 4096
"""Bytes of the longest line taken; Asterisk's longest is a reply to `G`, of a 2,048 byte buffer."""


class LineSplitter:
    """A resumable splitter: bytes in as they arrive, whole lines out.

    Args:
        limit: the longest line that is handed out, in bytes without its newline.

    Attributes:
        overlong: how many lines were dropped so far for being longer than `limit`; counted when the limit is passed.
    """

    def __init__(self, limit: int = LINE_LIMIT) -> None:
        self.overlong = 0
        self._limit = limit
        self._partial = bytearray()
        self._skipping = False

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes of the stream.

        Args:
            data: what one read returned, of any length; b"" changes nothing.

        Returns:
            The lines that these bytes completed, in order, without their newlines.
        """
        lines = []
        *ends, rest = data.split(b"\n")
        for end in ends:
            self._add(end)
            if self._skipping:
                self._skipping = False
            else:
                lines.append(bytes(self._partial))
            self._partial.clear()
        self._add(rest)
        return lines

    @property
    def pending(self) -> int:
        """Bytes held of a line whose newline has not come yet; 0 while an overlong line is being skipped."""
        return len(self._partial)

    def _add(self, piece: bytes) -> None:
        if self._skipping:
            return
        if len(self._partial) + len(piece) > self._limit:
            self.overlong += 1
            self._skipping = True
            self._partial.clear()
        else:
            self._partial += piece
