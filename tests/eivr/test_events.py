"""Every event of Asterisk's is understood, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ivrd import eivr
from ivrd.eivr import (
    Dropped,
    Event,
    Failed,
    Finished,
    Hungup,
    Inform,
    Interrupted,
    Key,
    Left,
    Params,
    Variables,
    parse,
)
from ivrd.errors import AsteriskProtocolError

from .asterisk_model import prints, reply_to_get

AT = 1764000000

# One entry for each row of the table of events, and for each of its variants.
ROWS: dict[str, tuple[bytes, Event]] = {
    **{f"the key {key}": (prints(key, AT), Key(AT, key)) for key in "0123456789ABCD*#"},
    **{f"SIP INFO's {key}": (prints(key, AT), Key(AT, key.upper())) for key in "abcd"},
    "a file finished": (prints("F", AT, "demo-congrats"), Finished(AT, "demo-congrats")),
    "the playing file was interrupted": (prints("T", AT, "/srv/a, b"), Interrupted(AT, "/srv/a, b")),
    "a queued file was dropped": (prints("D", AT, "beep"), Dropped(AT, "beep")),
    "an unknown file": (prints("Z", AT, "nosuch"), Failed(AT, "nosuch")),
    "no answer": (prints("Z", AT, "ANSWER_FAILURE"), Failed(AT, "ANSWER_FAILURE")),
    "no generator": (prints("Z", AT, "GENERATOR_FAILURE"), Failed(AT, "GENERATOR_FAILURE")),
    "the channel is not up": (prints("Z", AT), Failed(AT, "")),
    "parameters": (prints("P", AT, "/usr/bin/ivrd-shim,menu,42"), Params(AT, ("/usr/bin/ivrd-shim", "menu", "42"))),
    "parameters of old versions": (prints("P", AT, "/opt/a|b,c|d"), Params(AT, ("/opt/a", "b,c", "d"))),
    "a bar in an argument": (prints("P", AT, "/opt/a,b|c,,d"), Params(AT, ("/opt/a", "b|c", "", "d"))),
    "a command without arguments": (prints("P", AT, "/opt/a"), Params(AT, ("/opt/a",))),
    "no parameters at all": (prints("P", AT, ""), Params(AT, ("",))),
    "variables": (prints("G", AT, "A=1,B="), Variables(AT, "A=1,B=")),
    "inform": (prints("I", AT, "HANGUP"), Inform(AT, "HANGUP")),
    "hangup": (prints("H", AT), Hungup(AT)),
    "exit": (prints("E", AT), Left(AT)),
    "a clock that was never set": (b"H,         7\n", Hungup(7)),
    "a clock past 2038": (b"H,-2147483648\n", Hungup(-2147483648)),
    "a name that is not UTF-8": (prints("F", AT, b"caf\xe9"), Finished(AT, "caf\udce9")),
    "a name in UTF-8": (prints("F", AT, "café"), Finished(AT, "café")),
}


@pytest.mark.parametrize("row", ROWS)
def test_row(row: str) -> None:
    line, event = ROWS[row]
    assert parse(line.removesuffix(b"\n")) == event


def test_the_rows_cover_all_tags() -> None:
    assert {eivr.tag(event) for _, event in ROWS.values()} == set(eivr.TAGS)
    assert eivr.TAGS == ("key", "F", "T", "D", "Z", "P", "G", "I", "H", "E")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"H",
        b"H,",
        b"H\r",
        b"H,1764000000\r",
        b"H,1764000000,",
        b"H,1764000000,x",
        b"E,1764000000,x",
        b"5,1764000000,x",
        b"d,1764000000,x",
        b"D,1764000000,",
        b"F,1764000000",
        b"F,1764000000,",
        b"T,1764000000",
        b"P,1764000000",
        b"G,1764000000",
        b"G,1764000000,",
        b"G,1764000000,A",
        b"I,1764000000",
        b"f,1764000000,beep",
        b"X,1764000000",
        b"FF,1764000000,beep",
        b",1764000000",
        b" H,1764000000",
        b"F,,beep",
        b"F,176400000,beep",
        b"F,176400000000,beep",
        b"F,176400000x,beep",
        b"F,17 4000000,beep",
        b"F,1_64000000,beep",
        b"F,+764000000,beep",
        b"H,          ",
        "F,١٧٦٤٠".encode() + b",beep",  # ten bytes of digits, yet not Asterisk's
        b"F,1764000000,a\nb",
        b"F,1764000000,a\0b",
        b"\xff,1764000000",
        "\N{REPLACEMENT CHARACTER},1764000000".encode(),
    ],
)
def test_what_asterisk_never_sends(line: bytes) -> None:
    with pytest.raises(AsteriskProtocolError, match="check that Asterisk itself is at the other end"):
        parse(line)


@given(st.binary() | st.binary().map(lambda tail: b"F,1764000000" + tail))
def test_any_bytes_are_an_event_or_the_one_error(line: bytes) -> None:
    try:
        event = parse(line)
    except AsteriskProtocolError as error:
        assert len(str(error)) < 300
    else:
        assert eivr.tag(event) in eivr.TAGS


names = st.text(st.characters(codec="utf-8", exclude_characters="\n\0"), min_size=1)


@given(st.sampled_from("FTDZGI"), st.integers(0, 2**31 - 1), names)
def test_data_comes_through_unchanged(letter: str, at: int, data: str) -> None:
    if letter == "G":
        data = f"{data}="
    event = parse(prints(letter, at, data).removesuffix(b"\n"))
    assert eivr.tag(event) == letter
    assert event.at == at
    match event:
        case Finished(prompt=got) | Interrupted(prompt=got) | Dropped(prompt=got):
            assert got == data
        case Failed(detail=got) | Inform(detail=got) | Variables(raw=got):
            assert got == data
        case _:
            pytest.fail(f"{letter} became {event}")


@pytest.mark.parametrize(
    ("detail", "cause"),
    [
        ("", "not_up"),
        ("nosuch", "unknown_file"),
        ("ANSWER_FAILURE", "answer_failure"),
        ("GENERATOR_FAILURE", "generator_failure"),
    ],
)
def test_why_a_command_failed(detail: str, cause: str) -> None:
    assert Failed(AT, detail).cause == cause


def test_one_variable_takes_commas_whole() -> None:
    reply = Variables(AT, "NAME=Smith, Bob=2,X=3")
    assert reply.value("NAME") == "Smith, Bob=2,X=3"
    assert reply.values(["NAME"]) == {"NAME": "Smith, Bob=2,X=3"}


def test_several_variables_end_where_the_next_begins() -> None:
    reply = Variables(AT, "A=1,2,B=,C=x=y,z")
    assert reply.values(["A", "B", "C"]) == {"A": "1,2", "B": "", "C": "x=y,z"}
    assert reply.value("C", ["A", "B", "C"]) == "x=y,z"


@pytest.mark.parametrize("names", [["B"], ["A", "C"], ["A", "B", "C"], ["a"]])
def test_a_reply_to_another_request_is_an_error(names: list[str]) -> None:
    with pytest.raises(AsteriskProtocolError, match="does not answer for"):
        Variables(AT, "A=1,B=2").values(names)


def test_a_cut_reply_leaves_out_what_it_does_not_reach() -> None:
    raw = reply_to_get({b"A": b"x" * 3000, b"B": b"y"}, [b"A", b"B"])
    reply = parse(prints("G", AT, raw).removesuffix(b"\n"))
    assert isinstance(reply, Variables)
    assert reply.cut
    assert reply.values(["A", "B"]) == {"A": "x" * 2045}
    assert reply.value("B", ["A", "B"]) == ""
    assert not Variables(AT, "A=" + "x" * 2044).cut
    assert Variables(AT, "A=" + "\udce9" * 2045).cut


def test_a_cut_reply_to_another_request_is_an_error_too() -> None:
    with pytest.raises(AsteriskProtocolError, match="does not answer for B"):
        Variables(AT, "A=" + "x" * 2045).values(["B"])


# Values of which none contains the next name: those can be told apart for certain.
stored_values = st.text(st.characters(codec="utf-8", exclude_characters="\n\0="), max_size=50)


@given(
    st.lists(st.sampled_from("ABCDE"), min_size=1, max_size=5), st.dictionaries(st.sampled_from("ABC"), stored_values)
)
def test_values_come_back_as_they_were_stored(names: list[str], stored: dict[str, str]) -> None:
    raw = reply_to_get({k.encode(): v.encode() for k, v in stored.items()}, [n.encode() for n in names])
    reply = parse(prints("G", AT, raw).removesuffix(b"\n"))
    assert isinstance(reply, Variables)
    assert reply.values(names) == {name: stored.get(name, "") for name in names}
