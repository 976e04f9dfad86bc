"""The traps of ExternalIVR, by name; each of them once brought an app down."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ivrd.simulator.channel import Channel
from ivrd.simulator.records import Outcome

from .line import EVENT, Line


def test_burst_stall() -> None:
    line = Line().burst("A,bye", "P,1", "G,A")
    assert line.take() == []
    assert line.wait(0.5).take() == []
    line.burst("L,next")
    assert line.take() == [("P", "/bin/app,one"), ("G", "A=")]
    assert line.logged == ["Log message from EIVR: next"]


def test_burst_stall_is_cured_by_an_empty_line() -> None:
    line = Line().burst("P,1", "P,2", "P,3")
    assert len(line.take()) == 1
    assert len(line.raw(b"\n").take()) == 2


def test_burst_stall_spares_what_a_second_read_finds() -> None:
    # 2,400 bytes: the first read brings 512 lines, worked off while the pipe holds more; of the other 88 comes one.
    line = Line().burst(*["P,1"] * 600)
    assert len(line.take()) == 513


def test_burst_stall_does_not_happen_in_packet_mode() -> None:
    assert len(Line().write("P,1", "P,2", "P,3").take()) == 3


def test_burst_stall_is_gone_in_a_patched_asterisk() -> None:
    assert len(Line(burst_stall=False).burst("P,1", "P,2", "P,3").take()) == 3


def test_burst_stall_on_stderr() -> None:
    line = Line().stderr(b"one\ntwo\n")
    assert line.logged == ["stderr: one"]
    line.stderr(b"three\n")
    assert line.logged == ["stderr: one", "stderr: two", "stderr: three"]


def test_eof_works_a_stalled_burst_off_before_it_is_seen() -> None:
    line = Line().burst("P,1", "P,2").raw(b"")
    assert line.take() == [("P", "/bin/app,one")] * 2
    assert line.outcome is Outcome.WENT_AWAY


def test_exit_race() -> None:
    """`E` and the closing of both pipes seen in one poll: stderr is looked at first."""
    line = Line()
    line.channel.key("1", line.now)  # the thread is writing this, so it polls only when all three have happened
    line.channel.stdout(b"E,done\n", line.now)
    line.channel.stdout(b"", line.now)
    line.channel.stderr(b"", line.now)
    line.wait(0)
    line._take()
    assert line.take() == [("1", None)]
    assert line.outcome is Outcome.WENT_AWAY


def test_eof_on_either_pipe_hangs_up() -> None:
    for line in (Line().raw(b""), Line().stderr(b"")):
        assert line.outcome is Outcome.WENT_AWAY
        assert line.logged == ["Child process went away"]
        assert line.take() == []


def test_a_command_without_newline_is_done_at_eof() -> None:
    line = Line().raw(b"E,done")
    assert line.outcome is None
    assert line.raw(b"").outcome is Outcome.CONTINUED


def test_long_lines_run_their_rest_as_a_new_command() -> None:
    line = Line().raw(b"L," + b"x" * 1021 + b"P,1\n")
    assert line.take() == []
    assert line.wait(1).raw(b"\n").take() == [("P", "/bin/app,one")]


def test_variables_are_a_way_in() -> None:
    line = Line().write("V,NAME=Bob,FILE(/some/path)=text")
    assert line.channel.variables == {"NAME": "Bob"}
    assert line.channel.function_writes == [("FILE(/some/path)", "text")]


def test_undrained_events_freeze_the_channel_hangup_included() -> None:
    channel = Channel(patience=5.0)
    channel.stdout(b"P,1\n", 1.0)
    event = channel.next_write()
    assert event is not None
    channel.wrote(4, 1.0)
    assert channel.blocked == "Asterisk is blocked writing an event: the app does not read its stdin"
    assert channel.wants == (False, False)
    channel.hangup(2.0)
    channel.key("1", 2.0)
    assert channel.next_write() == event[4:]
    assert channel.next_deadline() == 6.0
    channel.advance(6.0)
    assert channel.ended is not None
    assert channel.ended.outcome is Outcome.DEADLOCKED
    assert "does not read its stdin" in channel.ended.detail


def test_a_channel_that_is_read_again_goes_on() -> None:
    channel = Channel(patience=5.0)
    channel.stdout(b"P,1\n", 1.0)
    channel.wrote(4, 1.0)
    channel.wrote(1, 4.0)
    assert channel.next_deadline() == 9.0
    channel.hangup(4.5)
    event = channel.next_write()
    assert event is not None
    channel.wrote(len(event), 5.0)
    assert channel.blocked is None
    assert channel.next_write() == b"H,1800000005\n"


def test_a_frozen_channel_plays_nothing() -> None:
    line = Line().write("A,welcome").wait(0.5)
    line.channel.key("1", line.now)
    line.channel.wrote(2, line.now)
    line.now = 10.5
    line.channel.wrote(11, line.now)
    line.wait(1.4)
    assert line.take() == []
    assert line.wait(0.2).take() == [("F", "welcome")]
    assert line.channel.heard[0].end == pytest.approx(12.02)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_partial_lines_block_audio_and_all(stream: str) -> None:
    line = Line(patience=5.0).write("A,welcome").wait(0.5)
    feed = line.raw if stream == "stdout" else line.stderr
    feed(b"L,he")
    assert line.channel.blocked == f"Asterisk is blocked reading the app's {stream}: a line has no end"
    line.press("1").hangup().wait(4)
    assert line.take() == []
    feed(b"llo\n")
    assert line.take() == [("H", None)]  # the key is not read from a channel that is hung up
    assert "llo" in line.logged[0]


def test_a_key_pressed_into_a_blocked_channel_is_gone_after_the_hangup() -> None:
    line = Line("i").raw(b"L,he").press("1").hangup().raw(b"llo\n").wait(1)
    assert line.take() == [("I", "HANGUP")]


def test_a_blocked_thread_reads_nothing_else() -> None:
    line = Line().write("A,menu").wait(0.1)
    assert line.channel.wants == (True, True)
    line.raw(b"L,")
    assert line.channel.wants == (True, False)
    line.raw(b"x\n").stderr(b"half")
    assert line.channel.wants == (False, True)
    line.stderr(b"\n").write("D,1")
    assert line.channel.wants == (False, False)
    line.wait(1)
    line.channel.key("1", line.now)
    assert line.channel.wants == (False, False)
    assert line.channel.next_deadline() is None


def test_a_partial_line_delays_the_prompt_that_plays() -> None:
    line = Line().write("A,welcome").wait(0.5).raw(b"L,").wait(10).raw(b"x\n").wait(1.4)
    assert line.take() == []
    assert line.wait(0.2).take() == [("F", "welcome")]


def test_a_partial_line_deadlocks_in_the_end() -> None:
    line = Line(patience=5.0).raw(b"P").wait(6)
    assert line.outcome is Outcome.DEADLOCKED


def test_commands_outrank_keys() -> None:
    line = Line()
    line.channel.key("1", 0)
    line.channel.key("2", 0)  # queued while the first is being written
    line.channel.stdout(b"P,1\n", 0)
    line._take()
    assert line.take() == [("1", None), ("P", "/bin/app,one"), ("2", None)]


def test_replies_to_get_are_not_escaped() -> None:
    line = Line(variables={"A": "1,B=2"})
    assert line.write("G,A,B").take() == [("G", "A=1,B=2,B=")]


COMMANDS = st.one_of(
    st.binary(max_size=40).map(lambda data: data + b"\n"),
    st.builds(
        lambda letter, data: bytes([letter]) + b"," + data + b"\n",
        st.sampled_from(b"ADEGHILOPSTVX"),
        st.sampled_from([b"welcome", b"bye", b"nope", b"locked", b"x", b"1", b"autoclear", b"A=1", b"A", b"w1,50"])
        | st.binary(max_size=20),
    ),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), COMMANDS),
        st.tuples(st.just("burst"), st.lists(COMMANDS, max_size=5).map(b"".join)),
        st.tuples(st.just("raw"), st.binary(max_size=3000)),
        st.tuples(st.just("stderr"), st.binary(max_size=50)),
        st.tuples(st.just("press"), st.sampled_from("0123456789ABCD*#")),
        st.tuples(st.just("wait"), st.floats(0, 5)),
        st.tuples(st.just("hangup"), st.none()),
    ),
    max_size=30,
)


@given(
    steps=STEPS,
    options=st.text("nid", max_size=3),
    answered=st.booleans(),
    hung_up=st.booleans(),
    burst_stall=st.booleans(),
)
def test_nothing_crashes_the_model_and_every_event_is_whole(
    steps: list[tuple[str, bytes | str | float | None]], options: str, answered: bool, hung_up: bool, burst_stall: bool
) -> None:
    line = Line(options, answered=answered, hung_up=hung_up, burst_stall=burst_stall, patience=math.inf)
    for step, value in steps:
        method = getattr(line, step)
        method() if value is None else method(value)  # Line checks each event against EVENT
    line.wait(30)
    heard = line.channel.heard
    assert all(one.end is not None and one.start <= one.end for one in heard[:-1])
    assert all(one.end == two.start or (one.end or 0) <= two.start for one, two in itertools.pairwise(heard))
    if line.channel.ended:
        assert line.channel.next_deadline() is None
        assert line.channel.playing is None


@given(writes=st.lists(COMMANDS.filter(lambda data: data.count(b"\n") == 1), max_size=20))
def test_a_burst_does_what_single_writes_do_once_it_is_worked_off(writes: list[bytes]) -> None:
    one_by_one = Line("n", answered=False).write(*writes).wait(3000)
    burst = Line("n", answered=False, burst_stall=False).burst(*writes).wait(3000)
    assert [event for event in burst.take() if event[0] != "F"] == [
        event for event in one_by_one.take() if event[0] != "F"
    ]
    assert burst.channel.variables == one_by_one.channel.variables


def test_the_pattern_for_events_is_strict() -> None:
    for line in (b"P,1\n", b"H,1800000000,x\n", b"H,1800000000", b"1,1800000000,\n", b"Y,1800000000\n"):
        assert not EVENT.fullmatch(line)


def test_a_poll_takes_what_the_buffer_holds_before_anything_is_read() -> None:
    line = Line().burst("P,1", "P,2", "D,1", "P,3")
    assert line.take() == [("P", "/bin/app,one")]
    assert line.channel.polled("stdout", line.now), "P,2 was in the buffer"
    assert line.wait(0).take() == [("P", "/bin/app,one")]
    assert line.channel.polled("stdout", line.now), "and D"
    assert line.channel.polled("stdout", line.now), "nothing is read while digits are sent"
    assert line.wait(1).take() == []
    assert line.channel.polled("stdout", line.now)
    assert line.wait(0).take() == [("P", "/bin/app,one")]
    assert not line.channel.polled("stdout", line.now)
