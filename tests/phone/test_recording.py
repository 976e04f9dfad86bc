"""What is kept of a call's wire: its beginning, its end, and keys under their numbers."""

from __future__ import annotations

from typing import Literal

from ivrd.phone.recording import Line, Wire
from ivrd.simulator.caller import SimulatedCall
from ivrd.simulator.channel import Channel


class Quiet(SimulatedCall):
    """A call of which the keys with an odd number are secret, and nothing else matters."""

    def now(self) -> float:
        return 0.0

    def key_fate(self, number: int) -> Literal["secret", "public", "untaken"]:
        return "secret" if number % 2 else "public"

    def _write(self, data: bytes) -> int:
        return len(data)

    def _watch(self, stdout: bool, stderr: bool, stdin: bool, deadline: float | None) -> None:
        pass

    def _close(self) -> None:
        pass


def listening(count: int) -> Wire:
    """To so many lines, of which every third is the event of a key; seven are kept, the last four among them."""
    wire = Wire(first=3, last=4)
    for number in range(count):
        if number % 3:
            wire(number, "command", b"A,%d\n" % number)
        else:
            wire(number, "event", b"%d,1800000000\n" % (number % 10))
    return wire


def texts(lines: list[Line]) -> list[str]:
    return [line.text for line in lines]


def test_the_last_lines_are_the_last_that_were_said_however_many_there_are() -> None:
    for count in (1, 3, 5, 7, 8, 40, 41):
        wire = listening(count)
        assert wire.lines(2)[-1].at == count - 1
        assert len(wire.lines(2)) == min(2, count)
        assert wire.lines()[0].at == 0
        assert wire.dropped == max(0, count - 7)
        assert sum(line.kind == "note" for line in wire.lines()) == (wire.dropped > 0)


def test_what_is_in_between_is_dropped_and_said_to_be() -> None:
    lines = listening(12).lines()
    assert texts(lines) == ["0", "A,1", "A,2", "5 lines were not kept", "A,8", "9", "A,10", "A,11"]


def test_a_key_keeps_its_number() -> None:
    wire = listening(14)
    wire.call = Quiet(Channel())
    # Keys 0 to 4 are lines 0, 3, 6, 9 and 12.
    assert texts(wire.lines()) == ["0", "A,1", "A,2", "7 lines were not kept", "A,10", "A,11", "2", "A,13"]
    wire = listening(10)
    wire.call = Quiet(Channel())
    assert texts(wire.lines(3)) == ["A,7", "A,8", "?"]
