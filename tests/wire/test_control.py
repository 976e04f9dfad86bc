"""What the command line and the daemon say to each other: it arrives, releases may differ, junk is refused."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ivrd.errors import WireError
from ivrd.wire import control as wire
from ivrd.wire.messages import WireLine

# What a daemon of 0.1.0's first days answers; whoever upgrades asks it with the new command for a moment.
STATUS = {
    "type": "status", "release": "0.1.0", "pid": 1, "uptime": 2.5, "draining": False, "max_calls": 9,
    "calls": {"running": 1}, "results": {}, "apps": [],
}  # fmt: skip

words = st.text(max_size=20)
numbers = st.integers(0, 2**40)
seconds = st.floats(0, 1e9)
counts = st.dictionaries(words, numbers, max_size=5)
reloads = st.none() | st.builds(wire.LastReload, at=seconds, error=words)
lines = st.builds(WireLine, seconds, st.sampled_from(["event", "command"]), words)
calls = st.builds(
    wire.CallRow, id=words, app=words, state=words, age=seconds, started=seconds, attempt=numbers, worker=numbers,
    args=numbers, transport=words,
)  # fmt: skip
answers: st.SearchStrategy[wire.Answer] = st.one_of(
    st.builds(
        wire.StatusAnswer, release=words, pid=numbers, uptime=seconds, draining=st.booleans(), max_calls=numbers,
        calls=counts, results=counts, apps=st.just(()), reload=reloads, lag=seconds, descriptors=numbers,
        descriptor_limit=numbers,
    ),
    st.builds(wire.CallsAnswer, rows=st.lists(calls, max_size=3).map(tuple), last=st.booleans()),
    st.builds(wire.Tracing, id=words, app=words, args=st.lists(st.binary(), max_size=3).map(tuple), age=seconds),
    st.builds(wire.TraceLines, lines=st.lists(lines, max_size=3).map(tuple), dropped=numbers),
    st.builds(wire.TraceOver, result=words, detail=words),
    st.builds(wire.Refused, words),
    st.builds(wire.Done, words),
)  # fmt: skip
requests: st.SearchStrategy[wire.Request] = st.one_of(
    st.just(wire.Status()), st.builds(wire.Calls, words), st.builds(wire.Hangup, words), st.just(wire.Reload()),
    st.just(wire.Drain()), st.builds(wire.Trace, id=words, app=words),
)  # fmt: skip


@given(answers)
def test_what_the_daemon_says_arrives(answer: wire.Answer) -> None:
    assert wire.decode_answer(wire.encode(answer)) == answer


@given(requests)
def test_what_the_operator_says_arrives(request: wire.Request) -> None:
    assert wire.decode_request(wire.encode(request)) == request


def test_an_earlier_daemon_is_understood() -> None:
    answer = wire.decode_answer(msgspec.msgpack.encode(STATUS))
    assert isinstance(answer, wire.StatusAnswer)
    assert (answer.reload, answer.lag, answer.descriptors, answer.descriptor_limit) == (None, 0.0, 0, 0)


def test_fields_of_a_later_daemon_are_passed_over() -> None:
    answer = wire.decode_answer(msgspec.msgpack.encode({**STATUS, "mood": "good"}))
    assert isinstance(answer, wire.StatusAnswer)
    assert answer.calls == {"running": 1}


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_an_error_of_ours(data: bytes) -> None:
    for decode in (wire.decode_request, wire.decode_answer):
        with contextlib.suppress(WireError):
            decode(data)


def test_a_form_that_is_not_ours_is_refused() -> None:
    with pytest.raises(WireError, match=r"^control request cannot be read"):
        wire.decode_request(msgspec.msgpack.encode({"type": "dance"}))
    with pytest.raises(WireError, match=r"is it of another release\?"):
        wire.decode_answer(msgspec.msgpack.encode({"type": "status"}))
