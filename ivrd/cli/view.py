"""What the operator of `ivrd top` has chosen to see of the calls, key by key.

The rule that holds here: the cursor stays with its call, not with its line, for the list changes under it; only on the
first line it stays where it is, so that who has not moved it sees what comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from ivrd.wire import control as wire

__all__ = ["SORTS", "View"]

SORTS: dict[str, Callable[[wire.CallRow], tuple[Any, ...]]] = {
    "age": lambda row: (-row.age,),
    "app": lambda row: (row.app, -row.age),
    "state": lambda row: (row.state, -row.age),
    "worker": lambda row: (row.worker, -row.age),
}
PAGE = 10  # lines


@dataclass
class View:
    """What is to be seen.

    Attributes:
        sort: the order of the calls, one of `SORTS`.
        reverse: the other way round.
        app: only this app; "" for all.
        find: only calls with this in their id or app.
        typing: keys go into `find`.
        workers: the workers are shown.
        paused: nothing is asked anew.
        apps: the apps there are.
        chosen: the calls to be seen, in their order.
        line: which of them the cursor is on.
    """

    sort: str = "age"
    reverse: bool = False
    app: str = ""
    find: str = ""
    typing: bool = False
    workers: bool = True
    paused: bool = False
    apps: list[str] = field(default_factory=list)
    chosen: list[wire.CallRow] = field(default_factory=list)
    line: int = 0
    _rows: list[wire.CallRow] = field(default_factory=list)

    @property
    def call(self) -> wire.CallRow | None:
        """The call that the cursor is on."""
        return self.chosen[self.line] if self.chosen else None

    def take(self, rows: list[wire.CallRow], apps: Iterable[str]) -> None:
        """Take the live calls of this moment, and the apps."""
        self._rows = rows
        self.apps = list(apps)
        self._choose()

    def press(self, key: str) -> Literal["stay", "open", "quit"]:
        """Take a key, as `Keyboard` names it, and say what it asks for beyond another view."""
        if key in ("up", "down", "page up", "page down", "home", "end"):
            self._move(key)
        elif self.typing:
            self._type(key)
        elif key == "q":
            return "quit"
        elif key == "enter":
            return "open"
        else:
            self._change(key)
        return "stay"

    def _move(self, key: str) -> None:
        last = len(self.chosen) - 1
        steps = {"up": -1, "down": 1, "page up": -PAGE, "page down": PAGE, "home": -last, "end": last}
        self.line = max(0, min(last, self.line + steps[key]))

    def _type(self, key: str) -> None:
        if key in ("enter", "escape"):
            self.typing = False
            self.find = "" if key == "escape" else self.find
        elif key == "backspace":
            self.find = self.find[:-1]
        elif key.isprintable() and len(key) == 1:
            self.find += key
        self._choose()

    def _change(self, key: str) -> None:
        match key:
            case "j" | "k":
                self._move("down" if key == "j" else "up")
                return
            case "s":
                self.sort = _next(list(SORTS), self.sort)
            case "r":
                self.reverse = not self.reverse
            case "a":
                self.app = _next(["", *self.apps], self.app)
            case "/":
                self.typing = True
            case "escape":
                self.find = ""
            case "w":
                self.workers = not self.workers
            case "p" | " ":
                self.paused = not self.paused
            case _:
                pass
        self._choose()

    def _choose(self) -> None:
        at = self.call.id if self.line and self.call else ""
        find = self.find.lower()
        chosen = [
            row
            for row in self._rows
            if self.app in ("", row.app) and (find in row.id.lower() or find in row.app.lower())
        ]
        self.chosen = sorted(chosen, key=SORTS[self.sort], reverse=self.reverse)
        # A call that is gone leaves its line to the next one.
        lines = (line for line, row in enumerate(self.chosen) if row.id == at)
        self.line = next(lines, min(self.line, max(0, len(self.chosen) - 1)))


def _next(words: list[str], word: str) -> str:
    return words[(words.index(word) + 1) % len(words)] if word in words else words[0]
