"""A tap by itself: what it tells of a call, when, and what it keeps to itself."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from ivrd.wire.messages import MAX_MESSAGE, Traced, encode
from ivrd.worker.keys import Fate
from ivrd.worker.tap import Tap


class Call:
    """A session and its transport."""

    def __init__(self) -> None:
        self.pressed = 0
        self.fates: dict[int, Fate] = {}
        self.inbox: list[bytes] = []
        self.written: list[bytes] = []
        self.full = False
        self.read = self._read
        self.write = self._write

    def key_fate(self, number: int) -> Fate:
        return self.fates.get(number, "untaken")

    def masked(self, text: str) -> str:
        return text.replace("8642", "****")

    def _read(self) -> bytes:
        return self.inbox.pop(0)

    def _write(self, line: bytes) -> None:
        if self.full:
            raise BlockingIOError
        self.written.append(line)


@pytest.fixture
def call() -> Call:
    return Call()


def texts(tap: Tap, *, final: bool = False) -> list[str]:
    return [line.text for line in tap.take(final=final)]


async def test_both_ways_in_order_each_once(call: Call) -> None:
    tap = Tap(call, call, 0.0)  # type: ignore[arg-type]  # it has what a transport has
    call.inbox = [b"F,1700000000,wel", b"come\nH,1700000000\n"]
    call.write(b"A,welcome\n")
    assert [call.read(), call.read()] == [b"F,1700000000,wel", b"come\nH,1700000000\n"]
    assert texts(tap) == ["A,welcome", "F,welcome", "H"]
    assert texts(tap) == []
    tap.remove()
    call.write(b"A,more\n")
    assert call.written == [b"A,welcome\n", b"A,more\n"]
    assert texts(tap, final=True) == []


async def test_a_command_that_was_not_taken_is_told_when_it_is(call: Call) -> None:
    tap = Tap(call, call, 0.0)  # type: ignore[arg-type]
    call.full = True
    with pytest.raises(BlockingIOError):
        call.write(b"A,welcome\n")
    assert texts(tap) == []


async def test_keys_are_told_as_what_they_were_for(call: Call, autojump_clock: trio.testing.MockClock) -> None:
    tap = Tap(call, call, trio.current_time())  # type: ignore[arg-type]
    call.pressed = 3
    call.fates = {3: "public", 4: "secret"}
    tap.overhear(b"1,1700000000\n2,1700000000\n3,1700000000\nD,1700000000,prompt\n")
    assert texts(tap) == ["1", "?"], "what the third is for is not known, and what follows keeps its place"
    call.fates[5] = "public"
    assert texts(tap) == ["3", "D,prompt"]
    call.pressed = 6
    tap.overhear(b"4,1700000000\nH,1700000000\n")
    await trio.sleep(1.9)
    assert texts(tap) == []
    await trio.sleep(0.2)
    assert texts(tap) == ["?", "H"]
    tap.overhear(b"D,1700000000\n")
    assert texts(tap, final=True) == ["?"], "D without data is a key as well"


async def test_what_only_looks_like_a_key_moves_none(call: Call) -> None:
    """The second line of a variable, for one: the call does not count it."""
    tap = Tap(call, call, 0.0)  # type: ignore[arg-type]
    call.fates = {0: "public", 1: "secret", 2: "public"}
    tap.overhear(b"1,1700000000\n5,x\n8,1700000000\n2,1700000000\n")
    assert texts(tap) == ["1", "5", "?", "2"]


async def test_a_line_without_an_end_is_not_kept(call: Call) -> None:
    tap = Tap(call, call, 0.0)  # type: ignore[arg-type]
    for _ in range(10):
        tap.overhear(b"G,1700000000,X=" + b"y" * 60_000)
    assert len(tap._rest) <= 4096


async def test_secrets_are_masked_wherever_they_are(call: Call) -> None:
    tap = Tap(call, call, 0.0)  # type: ignore[arg-type]
    call.write(b"V,PIN=8642\n")
    tap.overhear(b"G,1700000000,PIN=8642\n")
    assert texts(tap) == ["V,PIN=****", "G,PIN=****"]


async def test_what_is_too_much_is_left_out_and_counted(call: Call) -> None:
    tap = Tap(call, call, 0.0)  # type: ignore[arg-type]
    for number in range(1500):
        call.write(f"L,{number}\n".encode())
    told = []
    while lines := texts(tap):
        told += lines
    assert told == [f"L,{number}" for number in range(1000)]
    assert tap.dropped == 500


@pytest.mark.parametrize("what", ["x", "\xff", "8642"], ids=["plain", "no UTF-8", "secret"])
async def test_a_message_has_a_limit(call: Call, what: str) -> None:
    """Asterisk passes on what a caller's phone sent as a name; each byte that is no text takes three on its way."""
    tap = Tap(call, call, 0.0)  # type: ignore[arg-type]
    for _ in range(100):
        call.write(b"L," + what.encode("latin1") * (1020 // len(what)) + b"\n")
    tap.overhear(b"G,1700000000,X=" + what.encode("latin1") * 1_000_000 + b"\n")
    lines = []
    while told := tap.take():
        assert len(encode(Traced(id="call1", lines=tuple(told), dropped=tap.dropped))) <= MAX_MESSAGE / 2
        lines += told
    assert len(lines) == 101
    assert len(lines[0].text) == 1022
