"""One call's wire as a ladder that a person can read, line by line as it comes: for `ivrd trace` and `ivrd top`.

The rule that holds here: Asterisk is on the left, the app on the right; what was left out, because somebody was too
slow, is said where it is missing.
"""

from __future__ import annotations

from ivrd.cli.words import printable
from ivrd.errors import IvrdError
from ivrd.wire import control as wire
from ivrd.wire.messages import WireLine

__all__ = ["Ladder", "ending"]

_MEANINGS = {
    "event": {
        "F": "played to its end", "T": "was stopped", "D": "was dropped", "Z": "could not be done", "P": "parameters",
        "G": "variable", "I": "news", "H": "hung up", "E": "left to the dialplan",
    },
    "command": {
        "A": "play", "S": "play at once", "I": "stop playing", "O": "option", "T": "answer", "D": "send keys",
        "V": "set", "G": "get", "P": "get parameters", "L": "log", "E": "leave to the dialplan", "H": "hang up",
    },
}  # fmt: skip


class Ladder:
    """The ladder of one call."""

    def __init__(self) -> None:
        self._dropped = 0

    def lines(self, answer: wire.Answer) -> list[str]:
        """Put what the daemon tells of a traced call into lines.

        Raises:
            IvrdError: it is no news of a traced call.
        """
        match answer:
            case wire.Tracing():
                since = f", {answer.age:.1f} s old" if answer.age >= 0.1 else ""
                return [printable(f"call {answer.id} of {answer.app}{since}")]
            case wire.TraceLines():
                lines = [_rung(line) for line in answer.lines]
                if answer.dropped > self._dropped:
                    lines.append(f"{'':10}  {answer.dropped} lines were left out so far: they came too fast")
                    self._dropped = answer.dropped
                return lines
            case wire.TraceOver():
                return [f"{'':10}  over: {ending(answer)}"]
            case _:
                raise IvrdError("the daemon answered something else: is it of another release?")


def ending(over: wire.TraceOver) -> str:
    """How a call ended, in words."""
    return printable(over.result + (f" ({over.detail})" if over.detail else ""))


def _rung(line: WireLine) -> str:
    letter, comma, _ = line.text.partition(",")
    event = line.kind == "event"
    meaning = "key" if event and not comma and letter not in ("H", "E", "Z") else _MEANINGS[line.kind].get(letter, "")
    arrow = "Asterisk ──▶ app" if event else "Asterisk ◀── app"
    return f"{line.at:10.3f}  {arrow}  {printable(line.text):<40}  {meaning}".rstrip()
