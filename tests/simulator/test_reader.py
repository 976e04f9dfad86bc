from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ivrd.simulator.reader import LINE_LIMIT, READ_SIZE, StreamReader


def read_all(reader: StreamReader) -> list[bytes]:
    lines = []
    while reader.readable and (line := reader.line()):
        lines.append(line)
    return lines


def test_one_line_is_taken_and_the_rest_is_not_seen_by_poll() -> None:
    reader = StreamReader()
    reader.feed(b"A,one\nA,two\n")
    assert reader.readable
    assert reader.line() == b"A,one\n"
    assert not reader.readable
    assert reader.holds_line


def test_new_bytes_make_the_buffered_lines_come_out_without_being_read() -> None:
    reader = StreamReader()
    reader.feed(b"A,one\nA,two\nA,three\n")
    reader.line()
    reader.feed(b"\n")
    assert read_all(reader) == [b"A,two\n", b"A,three\n", b"\n"]


def test_part_of_a_line_would_block() -> None:
    reader = StreamReader()
    reader.feed(b"P,")
    assert reader.line() is None
    reader.feed(b"1\n")
    assert reader.line() == b"P,1\n"


def test_what_stood_before_eof_is_a_line_and_eof_comes_next() -> None:
    reader = StreamReader()
    reader.feed(b"E,x")
    reader.feed(b"")
    assert reader.line() == b"E,x"
    assert reader.readable
    assert reader.line() == b""


def test_a_long_line_is_cut_at_1023_bytes() -> None:
    reader = StreamReader()
    reader.feed(b"L," + b"x" * 1500 + b"\n")
    first = reader.line()
    assert first is not None
    assert len(first) == 1023
    assert reader.holds_line
    assert reader.line() == b"x" * 479 + b"\n"


def test_1023_bytes_are_enough_without_a_newline() -> None:
    reader = StreamReader()
    reader.feed(b"x" * 1022)
    assert reader.line() is None
    reader.feed(b"x")
    assert reader.line() == b"x" * 1023


def test_the_newline_counts() -> None:
    for size, lines in ((1022, [1023]), (1023, [1023, 1])):
        reader = StreamReader()
        reader.feed(b"x" * size + b"\n")
        taken = [reader.line(), reader.line() if len(lines) == 2 else None]
        assert [len(line) for line in taken if line] == lines


@given(st.lists(st.binary(max_size=3000)))
def test_no_byte_is_lost_and_no_line_is_too_long(writes: list[bytes]) -> None:
    reader = StreamReader()
    for data in writes:
        if data:
            reader.feed(data)
    reader.feed(b"")
    lines = read_all(reader)
    assert b"".join(lines) == b"".join(writes)
    assert all(len(line) <= LINE_LIMIT for line in lines)
    assert all(b"\n" not in line[:-1] for line in lines)
    assert READ_SIZE > LINE_LIMIT
