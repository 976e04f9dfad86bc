"""Where an app's output goes while `ivrd dial` has another use for stdout: a screen to draw, or JSON to print.

The rule that holds here: it is the descriptors that are changed, not the names in `sys`, since a logger holds on to the
stream that it was given and a child process writes to its own. Whatever is printed meanwhile comes out in the end.
"""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import suppress
from typing import IO, Literal

from ivrd.observe.logging import print_whole_lines

__all__ = ["Aside"]


class Aside:
    """Descriptors 1 and 2 put aside, for the length of a `with` block.

    Args:
        to: `later` keeps what is printed until the end and prints it then; `stderr` lets it go there; `stdout` changes
            nothing.

    Attributes:
        out: the descriptor of the real stdout.
    """

    def __init__(self, to: Literal["later", "stderr", "stdout"]) -> None:
        self.out = -1
        self._to = to
        self._errors = -1
        self._kept: IO[bytes] | None = None

    def __enter__(self) -> Aside:
        _flush()
        print_whole_lines()
        self.out, self._errors = os.dup(1), os.dup(2)
        if self._to == "later":
            self._kept = tempfile.TemporaryFile()
            os.dup2(self._kept.fileno(), 1)
            os.dup2(self._kept.fileno(), 2)
        elif self._to == "stderr":
            os.dup2(2, 1)
        return self

    def __exit__(self, *_exc: object) -> None:
        self.restore()
        for fd in (self.out, self._errors):
            os.close(fd)

    def restore(self) -> None:
        """Give both back and print what was kept; nothing happens when that is done already."""
        _flush()
        os.dup2(self.out, 1)
        os.dup2(self._errors, 2)
        kept, self._kept = self._kept, None
        if kept is not None:
            with kept, suppress(OSError), os.fdopen(os.dup(1), "wb") as stdout:
                at = 0  # not by the file's own position, at which a child may still write
                while data := os.pread(kept.fileno(), 65536, at):
                    at += stdout.write(data)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
