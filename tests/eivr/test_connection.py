"""A conversation: however reads fall no event is lost, and nothing is sent behind the end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ivrd import eivr
from ivrd.eivr import Connection, Event, Finished, Hungup, Inform, Key, Left, Variables
from ivrd.errors import CallEnded, InvalidValue

from .asterisk_model import prints

AT = 1764000000

good_lines = st.sampled_from(
    [
        prints("1", AT),
        prints("D", AT),
        prints("D", AT, "beep"),
        prints("F", AT, "a,b"),
        prints("Z", AT),
        prints("G", AT, "A=" + "é" * 1000),
        prints("P", AT, "/bin/x,1"),
        prints("I", AT, "HANGUP"),
    ]
)
bad_lines = st.sampled_from([b"\n", b"F\n", b"x" * 5000 + b"\n"]) | st.binary(max_size=20).map(lambda b: b + b"\n")
streams = st.lists(good_lines | bad_lines, max_size=12).map(b"".join)


def facts(connection: Connection) -> tuple[object, ...]:
    return (
        connection.events_by_tag,
        connection.malformed,
        connection.hungup,
        connection.left,
        connection.hangup_informed,
    )


@given(streams, st.data())
def test_reads_may_end_anywhere(stream: bytes, data: st.DataObject) -> None:
    whole, by_byte, by_chunk = Connection(), Connection(), Connection()
    expected = whole.receive(stream)
    assert [event for byte in stream for event in by_byte.receive(bytes([byte]))] == expected
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert [event for chunk in chunks for event in by_chunk.receive(chunk)] == expected
    assert facts(whole) == facts(by_byte) == facts(by_chunk)


@given(st.lists(good_lines, max_size=8), st.data())
def test_bad_lines_lose_no_good_event(lines: list[bytes], data: st.DataObject) -> None:
    expected = Connection().receive(b"".join(lines))
    assert len(expected) == len(lines)
    bad = data.draw(st.lists(st.sampled_from([b"\n", b"F\n", b"H,12\n", b"x" * 5000 + b"\n", b"\0\xff\n"]), min_size=1))
    mixed = data.draw(st.permutations([b"".join(lines), *bad]))
    connection = Connection()
    assert connection.receive(b"".join(mixed)) == expected
    assert connection.malformed == len(bad)
    assert 1 <= len(connection.problems) == min(len(bad), 5)


@given(st.lists(st.binary(), max_size=20))
def test_any_bytes_neither_crash_nor_grow(reads: list[bytes]) -> None:
    connection = Connection()
    for read in reads:
        for event in connection.receive(read):
            assert eivr.tag(event) in eivr.TAGS
    connection.receive_eof()
    assert len(connection.problems) <= 5
    assert all(len(problem) < 300 for problem in connection.problems)


def test_a_million_bad_lines_keep_five_problems() -> None:
    connection = Connection()
    for _ in range(100):
        assert connection.receive(b"nonsense\n" * 1000) == []
    assert connection.malformed == 100_000
    assert len(connection.problems) == 5
    assert "nonsense" in connection.problems[0]


def test_counts_are_by_tag() -> None:
    connection = Connection()
    connection.receive(prints("1", AT) + prints("D", AT) + prints("D", AT, "beep") + prints("F", AT, "beep"))
    assert connection.events_by_tag == {"key": 2, "D": 1, "F": 1}
    connection.send(eivr.play_now("beep"))
    connection.send(eivr.append("beep"))
    connection.send(eivr.append("beep"))
    assert connection.commands_by_tag == {"S": 1, "A": 2}


def test_send_gives_the_same_bytes() -> None:
    assert Connection().send(b"P,x\n") == b"P,x\n"


def test_an_illegal_line_is_not_let_through_and_not_counted() -> None:
    connection = Connection()
    with pytest.raises(InvalidValue):
        connection.send(b"E,x\nV,A=1\n")
    assert connection.commands_by_tag == {}
    assert not connection.ending


@pytest.mark.parametrize("end", [eivr.exit(), eivr.hangup("bye")])
def test_nothing_follows_the_command_that_ends_the_call(end: bytes) -> None:
    connection = Connection()
    connection.send(eivr.log("last"))
    assert not connection.ending
    connection.send(end)
    assert connection.ending
    for command in (eivr.log("later"), eivr.exit(), eivr.hangup()):
        with pytest.raises(CallEnded, match="sent before"):
            connection.send(command)
    assert sum(connection.commands_by_tag.values()) == 2


@pytest.mark.parametrize(
    ("line", "event", "why"),
    [(prints("H", AT), Hungup(AT), "hung up"), (prints("E", AT), Left(AT), "left to the dialplan")],
)
def test_nothing_follows_the_last_event(line: bytes, event: Event, why: str) -> None:
    connection = Connection()
    assert connection.receive(line) == [event]
    assert (connection.hungup, connection.left) == (isinstance(event, Hungup), isinstance(event, Left))
    with pytest.raises(CallEnded, match=why):
        connection.send(eivr.hangup())
    assert connection.receive(prints("1", AT)) == []
    assert connection.malformed == 1
    assert "after the call's last event" in connection.problems[0]
    assert connection.events_by_tag == {eivr.tag(event): 1}


def test_after_an_informed_hangup_commands_still_go_out() -> None:
    connection = Connection()
    assert connection.receive(prints("I", AT, "HANGUP")) == [Inform(AT, "HANGUP")]
    assert connection.hangup_informed
    assert not connection.hungup
    connection.send(eivr.get_variables("A"))
    assert connection.receive(prints("G", AT, "A=1")) == [Variables(AT, "A=1")]
    connection.send(eivr.hangup())
    assert connection.receive(prints("H", AT)) == [Hungup(AT)]


def test_other_news_is_not_a_hangup() -> None:
    connection = Connection()
    connection.receive(prints("I", AT, "WEATHER"))
    assert not connection.hangup_informed


def test_events_still_come_after_our_end_until_asterisk_answers() -> None:
    connection = Connection()
    connection.send(eivr.exit())
    assert connection.receive(prints("1", AT) + prints("F", AT, "beep") + prints("E", AT)) == [
        Key(AT, "1"),
        Finished(AT, "beep"),
        Left(AT),
    ]
    assert connection.malformed == 0


def test_eof_between_lines_is_clean_and_ends_the_call() -> None:
    connection = Connection()
    connection.receive(prints("1", AT))
    assert not connection.closed
    connection.receive_eof()
    assert connection.closed
    assert connection.malformed == 0
    with pytest.raises(CallEnded, match="closed the connection"):
        connection.send(eivr.hangup())


def test_eof_inside_a_line_is_malformed_once() -> None:
    connection = Connection()
    assert connection.receive(prints("1", AT)[:-1]) == []
    connection.receive_eof()
    connection.receive_eof()
    assert connection.malformed == 1
    assert "inside a line, after 12 bytes" in connection.problems[0]
    assert connection.events_by_tag == {}
