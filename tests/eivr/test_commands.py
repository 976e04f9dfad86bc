"""Every command is one line that Asterisk understands as exactly what was asked, or it is refused."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ivrd import eivr
from ivrd.errors import InvalidValue

from .asterisk_model import Meaning, reads

# One entry for each row of the table of commands, and for each of its variants.
ROWS: dict[str, tuple[bytes, bytes, Meaning]] = {
    "play now": (eivr.play_now("beep"), b"S,beep\n", ("S", b"beep")),
    "append": (eivr.append("/srv/a, b&c|${D}"), b"A,/srv/a, b&c|${D}\n", ("A", b"/srv/a, b&c|${D}")),
    "interrupt": (eivr.interrupt(), b"I,x\n", ("I", None)),
    "autoclear": (eivr.autoclear(True), b"O,autoclear\n", ("O", True)),
    "noautoclear": (eivr.autoclear(False), b"O,noautoclear\n", ("O", False)),
    "answer": (eivr.answer(), b"T,x\n", ("T", None)),
    "DTMF": (eivr.send_dtmf("1*#Dw"), b"D,1*#Dw\n", ("D", (b"1*#Dw", 250, 0))),
    "DTMF with an interval": (eivr.send_dtmf("1", 100), b"D,1,100\n", ("D", (b"1", 100, 0))),
    "DTMF with a duration": (eivr.send_dtmf("1", None, 200), b"D,1,,200\n", ("D", (b"1", 250, 200))),
    "DTMF with both": (
        eivr.send_dtmf("1", interval_ms=100, duration_ms=200),
        b"D,1,100,200\n",
        ("D", (b"1", 100, 200)),
    ),
    "set": (
        eivr.set_variables({"A": "1", "__B": "", "_C3": "x=y z"}),
        b"V,A=1,__B=,_C3=x=y z\n",
        ("V", [("variable", b"A", b"1"), ("variable", b"__B", b""), ("variable", b"_C3", b"x=y z")]),
    ),
    "set a function": (
        eivr.set_function("CALLERID(num)", "100", ["CALLERID"]),
        b"V,CALLERID(num)=100\n",
        ("V", [("function", b"CALLERID", b"num", b"100")]),
    ),
    "get": (eivr.get_variables("A", "B_2"), b"G,A,B_2\n", ("G", [b"A", b"B_2"])),
    "parameters": (eivr.get_params(), b"P,x\n", ("P", None)),
    "log": (eivr.log("hello, world"), b"L,hello, world\n", ("L", b"hello, world")),
    "exit": (eivr.exit("done"), b"E,done\n", ("E", b"done")),
    "exit without a word": (eivr.exit(), b"E,ivrd\n", ("E", b"ivrd")),
    "hang up": (eivr.hangup("bye"), b"H,bye\n", ("H", b"bye")),
    "hang up without a word": (eivr.hangup(), b"H,ivrd\n", ("H", b"ivrd")),
}


@pytest.mark.parametrize("row", ROWS)
def test_row(row: str) -> None:
    made, line, meaning = ROWS[row]
    assert made == line
    assert reads(made) == [meaning]
    eivr.check_line(made)


def test_the_rows_cover_all_commands_but_the_deprecated_one() -> None:
    assert {eivr.command_tag(made) for made, _, _ in ROWS.values()} == set("SAIOTDVGPLEH")


def one_meaning(line: bytes) -> Meaning:
    """Assert what holds for every command: within the limits, and one for Asterisk, now and with others around it."""
    assert len(line) <= eivr.MAX_LINE
    assert len(line.rstrip(BLANKS.encode())) >= eivr.MIN_LINE
    assert line.index(b"\n") == len(line) - 1
    (meaning,) = reads(line)
    before, after = ("P", None), ("I", None)
    assert reads(b"P,x\n" + line + b"I,x\n") == [before, meaning, after]
    return meaning


# Everything that could matter to either side is far more frequent here than chance would have it.
nasty = st.lists(
    st.sampled_from([*" ,=|()&{}$\"'\\;\t\r\n\0\x1b\x7f\x85", "é", "\u2028", "\udce9", "\ud800", "FILE(/x)", "A", "9"])
    | st.text(max_size=3)
).map("".join)
huge = st.builds(
    lambda unit, times, tail: unit * times + tail,
    st.sampled_from(["a", "é", "€", "😀", " "]),
    st.integers(1, 1100),
    nasty,
)
texts = nasty | huge


BLANKS = "".join(map(chr, range(33)))


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


@given(texts)
@example("a" * 1020)
@example("a" * 1021)
def test_prompts_are_exact_or_refused(prompt: str) -> None:
    for encoder, letter in ((eivr.play_now, "S"), (eivr.append, "A")):
        try:
            line = encoder(prompt)
        except InvalidValue:
            assert (
                not prompt.strip(" ")
                or prompt != prompt.strip(" ")
                or re.search(r"[\x00-\x1f\x7f\ud800-\udc7f\udd00-\udfff]", prompt)
                or len(encoded(prompt)) > 1020
            )
        else:
            assert one_meaning(line) == (letter, encoded(prompt))


@given(st.dictionaries(st.sampled_from(["A", "_B", "__C", "D_4"]) | nasty, texts, max_size=4))
@example({"A": "x" * 1018})
@example({"A": "x" * 1019})
def test_variables_are_exact_or_refused(variables: dict[str, str]) -> None:
    try:
        line = eivr.set_variables(variables)
    except InvalidValue:
        said = ",".join(f"{name}={value}" for name, value in variables.items())
        assert (
            not variables
            or not all(re.fullmatch(r"_?_?[A-Z0-9a-z]+(_4)?", name) for name in variables)
            or re.search(r"[,\r\n\0]", "".join(variables.values()))
            or re.search(r"[\ud800-\udc7f\udd00-\udfff]", said)
            or len(encoded(said)) > 1020
        )
        return
    wanted = [("variable", encoded(name), encoded(value.rstrip(BLANKS))) for name, value in variables.items()]
    assert one_meaning(line) == ("V", wanted)


@given(st.text(st.characters(codec="utf-8", exclude_characters=",\r\n\0"), max_size=200))
def test_values_without_comma_and_newline_are_taken(value: str) -> None:
    assert eivr.set_variables({"A": value}).startswith(b"V,A=")


def test_blanks_at_the_end_of_a_value_are_dropped_wherever_it_stands() -> None:
    assert eivr.set_variables({"A": " a \t", "B": " ", "C": "c "}) == b"V,A= a,B=,C=c\n"


@given(nasty | st.sampled_from(["CALLERID(num)", "CDR(x y)", "CDR(a,b)", "SHELL(x)", "CDR()"]), texts)
def test_functions_are_exact_or_refused(name: str, value: str) -> None:
    try:
        line = eivr.set_function(name, value, {"CALLERID", "CDR"})
    except InvalidValue:
        return
    function, argument = re.fullmatch(r"(CALLERID|CDR)\((.*)\)", name).groups()  # type: ignore[union-attr]  # or it fails
    wanted = ("function", function.encode(), argument.encode(), encoded(value.rstrip(BLANKS)))
    assert one_meaning(line) == ("V", [wanted])


@given(st.lists(st.sampled_from(["A", "B_2", "LONG" * 60]) | nasty, max_size=6))
def test_requests_are_exact_or_refused(names: list[str]) -> None:
    try:
        line = eivr.get_variables(*names)
    except InvalidValue:
        return
    assert one_meaning(line) == ("G", [name.encode() for name in names])


@given(texts)
@example("")
@example(" \t\n")
@example("é" * 511)
@example("a" + "é" * 511)
@example(" " * 2000 + "x")
def test_a_log_line_is_never_refused(text: str) -> None:
    for encoder, letter in ((eivr.log, "L"), (eivr.exit, "E"), (eivr.hangup, "H")):
        line = encoder(text)
        got, said = one_meaning(line)
        assert got == letter
        assert isinstance(said, bytes)
        shown = said.decode()  # whole characters only
        assert not re.search(r"[\x00-\x1f\x7f-\x9f]", shown)
        # What is said is the beginning of what was asked, as far as that can be said.
        mended = re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", text).encode("utf-8", "replace").decode()
        assert mended.startswith(shown) or (shown == "ivrd" and not mended[:1020].strip(" "))


def test_a_log_line_that_is_too_long_uses_all_the_room() -> None:
    assert len(eivr.log("x" * 5000)) == 1023
    assert len(eivr.log("€" * 5000)) == 1023
    assert len(eivr.log("é" * 5000 + "x")) == 1023
    assert len(eivr.log("a" + "é" * 5000)) == 1022


@given(st.text("0123456789*#ABCDabcdwWfF,x \n", max_size=10), st.none() | st.integers(), st.none() | st.integers())
def test_dtmf_is_exact_or_refused(digits: str, interval: int | None, duration: int | None) -> None:
    legal = bool(re.fullmatch(r"[0-9*#A-Da-dwWfF]+", digits)) and all(
        ms is None or 1 <= ms <= 60_000 for ms in (interval, duration)
    )
    try:
        line = eivr.send_dtmf(digits, interval, duration)
    except InvalidValue:
        assert not legal
    else:
        assert legal
        assert one_meaning(line) == ("D", (digits.encode(), interval or 250, duration or 0))


HOSTILE = [
    "Bob,FILE(/some/path)=text",
    "Bob\nV,FILE(/some/path)=text",
    "Bob\rX",
    "Bob\0",
    "Bob,X",
    ",",
    "x" * 1018 + "\nH,x",
    "x" * 1200,
    "x" * 1019 + "V,FILE(/some/path)=text",
]


@pytest.mark.parametrize("caller", HOSTILE)
def test_a_hostile_caller_id_is_refused_as_a_value(caller: str) -> None:
    with pytest.raises(InvalidValue) as refusal:
        eivr.set_variables({"NAME": caller})
    assert len(str(refusal.value).splitlines()) == 1
    with pytest.raises(InvalidValue):
        eivr.set_function("CALLERID(name)", caller, ["CALLERID"])


@pytest.mark.parametrize("caller", HOSTILE)
def test_a_hostile_caller_id_is_harmless_in_the_log(caller: str) -> None:
    assert one_meaning(eivr.log(f"call from {caller}"))[0] == "L"


def refused(make: Callable[[], object], what: str) -> None:
    with pytest.raises(InvalidValue, match=what) as refusal:
        make()
    assert len(str(refusal.value)) < 300


def test_refusals_say_what_is_wrong_and_what_to_do() -> None:
    refused(lambda: eivr.play_now(""), "empty prompt: give the name")
    refused(lambda: eivr.play_now("beep "), "blank at an end.*take it off")
    refused(lambda: eivr.play_now("beep\n"), "control characters: give the plain name")
    refused(lambda: eivr.play_now("be\x7fep"), "control characters")
    refused(lambda: eivr.append("x" * 1_000_000), "1000003 bytes: Asterisk reads 1023.*shorten")
    refused(lambda: eivr.append("\ud800"), "surrogate.*can be encoded")
    refused(lambda: eivr.set_variables({}), "give at least one name and value")
    refused(lambda: eivr.set_variables({"CALLERID(num)": "1"}), r"use set_function\(\)")
    refused(lambda: eivr.set_variables({"A": 3}), "of A is of type int: pass a str")  # type: ignore[dict-item]  # on purpose
    refused(lambda: eivr.set_variables({"A": "1,2"}), "'1,2' of A has a comma.*replace it")
    refused(lambda: eivr.set_variables({"A": "1\r2"}), "of A has a CR")
    refused(lambda: eivr.set_function("CALLERID", "1", ["CALLERID"]), r"write it as FUNCTION\(argument\)")
    refused(lambda: eivr.set_function("SHELL(x)", "1", ["CALLERID"]), "SHELL may not.*allow_functions")
    refused(lambda: eivr.set_function("CALLERID(num)", "1", []), "CALLERID may not.*allow_functions")
    refused(eivr.get_variables, "give at least one name")
    refused(lambda: eivr.get_variables("CALLERID(num)"), "passed as an argument by the dialplan")
    refused(lambda: eivr.get_variables("_A"), "inner underscores")
    refused(lambda: eivr.send_dtmf("12p"), "'12p': send one or more of")
    refused(lambda: eivr.send_dtmf("1", 0), "interval_ms 0: give whole milliseconds")
    refused(lambda: eivr.send_dtmf("1", 1, 60_001), "duration_ms 60001")
    refused(lambda: eivr.send_dtmf("1", 2.5), "interval_ms 2.5")  # type: ignore[arg-type]  # on purpose
    refused(lambda: eivr.send_dtmf("1" * 1200), "shorten it or send it in parts")


@pytest.mark.parametrize(
    "name", ["", "_", "__", "___A", "A B", "A=B", "A,B", "A)", "A\n", "${A}", "É", "A-B", "x" * 1100]
)
def test_names_that_are_not_plain(name: str) -> None:
    refused(lambda: eivr.set_variables({name: "x"}), "name|shorten")


@pytest.mark.parametrize(
    "name",
    [
        "CALLERID(num,x)",
        "CALLERID(a)(b)",
        "CALLERID(num)=1",
        "CALLERID(${X})",
        "CALLERID(num)\n",
        "X=1,CALLERID(num)",
        "(num)",
        "CALLERID (num)",
        'CALLERID("num")',
        "CALLERID(é)",
    ],
)
def test_function_names_that_v_would_misread(name: str) -> None:
    refused(lambda: eivr.set_function(name, "x", ["CALLERID"]), "write it as FUNCTION")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"P\n",
        b"P,\n",
        b"P, \t\n",
        b"P,x",
        b"P,x\nP,x\n",
        b"P,x\r\n",
        b"P,\0x\n",
        b"X,x\n",
        b"Q,x\n",
        b"Px\n",
        b" P,x\n",
    ],
)
def test_the_last_check(line: bytes) -> None:
    refused(lambda: eivr.check_line(line), "not one line")


def test_the_last_check_knows_the_longest_line() -> None:
    eivr.check_line(b"L," + b"x" * 1020 + b"\n")
    refused(lambda: eivr.check_line(b"L," + b"x" * 1021 + b"\n"), "1024 bytes")
