"""What `ivrd dial` uses of the terminal and of the standard descriptors, and how it gives them back.

The rule that holds here: one place knows all that has to be put in order again, and it can be asked to at any time and
from any thread, more than once.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Literal

from rich.console import Console

from ivrd.cli.aside import Aside
from ivrd.cli.keyboard import Keyboard

__all__ = ["Terminal"]

_LEAVE_SCREEN = b"\x1b[?1049l\x1b[?25h"  # the alternate screen; and the cursor is seen again


class Terminal:
    """The terminal for the length of a `with` block.

    Args:
        screen: there is to be a screen on it; not where stdout is no terminal.
        keys: keys come from it; not where stdin is no terminal.
        as_json: nothing but JSON may be on stdout.

    Attributes:
        keyboard: its keyboard, where keys come from it.
        console: where to draw, where there is a screen.
        drawn: there is something on the screen.
    """

    def __init__(self, *, screen: bool, keys: bool, as_json: bool) -> None:
        # Asked of the descriptor: rich also takes FORCE_COLOR for a terminal.
        shows = screen and not as_json and os.isatty(1) and os.environ.get("TERM", "dumb") != "dumb"
        self.keyboard = Keyboard() if keys and sys.stdin.isatty() else None
        self.console: Console | None = None
        to: Literal["later", "stderr", "stdout"] = "later" if shows else "stderr" if as_json else "stdout"
        self._aside = Aside(to)
        self._shows = shows
        self.drawn = False

    def __enter__(self) -> Terminal:
        self._aside.__enter__()
        if self._shows:
            self.console = Console(file=open(self._aside.out, "w", closefd=False), force_terminal=True)
        return self

    def __exit__(self, *exc: object) -> None:
        self.restore()
        self._aside.__exit__(*exc)

    def restore(self) -> None:
        """Put all in order."""
        if self.drawn:
            self.drawn = False
            with suppress(OSError):
                os.write(self._aside.out, _LEAVE_SCREEN)
        if self.keyboard is not None:
            self.keyboard.restore()
        self._aside.restore()

    def resize(self) -> None:
        """Let the console be as big as the terminal is now."""
        # By itself it would ask the standard descriptors, which are put aside.
        if self.console is not None:
            with suppress(OSError):
                size = os.get_terminal_size(self._aside.out)
                if all(size):  # a terminal over which nobody watches may not know its size
                    self.console.size = size

    def alarm(self, text: str) -> None:
        """Show a line at once, over whatever is drawn or where errors go."""
        with suppress(OSError):
            if self.drawn:
                columns = os.get_terminal_size(self._aside.out).columns or 80
                line = f"\x1b7\x1b[H\x1b[1;37;41m{text[: columns - 1]}\x1b[0m\x1b[K\x1b8"
                os.write(self._aside.out, line.encode())
            else:
                os.write(2, f"ivrd: {text}\n".encode())
