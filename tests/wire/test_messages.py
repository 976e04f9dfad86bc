"""What daemon and workers say to each other: what is said arrives, the registration is frozen, and junk is refused."""

from __future__ import annotations

import contextlib
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ivrd.config import App
from ivrd.errors import WireError
from ivrd.wire import messages as wire
from ivrd.wire.messages import (
    Drop,
    Ended,
    Failed,
    Held,
    HeldCall,
    Kept,
    Leave,
    Ready,
    Register,
    Report,
    Retire,
    Spurned,
    Start,
    Started,
    Stop,
    Tally,
    Welcome,
    WorkerSpec,
)
from ivrd.worker.tally import RESPONSES_KEPT

# The form of a worker's half of the registration, byte for byte, as workers of this release send it. Whoever changes it
# leaves the calls of every running worker without a daemon at the next upgrade.
REGISTER = {
    "type": "register", "version": 1, "release": "0.1.0", "pid": 4711, "app": "menu", "token": "abc",
    "generation": "17", "held": 2, "served": 9, "ready": True, "retiring": False, "age": 3.5,
    "heartbeat_timeout": 15.0,
}  # fmt: skip
HELD_CALL = {
    "id": "18c-1", "args": [b"1700.1", b"caf\xe9"], "started": 1700000000.25, "age": 12.5, "attempt": 2,
    "transport": "pipe", "leaving": True, "max_duration": None,
}  # fmt: skip


def test_the_registration_is_frozen() -> None:
    register = Register(
        version=1, release="0.1.0", pid=4711, app="menu", token="abc", generation="17", held=2, served=9, ready=True,
        age=3.5, heartbeat_timeout=15.0,
    )  # fmt: skip
    call = HeldCall(id="18c-1", args=(b"1700.1", b"caf\xe9"), started=1700000000.25, age=12.5, attempt=2, leaving=True)
    assert wire.encode(register) == msgspec.msgpack.encode(REGISTER)
    assert wire.encode(Held(calls=(call,))) == msgspec.msgpack.encode({"type": "held", "calls": [HELD_CALL]})
    assert [msgspec.msgpack.decode(wire.encode(message)) for message in (Ready(), Started("18c-1"))] == [
        {"type": "ready"}, {"type": "started", "id": "18c-1"},
    ]  # fmt: skip
    assert msgspec.msgpack.decode(wire.encode(Ended(id="18c-1", result="hangup", tally=Tally()))) == {
        "type": "ended", "id": "18c-1", "result": "hangup", "detail": "",
        "tally": {
            "events": {}, "commands": {}, "refused": {}, "malformed": 0, "first_command": None, "responses": [],
        },
        "unreported": None, "unsaid": "",
    }  # fmt: skip


def test_what_a_worker_hears_when_it_registers_is_frozen_too() -> None:
    said: list[wire.FromDaemon] = [Welcome(), Kept(), Drop(id="18c-1"), Retire(), Stop(), Leave()]
    assert [msgspec.msgpack.decode(wire.encode(message)) for message in said] == [
        {"type": "welcome"}, {"type": "kept"}, {"type": "drop", "id": "18c-1"}, {"type": "retire"}, {"type": "stop"},
        {"type": "leave"},
    ]  # fmt: skip


def test_the_first_release_is_understood_whatever_was_added_since() -> None:
    # The fields that had no default on the first day are all that may be asked for.
    required = {name: REGISTER[name] for name in ("type", "version", "release", "pid", "app", "token", "generation")}
    register = wire.decode_from_worker(msgspec.msgpack.encode(required))
    assert isinstance(register, Register)
    assert (register.held, register.ready, register.retiring) == (0, False, False)
    call = {name: HELD_CALL[name] for name in ("id", "args", "started", "age")}
    held = wire.decode_from_worker(msgspec.msgpack.encode({"type": "held", "calls": [call]}))
    assert isinstance(held, Held)
    assert (held.calls[0].attempt, held.calls[0].leaving) == (1, False)


def test_fields_of_a_later_release_are_passed_over() -> None:
    later = {**REGISTER, "version": 2, "mood": "good"}
    register = wire.decode_from_worker(msgspec.msgpack.encode(later))
    assert isinstance(register, Register)
    assert register.version == 2


# What is said arrives.

words = st.text(max_size=20)
numbers = st.integers(0, 2**40)
seconds = st.floats(0, 1e9)
counts = st.dictionaries(words, numbers, max_size=5)
args = st.lists(st.binary(max_size=40), max_size=32).map(tuple)
tallies = st.builds(
    Tally, events=counts, commands=counts, refused=counts, malformed=numbers,
    first_command=st.none() | seconds, responses=st.lists(seconds, max_size=5),
)  # fmt: skip
held_calls = st.builds(HeldCall, id=words, args=args, started=seconds, age=seconds, attempt=st.integers(1, 2))
from_worker = st.one_of(
    st.builds(Register, version=numbers, release=words, pid=numbers, app=words, token=words, generation=words),
    st.builds(Held, calls=st.lists(held_calls, max_size=5).map(tuple)),
    st.just(Ready()),
    st.builds(Failed, error=words, traceback=words),
    st.builds(Started, words),
    st.builds(Spurned, words),
    st.builds(Ended, id=words, result=st.sampled_from(get_args(wire.Result)), detail=words, tally=tallies),
    st.builds(Report, lag=seconds, rss=numbers, stuck=numbers, tally=tallies),
)
from_daemon = st.one_of(
    st.sampled_from([Welcome(), Kept(), Retire(), Stop(), Leave()]),
    st.builds(Start, id=words, args=args, started=seconds, age=seconds, attempt=st.integers(1, 2), early=st.binary()),
    st.builds(Drop, id=words),
)


@given(from_worker)
def test_what_a_worker_says_arrives(message: wire.FromWorker) -> None:
    assert wire.decode_from_worker(wire.encode(message)) == message


@given(from_daemon)
def test_what_the_daemon_says_arrives(message: wire.FromDaemon) -> None:
    assert wire.decode_from_daemon(wire.encode(message)) == message


def test_a_worker_is_told_its_app_whole() -> None:
    app = App(handler="menu:main", backend="trio", concurrency=7, allow_functions=("CDR",))
    spec = WorkerSpec(name="menu", app=app, socket="/run/w.sock", token="abc", generation="17", close_timeout=1.5)
    assert msgspec.json.decode(msgspec.json.encode(spec), type=WorkerSpec) == spec


def test_the_longest_call_fits_a_message() -> None:
    # A hello holds 16 KiB of arguments, and the daemon keeps some keys of a waiting caller.
    start = Start(id="18c-1", args=(b"x" * 512,) * 32, started=1.7e9, early=b"1,1700000000\n" * 2520)
    assert len(wire.encode(start)) < wire.MAX_MESSAGE / 2


def test_the_longest_end_fits_a_message() -> None:
    text = "\N{GRINNING FACE}" * 100_000
    tally = Tally(responses=[0.123456789] * RESPONSES_KEPT, events=dict.fromkeys("0123456789", 10**9))
    ended = Ended(id="18c-1", result="app_error", detail=text, unsaid=text, tally=tally, unreported=tally)
    assert len(wire.encode(ended)) < wire.MAX_MESSAGE


def test_a_full_batch_has_no_more_descriptors_than_the_kernel_passes() -> None:
    assert wire.HELD_A_MESSAGE * wire.DESCRIPTORS_A_CALL <= 253


# Junk.


def read(data: bytes) -> None:
    """Read a packet in both directions: it is a message or an error of ours, never another."""
    for decode in (wire.decode_from_worker, wire.decode_from_daemon):
        with contextlib.suppress(WireError):
            decode(data)


@given(st.binary(max_size=200))
@example(b"")
@example(b"\x82\xa4type\xa5ready\xa1z" + b"\x91" * 100_000)  # lists in lists, deeper than any stack
@example(b"\x81\xa4type\xa1\xff")  # no UTF-8
@example(b"\x82\xa4type\xa7started\xa2id\xa1\xff")
@example(b"\xdf\xff\xff\xff\xff")  # a map of 4 billion
@example(b"\x81\xa4type\xda\xff\xff" + b"x" * 0xFFFF)  # an unknown tag of 64 KiB
def test_any_bytes_are_a_message_or_an_error_of_ours(data: bytes) -> None:
    read(data)


@given(st.one_of(from_worker, from_daemon), st.data())
def test_a_damaged_message_is_a_message_or_an_error_of_ours(message: Any, data: st.DataObject) -> None:
    packet = bytearray(wire.encode(message))
    place = data.draw(st.integers(0, len(packet) - 1))
    packet[place] = data.draw(st.integers(0, 255))
    read(bytes(packet))
    read(bytes(packet[:place]))


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "register"},
        {**REGISTER, "pid": "4711"},
        {**REGISTER, "held": None},
        {"type": "held", "calls": [{**HELD_CALL, "args": [7]}]},
        {"type": "ended", "id": "1", "result": "bored", "tally": {}},
        {"type": "ended", "id": "1", "result": "hangup"},
        {"type": "welcome"},
        {"id": "1"},
        ["register"],
    ],
)
def test_a_form_that_is_not_ours_is_refused(wrong: object) -> None:
    with pytest.raises(WireError, match=r"^worker message of [0-9]+ bytes cannot be read: "):
        wire.decode_from_worker(msgspec.msgpack.encode(wrong))


def test_the_daemon_is_not_taken_for_a_worker() -> None:
    with pytest.raises(WireError, match=r"^daemon message of [0-9]+ bytes cannot be read: "):
        wire.decode_from_daemon(wire.encode(Ready()))


def test_what_an_exception_says_travels_whatever_it_is() -> None:
    hostile = "caller \udcff\n" + "x" * 1_000_000
    ended = wire.decode_from_worker(wire.encode(Ended(id="1", result="app_error", detail=hostile, tally=Tally())))
    failed = wire.decode_from_worker(wire.encode(Failed(error=hostile, traceback=hostile)))
    assert isinstance(ended, Ended)
    assert isinstance(failed, Failed)
    assert ended.detail == failed.error == failed.traceback
    assert ended.detail.startswith("caller ?\nxx")
    assert len(wire.encode(failed)) < wire.MAX_MESSAGE
