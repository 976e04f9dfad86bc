"""Lines come out the same however the reads fall, and memory has a bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ivrd.eivr import LineSplitter

LIMIT = 8
# Few byte values, so that newlines and lines around the limit are common.
streams = st.lists(st.sampled_from([b"a", b"bc", b"\n", b"\r", b"\0", b"12345678", b"123456789"]), max_size=40)


def reference(stream: bytes) -> tuple[list[bytes], int]:
    *whole, rest = stream.split(b"\n")
    overlong = sum(len(line) > LIMIT for line in [*whole, rest])
    return [line for line in whole if len(line) <= LIMIT], overlong


@given(streams)
def test_any_reads_give_the_lines_of_the_whole(reads: list[bytes]) -> None:
    splitter = LineSplitter(LIMIT)
    lines = []
    for read in reads:
        lines += splitter.feed(read)
        assert splitter.pending <= LIMIT
    assert (lines, splitter.overlong) == reference(b"".join(reads))


@given(streams)
def test_byte_by_byte_is_as_good_as_at_once(reads: list[bytes]) -> None:
    stream = b"".join(reads)
    at_once, by_byte = LineSplitter(LIMIT), LineSplitter(LIMIT)
    expected = at_once.feed(stream)
    assert [line for byte in stream for line in by_byte.feed(bytes([byte]))] == expected
    assert by_byte.pending == at_once.pending
    assert by_byte.overlong == at_once.overlong


def test_a_line_without_end_costs_nothing_and_is_told_once() -> None:
    splitter = LineSplitter()
    for _ in range(1000):
        assert splitter.feed(b"x" * 65536) == []
        assert splitter.pending <= 4096
    assert splitter.overlong == 1
    assert splitter.feed(b"tail\ngood\nha") == [b"good"]
    assert splitter.pending == 2
    assert splitter.feed(b"lf\n") == [b"half"]
    assert splitter.overlong == 1


@pytest.mark.parametrize(("length", "lines"), [(4096, 1), (4097, 0)])
def test_the_limit_is_exact(length: int, lines: int) -> None:
    assert len(LineSplitter().feed(b"x" * length + b"\n")) == lines


def test_the_longest_reply_to_g_fits() -> None:
    line = b"G,1764000000," + b"x" * 2047
    assert LineSplitter().feed(line + b"\n") == [line]
