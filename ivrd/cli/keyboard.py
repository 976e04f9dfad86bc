"""The terminal's keyboard, key by key, and the terminal as it was afterwards.

The rule that holds here: whatever happens in the block, its end restores what its beginning found.
"""

from __future__ import annotations

import os
import sys
import termios
from collections.abc import AsyncIterator

import anyio

__all__ = ["Keyboard"]


class Keyboard:
    """Standard input without lines and echo, for the length of a `with` block. Ctrl-C stays a signal."""

    def __init__(self) -> None:
        self._fd = sys.stdin.fileno()
        self._found: list[object] | None = None

    def __enter__(self) -> Keyboard:
        self._found = termios.tcgetattr(self._fd)
        mode = termios.tcgetattr(self._fd)
        mode[3] &= ~(termios.ICANON | termios.ECHO)
        # Stopped with Ctrl-Z the shell would get the screen as it is; a call goes on anyway.
        mode[6][termios.VMIN], mode[6][termios.VTIME], mode[6][termios.VSUSP] = 1, 0, b"\0"
        termios.tcsetattr(self._fd, termios.TCSADRAIN, mode)
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._found is not None:
            # What was typed and not read is not for the shell: it may be a PIN.
            termios.tcsetattr(self._fd, termios.TCSAFLUSH, self._found)  # type: ignore[arg-type]  # as it came

    async def pressed(self) -> AsyncIterator[str]:
        """Give characters as they are typed, until the terminal is gone; escape sequences are left out."""
        while True:
            await anyio.wait_readable(self._fd)
            try:
                data = os.read(self._fd, 256)
            except OSError:
                return
            if not data:
                return
            if not data.startswith(b"\x1b"):
                for character in data.decode("ascii", "ignore"):
                    yield character
