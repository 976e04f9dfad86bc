"""The terminal's keyboard, key by key, and the terminal as it was afterwards.

The rule that holds here: whatever happens in the block, its end restores what its beginning found, and who has to leave
in the middle can restore it from another thread. What is no single key, an arrow for one, is none of the caller's.
"""

from __future__ import annotations

import os
import re
import sys
import termios
from collections.abc import AsyncIterator

import anyio

__all__ = ["Keyboard", "keys"]

_NAMES = {
    "\n": "enter", "\r": "enter", "\x7f": "backspace", "\b": "backspace", "\x1b": "escape",
    "\x1b[A": "up", "\x1b[B": "down", "\x1b[5~": "page up", "\x1b[6~": "page down",
    "\x1b[H": "home", "\x1b[F": "end", "\x1b[1~": "home", "\x1b[4~": "end",
    # The same on terminals in application mode. Linux' console has function keys of its own: ␛[[A.
    "\x1bOA": "up", "\x1bOB": "down", "\x1bOH": "home", "\x1bOF": "end",
}  # fmt: skip
_KEY = re.compile(r"\x1b\[\[[A-Z]|\x1b\[[0-?]*[ -/]*[@-~]|\x1bO[A-Z]|[\x00-\x7f]")
_BEGUN = re.compile(r"\x1b(?:O|\[\[|\[[0-?]*[ -/]*)?\Z")
_ESCAPE_S = 0.1  # after which the byte that begins a key's sequence was the key Escape


class Keyboard:
    """Standard input without lines and echo, for the length of a `with` block. Keys that are signals stay so."""

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
        self.restore()

    def restore(self) -> None:
        """Give the terminal back as it was found; nothing happens when that is done already, or it is gone."""
        found, self._found = self._found, None
        if found is None:
            return
        try:
            # What was typed and not read is not for the shell: it may be a PIN. Not TCSAFLUSH, which would wait for a
            # terminal that has been stopped (Ctrl-S).
            termios.tcflush(self._fd, termios.TCIFLUSH)
            termios.tcsetattr(self._fd, termios.TCSANOW, found)  # type: ignore[arg-type]  # as it came
        except termios.error:
            pass

    async def pressed(self) -> AsyncIterator[str]:
        """Give keys as they are typed, until the terminal is gone: characters, and names as in `keys`."""
        begun = ""
        while True:
            text = begun
            with anyio.move_on_after(_ESCAPE_S if begun else None) as patience:
                await anyio.wait_readable(self._fd)
                try:
                    data = os.read(self._fd, 256)
                except OSError:
                    return
                if not data:
                    return
                text += data.decode("ascii", "ignore")
            found, begun = keys(text, final=patience.cancelled_caught)
            for key in found:
                yield key


def keys(text: str, *, final: bool) -> tuple[list[str], str]:
    """Tell the keys in what a terminal has sent.

    Args:
        text: what it has sent.
        final: nothing has come after it for a while.

    Returns:
        The keys: characters as they are, others by name (`up`, `down`, `page up`, `page down`, `home`, `end`,
        `enter`, `escape`, `backspace`), those without a name left out; and the beginning of one that is not whole yet.
    """
    begun = None if final else _BEGUN.search(text)
    rest = "" if begun is None else begun.group()
    found = (_NAMES.get(key, key) for key in _KEY.findall(text.removesuffix(rest)))
    return [key for key in found if not key.startswith("\x1b")], rest
