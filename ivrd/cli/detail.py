"""One call in `ivrd top`: what is known of it, and the last lines of its wire, live.

The rule that holds here: the call is traced while one looks at it, and not a moment longer.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import aclosing

import anyio
from rich.console import ConsoleDimensions, RenderableType
from rich.table import Table
from rich.text import Text

from ivrd.cli.client import Refusal, follow
from ivrd.cli.ladder import Ladder, ending
from ivrd.cli.picture import fill, one_line, table
from ivrd.cli.words import cell, printable, seconds
from ivrd.errors import IvrdError
from ivrd.wire import control as wire

__all__ = ["Detail"]

HELP = "esc back   the wire is traced as long as you look"
KEPT = 500  # lines of the wire
AGAIN_S = 1.0  # until a daemon that has gone is asked again: a call outlives it
REUNION_S = 15.0  # for the next daemon to hear of the call from its worker


class Detail:
    """A call that is looked at.

    Args:
        row: what is known of it.

    Attributes:
        over: how it ended; "" while it lives.
    """

    def __init__(self, row: wire.CallRow) -> None:
        self.over = ""
        self._row = row
        self._lines: deque[str] = deque(maxlen=KEPT)

    def take(self, rows: Iterable[wire.CallRow]) -> None:
        """Take the live calls of this moment."""
        self._row = next((row for row in rows if row.id == self._row.id), self._row)

    async def listen(self, config_path: str, changed: Callable[[], None]) -> None:
        """Trace the call until it is over, or until cancelled, which ends the trace.

        Args:
            config_path: the configuration that names the daemon.
            changed: told of everything that is new.
        """
        reunited = anyio.current_time()
        while not self.over:
            try:
                await self._trace(config_path, changed)
                raise IvrdError("the daemon went away; the call goes on with its worker")
            except Refusal as refusal:
                self.note(str(refusal))
                if anyio.current_time() >= reunited:
                    self.over = str(refusal)
            except IvrdError as error:
                self.note(str(error))
                reunited = anyio.current_time() + REUNION_S
            changed()
            await anyio.sleep(AGAIN_S)

    async def _trace(self, config_path: str, changed: Callable[[], None]) -> None:
        ladder = Ladder()
        async with aclosing(follow(config_path, wire.Trace(id=self._row.id), patience=None)) as answers:
            async for answer in answers:
                self._lines.extend(ladder.lines(answer))
                if isinstance(answer, wire.TraceOver):
                    self.over = ending(answer)
                changed()

    def note(self, text: str) -> None:
        """Put a word of our own among the lines, unless it is there already, or the call is over."""
        line = f"{'':10}  {printable(text)}"
        if not self.over and (not self._lines or self._lines[-1] != line):
            self._lines.append(line)

    def draw(self, size: ConsoleDimensions) -> RenderableType:
        """Make the picture of this moment, as many lines as the terminal has."""
        over = f"  over: {self.over}" if self.over else ""
        head = one_line(("call ", "bold"), (printable(self._row.id), "bold"), (printable(over), "bold yellow"))
        facts = self._facts(size.width, max(0, size.height - 4))
        for_wire = max(0, size.height - 3 - facts.row_count)
        lines = [Text(line) for line in list(self._lines)[-for_wire:]] if for_wire else []
        for line in lines:
            line.highlight_regex("Asterisk ──▶ app", "cyan")
            line.highlight_regex("Asterisk ◀── app", "green")
        made = table(("wire",), [[line] for line in lines], size.width)
        return fill([head, facts, made], 2 + facts.row_count + len(lines), one_line((HELP, "dim")), size)

    def _facts(self, width: int, most: int) -> Table:
        row = self._row
        today = time.strftime("%Y-%m-%d") == time.strftime("%Y-%m-%d", time.localtime(row.started))
        facts = {
            "app": row.app,
            "state": "over" if self.over else row.state,
            "age": seconds(row.age),
            "attempt": row.attempt,
            "worker": row.worker or "none",
            "transport": row.transport,
            "args": row.args,
            "started": time.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M", time.localtime(row.started)),
        }
        cells = [(cell(name, "dim"), cell(value)) for name, value in facts.items()]
        abreast = max(2, min(len(cells), width // 26))
        made = Table.grid(padding=(0, 2, 0, 0), expand=True)
        for _ in range(abreast):
            made.add_column(no_wrap=True, overflow="ellipsis")
            made.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        for first in range(0, len(cells), abreast)[:most]:
            made.add_row(*(part for pair in cells[first : first + abreast] for part in pair))
        return made
