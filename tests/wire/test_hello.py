"""The shim's hello and the daemon's answers: what is said arrives, and hostile bytes are one-line errors."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ivrd.errors import WireError
from ivrd.wire import hello as wire
from ivrd.wire.hello import Hello, Reply, Status

field = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60)
hellos = st.builds(
    Hello,
    app=field.filter(bool),
    args=st.lists(field, max_size=wire.MAX_ARGS).map(tuple),
    fallback=st.sampled_from(["hangup", "exit"]),
    timeout_ms=st.integers(0, wire.MAX_TIMEOUT_MS),
)


def message(*fields: bytes) -> bytes:
    return b"".join(part + b"\0" for part in (b"ivrd1", *fields))


def test_the_form_is_frozen() -> None:
    # Shims of older installations send exactly this; the test fails whoever changes it.
    data = b"ivrd1\0exit\x002000\0menu\x001700.1\0\x00caf\xc3\xa9\0"
    assert wire.parse_hello(data) == Hello("menu", ("1700.1", "", "café"), "exit", 2000)
    assert wire.encode_hello(wire.parse_hello(data)) == data


@given(hellos)
def test_hello_survives_the_wire(hello: Hello) -> None:
    assert wire.parse_hello(wire.encode_hello(hello)) == hello


def test_bytes_that_are_not_utf8_are_carried_through() -> None:
    data = message(b"hangup", b"1", b"menu", b"M\xfcller")
    assert wire.parse_hello(data).args == ("M\udcfcller",)
    assert wire.encode_hello(wire.parse_hello(data)) == data


def test_every_limit_is_reached_but_not_passed() -> None:
    most = message(b"hangup", b"1", b"menu", *[b"x"] * 32)
    assert len(wire.parse_hello(most).args) == 32
    room = wire.MAX_HELLO - len(message(b"hangup", b"1", b"menu", b""))
    longest = message(b"hangup", b"1", b"menu", b"x" * room)
    assert len(longest) == 16_384
    assert len(wire.parse_hello(longest).args[0]) == room
    with pytest.raises(WireError, match="more than 16384 bytes"):
        wire.parse_hello(message(b"hangup", b"1", b"menu", b"x" * (room + 1)))
    assert wire.parse_hello(message(b"hangup", b"3600000", b"menu")).timeout_ms == 3_600_000


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "closed without"),
        (b"\0", "begins with ''"),
        (b"ivrd2\0exit\x002000\0menu\0", "begins with 'ivrd2', not with 'ivrd1'"),
        (b"GET / HTTP/1.1\r\n", "begins with"),
        (b"ivrd1", "not ended by NUL"),
        (b"ivrd1\0exit\x002000\0menu", "not ended by NUL"),
        (b"ivrd1\0", "0 fields"),
        (message(b"exit", b"2000"), "2 fields"),
        (message(b"stay", b"2000", b"menu"), "fallback 'stay'"),
        (message(b"exit", b"", b"menu"), "time-out ''"),
        (message(b"exit", b"-1", b"menu"), "time-out '-1'"),
        (message(b"exit", b"2.5", b"menu"), "time-out '2.5'"),
        (message(b"exit", "²".encode(), b"menu"), "time-out"),
        (message(b"exit", b"3600001", b"menu"), "time-out '3600001'"),
        (message(b"exit", b"9" * 10_000, b"menu"), "time-out"),
        (message(b"exit", b"2000", b""), "name is empty"),
        (message(b"exit", b"2000", b"menu", *[b"x"] * 33), "33 arguments"),
        (message(b"exit", b"2000", b"menu", b"x" * wire.MAX_HELLO), "more than 16384 bytes"),
    ],
)
def test_a_malformed_hello_says_what_is_wrong(data: bytes, reason: str) -> None:
    with pytest.raises(WireError) as caught:
        wire.parse_hello(data)
    assert reason in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


@given(st.binary(max_size=200) | st.lists(st.binary(max_size=9), max_size=40).map(lambda parts: message(*parts)))
@example(b"ivrd1\0hangup\x001\0menu\0\0\0")
def test_any_bytes_are_a_hello_or_one_line(data: bytes) -> None:
    try:
        hello = wire.parse_hello(data)
    except WireError as error:
        assert str(error).isprintable()
    else:
        assert hello.app
        assert len(hello.args) <= 32


@pytest.mark.parametrize(
    "hello",
    [
        Hello("menu", ("a\0b",), "exit", 1),
        Hello("menu", ("\ud800",), "exit", 1),
        Hello("menu", ("x",) * 33, "exit", 1),
        Hello("menu", ("x" * 16_384,), "exit", 1),
        Hello("", (), "exit", 1),
        Hello("menu", (), "exit", -1),
    ],
)
def test_what_cannot_be_said_is_not_sent(hello: Hello) -> None:
    with pytest.raises(WireError):
        wire.encode_hello(hello)


def test_replies_are_read_back() -> None:
    assert wire.parse_reply(wire.queued(1500)) == Reply("queued", wait_ms=1500)
    assert wire.parse_reply(wire.STARTED) == Reply("started")
    assert wire.parse_reply(wire.ENDED) == Reply("ended")
    assert wire.parse_reply(wire.refused(Status.OVERLOADED, "exit", "queue of menu is full")) == Reply(
        "refused", status=Status.OVERLOADED, action="exit", reason="queue of menu is full"
    )
    assert wire.refused(Status.UNKNOWN_APP, "-", "no app x") == b"refused UNKNOWN_APP - no app x"


def test_a_wait_out_of_range_is_cut() -> None:
    assert wire.queued(-5) == b"queued 0"
    assert wire.queued(10**12) == b"queued 3600000"


@given(st.sampled_from(Status), st.sampled_from(["hangup", "exit", "-"]), st.text(max_size=700))
def test_a_refusal_is_always_one_short_printable_line(status: Status, action: wire.Action, reason: str) -> None:
    data = wire.refused(status, action, reason)
    assert len(data) <= wire.MAX_REPLY
    reply = wire.parse_reply(data)
    assert (reply.status, reply.action) == (status, action)
    assert reply.reason.isprintable()


def test_a_cut_leaves_no_half_character() -> None:
    for shift in ("", "x"):
        reply = wire.parse_reply(wire.refused(Status.ERROR, "-", shift + "é" * 600))
        assert set(reply.reason) == {"é", *shift}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"started now",
        b"STARTED",
        b"queued",
        b"queued x",
        b"queued -1",
        b"refused",
        b"refused NO - x",
        b"refused ERROR",
        b"refused ERROR stay x",
        b"refused ERROR - " + b"x" * 512,
        b"\xff\0\n",
    ],
)
def test_a_malformed_reply_is_one_line(data: bytes) -> None:
    with pytest.raises(WireError) as caught:
        wire.parse_reply(data)
    assert str(caught.value).isprintable()
