"""One call's conversation with Asterisk: bytes become events, commands become bytes, both are counted.

The rule that holds here: whatever Asterisk sends, `receive` gives every good event and never raises, for a call must
not end over one bad line; and whatever an app does, `send` lets nothing out behind the command that ends the call. It
does no I/O: the owner reads and writes, and tells of EOF.
"""

from __future__ import annotations

from ivrd.eivr.commands import check_line, command_tag
from ivrd.eivr.events import Event, Hungup, Inform, Left, parse, tag
from ivrd.eivr.lines import LINE_LIMIT, LineSplitter
from ivrd.errors import AsteriskProtocolError, CallEnded

__all__ = ["Connection"]

_KEPT_PROBLEMS = 5


class Connection:
    """The state of one call's two streams, events in and commands out.

    Attributes:
        hungup: event `H` was seen: the channel is gone or our `H` was answered.
        hangup_informed: `I,HANGUP` was seen (option `i`): the caller is gone, yet `G`, `V`, `L`, `E` and `H` still
            work, and the call lasts until the application ends it.
        left: event `E` was seen: our `E` was answered and the dialplan continues.
        ending: `E` or `H` was sent, so that no other command may follow.
        closed: Asterisk closed its side.
        events_by_tag: how many events came, by `events.tag`.
        commands_by_tag: how many commands were let through, by their letter.
        malformed: how many lines came that Asterisk never sends.
        problems: what was wrong with the first five of them.
    """

    def __init__(self) -> None:
        self.hungup = False
        self.hangup_informed = False
        self.left = False
        self.ending = False
        self.closed = False
        self.events_by_tag: dict[str, int] = {}
        self.commands_by_tag: dict[str, int] = {}
        self.malformed = 0
        self.problems: list[str] = []
        self._lines = LineSplitter()

    def receive(self, data: bytes) -> list[Event]:
        """Take what was read from Asterisk; a read may end anywhere.

        Args:
            data: the bytes of one read.

        Returns:
            The events that these bytes completed, in order. Malformed lines are counted, not raised.
        """
        events = []
        overlong = self._lines.overlong
        for line in self._lines.feed(data):
            try:
                event = self._parse(line)
            except AsteriskProtocolError as error:
                self._problem(str(error))
            else:
                self._note(event)
                events.append(event)
        for _ in range(self._lines.overlong - overlong):
            self._problem(f"a line of more than {LINE_LIMIT} bytes came from Asterisk's side and was dropped")
        return events

    def receive_eof(self) -> None:
        """Take note that Asterisk closed its side; a line that was still without its newline is malformed."""
        if self._lines.pending and not self.closed:
            self._problem(f"Asterisk's side was closed inside a line, after {self._lines.pending} bytes of it")
        self.closed = True

    def send(self, command: bytes) -> bytes:
        """Let a command through.

        Args:
            command: a line made by `commands`.

        Returns:
            The same bytes, to be written by the owner in one `write()`.

        Raises:
            InvalidValue: it is not one whole, legal line.
            CallEnded: the call has ended, or a command that ends it was sent before.
        """
        check_line(command)
        letter = command_tag(command)
        over = self._over()
        if over:
            raise CallEnded(f"command {letter} was not sent because {over}: stop when the call ends")
        self.commands_by_tag[letter] = self.commands_by_tag.get(letter, 0) + 1
        self.ending = letter in "EH"
        return command

    def _over(self) -> str:
        if self.hungup:
            return "the call is hung up"
        if self.left:
            return "the call has left to the dialplan"
        if self.closed:
            return "Asterisk closed the connection"
        if self.ending:
            return "the command that ends the call was sent before"
        return ""

    def _parse(self, line: bytes) -> Event:
        if self.hungup or self.left:
            raise AsteriskProtocolError(f"a line came after the call's last event: {repr(line[:80])[:80]}")
        return parse(line)

    def _note(self, event: Event) -> None:
        letter = tag(event)
        self.events_by_tag[letter] = self.events_by_tag.get(letter, 0) + 1
        match event:
            case Hungup():
                self.hungup = True
            case Left():
                self.left = True
            case Inform(detail="HANGUP"):
                self.hangup_informed = True
            case _:
                pass

    def _problem(self, text: str) -> None:
        self.malformed += 1
        if len(self.problems) < _KEPT_PROBLEMS:
            self.problems.append(text)
