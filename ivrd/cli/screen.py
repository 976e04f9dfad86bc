"""What `ivrd dial` shows on a terminal: what plays, what happened, variables and the wire.

The rule that holds here: the screen is drawn anew from the call ten times a second and keeps nothing of its own but
which parts are shown, and it shows keys only when it is known that they are no secret.
"""

from __future__ import annotations

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ivrd.cli.texts import fit
from ivrd.cli.words import printable
from ivrd.phone.recording import Wire
from ivrd.simulator.caller import SimulatedCall
from ivrd.simulator.sounds import Sounds

__all__ = ["Screen"]

_HELP = "0-9 * # A-D keys   h hang up   t trace   v variables   Ctrl-C leave"


class Screen:
    """The screen of one call; a renderable of rich's.

    Args:
        title: what was dialled.
        call: the call.
        wire: what goes over its wire.
        sounds: how long prompts play.

    Attributes:
        traces: the wire is shown.
        variables: the variables are shown.
    """

    def __init__(self, title: str, call: SimulatedCall, wire: Wire, sounds: Sounds) -> None:
        self.traces = False
        self.variables = True
        self._title = title
        self._call = call
        self._wire = wire
        self._sounds = sounds

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """See rich's console protocol."""
        height = options.height or console.height
        parts: list[RenderableType] = [self._head(), self._playing(console.width)]
        room = max(3, height - 8)
        if self.variables and self._call.variables:
            table = self._table(console.width)
            parts.append(table)
            room -= min(len(self._call.variables), 8) + 2
        if self.traces:
            part = max(3, room // 2)
            parts.append(Panel(self._trace(part - 2), title="wire", title_align="left"))
            room -= part
        parts.insert(2, Panel(self._happened(room - 2), title="call", title_align="left"))
        parts.append(Text(_HELP, style="dim", no_wrap=True, overflow="ellipsis"))
        yield Group(*parts)

    def _head(self) -> Text:
        call = self._call
        state = f"ended: {call.outcome}" if call.outcome else call.channel.state
        line = Text(no_wrap=True, overflow="ellipsis")
        return line.append(printable(self._title), "bold").append(f"   {state}   {_clock(call.now())}")

    def _playing(self, width: int) -> RenderableType:
        call = self._call
        blocked = call.channel.blocked
        if blocked:
            return Text(printable(blocked), style="bold red", no_wrap=True, overflow="ellipsis")
        if call.channel.playing is None or not call.heard:
            return Text("silence", style="dim")
        heard = call.heard[-1]
        sound = self._sounds.find(heard.prompt)
        total = sound.seconds if sound and sound.seconds else 0.0
        passed = max(0.0, call.now() - heard.start)
        row = Table.grid(padding=(0, 1))
        name = Text(fit(call, heard.prompt), style="bold green", no_wrap=True, overflow="ellipsis")
        waiting = len(call.channel.playlist) - 1
        row.add_row(
            name,
            ProgressBar(total=total or 1.0, completed=min(passed, total), width=max(10, width // 3)),
            f"{min(passed, total):.1f}/{total:.1f} s",
            f"and {waiting} more" if waiting > 0 else "",
        )
        return row

    def _happened(self, room: int) -> RenderableType:
        return _lines([f"{when:7.2f}  {what}" for when, what in self._call.happenings()[-max(1, room) :]])

    def _trace(self, room: int) -> RenderableType:
        arrows = {"event": "→ app ", "command": "← app ", "stderr": "stderr", "note": "      "}
        return _lines([f"{line.at:7.2f}  {arrows[line.kind]}  {line.text}" for line in self._wire.lines(max(1, room))])

    def _table(self, width: int) -> RenderableType:
        shown = list(self._call.variables.items())[-8:]
        return Panel(
            _lines([f"{fit(self._call, name)} = {fit(self._call, value)}" for name, value in shown]),
            title="variables",
            title_align="left",
        )


def _lines(lines: list[str]) -> Text:
    text = Text("\n".join(map(printable, lines)), no_wrap=True, overflow="ellipsis")
    text.highlight_regex(r"(?m)^ *\d+\.\d\d", "cyan")
    return text


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
