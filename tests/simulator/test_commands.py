"""Each command: the events that answer it, in order, and what it leaves behind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ivrd import eivr
from ivrd.simulator.application import SLEEP_LATE
from ivrd.simulator.arguments import sending_dtmf
from ivrd.simulator.channel import KEY_LOST, Channel
from ivrd.simulator.records import Outcome

from .line import Line


def test_the_bytes_of_an_event() -> None:
    line = Line(epoch=1_764_000_000.0)
    line.now = 12.9
    line.channel.stdout(b"P,1\n", line.now)
    assert line.channel.next_write() == b"P,1764000012,/bin/app,one\n"


def test_append_and_finish() -> None:
    line = Line().write("A,welcome", "A,bye").wait(3.5)
    assert line.take() == [("F", "welcome"), ("F", "bye")]
    assert [(heard.prompt, heard.how) for heard in line.channel.heard] == [("welcome", "finished"), ("bye", "finished")]
    first, second = line.channel.heard
    assert first.end == second.start  # the next one starts in the tick that ends the one before
    assert first.end is not None
    assert first.end - first.start == pytest.approx(2.0)


def test_finish_is_told_a_tick_later() -> None:
    line = Line().wait(0.5).write("A,bye").wait(2)
    assert line.channel.heard[0].end == pytest.approx(1.52)
    assert line.times == [pytest.approx(1.54)]


def test_a_command_makes_the_finish_known_before_its_own_reply() -> None:
    line = Line().write("A,bye").wait(1.025)
    assert line.events == []
    assert line.write("P,1").take() == [("F", "bye"), ("P", "/bin/app,one")]


def test_set_replaces_the_playlist() -> None:
    line = Line().write("A,welcome", "A,menu").wait(0.5).write("S,bye")
    assert line.take() == [("T", "welcome"), ("D", "menu")]
    assert line.wait(1.1).take() == [("F", "bye")]
    assert line.channel.heard[0].how == "interrupted"


def test_a_second_set_within_the_tick_drops_instead_of_interrupting() -> None:
    line = Line().write("A,welcome").wait(0.5).write("S,menu", "S,bye")
    assert line.take() == [("T", "welcome"), ("D", "menu")]
    line.wait(0.1)
    assert line.channel.playing == "bye"


def test_set_in_silence_says_nothing_and_what_waits_for_its_tick_is_dropped() -> None:
    line = Line().wait(1).write("S,menu")
    assert line.take() == []
    assert line.write("S,bye").take() == [("D", "menu")]


def test_interrupt() -> None:
    line = Line().write("A,welcome", "A,menu", "A,bye").wait(1).write("I,x")
    assert line.take() == [("T", "welcome"), ("D", "menu"), ("D", "bye")]
    line.wait(0.02)
    assert line.channel.heard[-1].how == "interrupted"
    assert line.channel.heard[-1].end == pytest.approx(1.02)
    assert line.write("I,x").take() == []


def test_unknown_file() -> None:
    line = Line().write("A,nope", "S,nope")
    assert line.take() == [("Z", "nope"), ("Z", "nope")]
    assert "Unknown file requested 'nope'" in line.logged


def test_a_refused_set_leaves_the_playlist_alone() -> None:
    line = Line().write("A,welcome").wait(0.5).write("S,nope")
    assert line.take() == [("Z", "nope")]
    assert line.channel.playing == "welcome"


def test_parameters_are_joined_by_commas_and_cut_at_99_bytes() -> None:
    assert Line().write("P,1").take() == [("P", "/bin/app,one")]
    channel = Channel(["/bin/app", "x" * 60, "y" * 60])
    channel.stdout(b"P,1\n", 0)
    assert channel.next_write() == b"P,1800000000,/bin/app," + b"x" * 60 + b"," + b"y" * 29 + b"\n"


def test_get_and_set_variables() -> None:
    line = Line(variables={"LANG": "en"})
    line.write("V,A=1,B=x=y,C", "G,A,B,C,LANG,NONE")
    assert line.take() == [("G", "A=1,B=x=y,C=,LANG=en,NONE=")]
    assert line.channel.variables == {"LANG": "en", "A": "1", "B": "x=y", "C": ""}


def test_functions_read_as_empty() -> None:
    assert Line().write("G,CALLERID(num),UNIQUEID").take() == [("G", "CALLERID(num)=,UNIQUEID=")]


def test_inherited_variables_lose_their_underscores() -> None:
    line = Line().write("V,__DEEP=1,_ONE=2", "G,DEEP,ONE,_ONE,__DEEP")
    assert line.take() == [("G", "DEEP=1,ONE=2,_ONE=,__DEEP=")]


def test_values_are_not_escaped_and_one_comma_at_the_end_goes() -> None:
    line = Line(variables={"A": "x,"})
    assert line.write("G,A").take() == [("G", "A=x,")]


def test_the_reply_to_get_is_cut_at_2047_bytes() -> None:
    line = Line(variables={"A": "é" * 1100})
    line.channel.stdout(b"G,A\n", 0)
    reply = line.channel.next_write()
    assert reply is not None
    assert len(reply.removesuffix(b"\n").split(b",", 2)[2]) == 2047


def test_a_comma_that_ends_the_cut_reply_goes_too() -> None:
    line = Line(variables={"A": "x" * 2044 + ",tail"})
    line.channel.stdout(b"G,A\n", 0)
    reply = line.channel.next_write()
    assert reply is not None
    assert reply.endswith(b"x\n")
    assert len(reply.removesuffix(b"\n").split(b",", 2)[2]) == 2046


def test_log() -> None:
    line = Line().write("L,hello, world")
    assert line.take() == []
    assert line.logged == ["Log message from EIVR: hello, world"]


def test_exit_continues_in_the_dialplan() -> None:
    line = Line().write("A,welcome").wait(0.5).write("E,done")
    assert line.take() == [("E", None)]
    assert line.outcome is Outcome.CONTINUED
    assert line.channel.heard[0].how == "cut off"
    assert line.wait(5).take() == []


def test_deprecated_exit_answers_nothing() -> None:
    line = Line().write("X,done")
    assert line.take() == []
    assert line.outcome is Outcome.CONTINUED
    assert "e'X'it command is deprecated, use 'E'xit instead" in line.logged


def test_hangup_command() -> None:
    line = Line().write("H,bye")
    assert line.take() == [("H", None)]
    assert line.outcome is Outcome.HUNGUP_BY_APP
    assert line.logged == ["Hanging up: bye"]


def test_nothing_is_done_after_the_end() -> None:
    line = Line().write("E,done", "P,1", "A,welcome").press("1").hangup().wait(3)
    assert line.take() == [("E", None)]
    assert line.outcome is Outcome.CONTINUED


def test_autoclear() -> None:
    line = Line().write("O,AutoClear", "A,welcome", "A,menu").wait(0.5).press("1")
    assert line.take() == [("1", None), ("T", "welcome"), ("D", "menu")]
    line.write("O,noautoclear", "A,welcome").wait(0.5).press("2")
    assert line.take() == [("2", None)]


def test_unknown_option_is_only_logged() -> None:
    line = Line().write("O,autoclean")
    assert line.take() == []
    assert line.logged == ["Unknown option requested: autoclean"]


@pytest.mark.parametrize(
    ("data", "seconds", "sent"),
    [
        ("12", 0.1 + 2 * (0.1 + 0.25), "12"),
        ("1,100", 0.1 + 0.1 + 0.1, "1"),
        ("1,100,300", 0.1 + 0.3 + 0.1, "1"),
        ("1,1s", 0.1 + 0.1 + 1.0, "1"),
        ("1,100,20", 0.1 + 0.1 + 0.1, "1"),
        ("w1W", 0.1 + 0.5 + 0.35 + 1.0, "1"),
        ("x1", 0.1 + 0.35, "1"),
        ("1,junk", 0.1 + 0.35, "1"),
    ],
)
def test_sending_dtmf_keeps_the_thread_busy(data: str, seconds: float, sent: str) -> None:
    line = Line("n").burst(f"D,{data}").write("P,1")
    line.wait(seconds - 0.001)
    assert line.take() == []
    assert line.wait(0.002).take() == [("P", "/bin/app,one")]
    assert [record.digits for record in line.channel.sent_dtmf] == [sent]


def test_each_sleep_of_it_takes_a_little_longer_while_the_generator_runs() -> None:
    line = Line().write(f"D,{'1' * 20}", "P,1")
    line.wait(0.1 + 20 * 0.35 + 41 * SLEEP_LATE - 0.001)
    assert line.take() == []
    assert line.wait(0.002).take() == [("P", "/bin/app,one")]


def test_audio_goes_on_while_dtmf_is_sent_and_is_told_afterwards() -> None:
    line = Line().write("A,bye").wait(0.5).write("D,12345")  # busy for 1.85 s
    line.wait(1.8)
    assert line.take() == []
    assert line.channel.heard[0].end == pytest.approx(1.02)
    assert line.wait(0.1).take() == [("F", "bye")]


@given(
    st.text("0123456789*#ABCDabcdwWfF", min_size=1, max_size=30),
    st.none() | st.integers(1, 60_000),
    st.none() | st.integers(1, 60_000),
)
def test_a_sender_of_keys_knows_for_how_long(digits: str, interval: int | None, duration: int | None) -> None:
    command = eivr.send_dtmf(digits, interval, duration).decode().rstrip()
    _, sleeps, illegal = sending_dtmf(command.removeprefix("D,"))
    assert illegal == ""
    assert eivr.sending_seconds(digits, interval, duration) == pytest.approx(sum(sleep.seconds for sleep in sleeps))


def test_keys_pressed_while_dtmf_is_sent_are_lost() -> None:
    line = Line().write("D,1").press("5").wait(1).press("6")
    assert line.take() == [("6", None)]
    assert [text for text in line.logged if KEY_LOST in text]


def test_a_hangup_ends_the_tone_that_sounds() -> None:
    line = Line().write("D,1,1,-1", "P,1").wait(60)
    assert line.take() == []
    assert line.hangup().take() == [], "the pause behind the tone is not cut short"
    assert line.wait(0.001 + SLEEP_LATE).take() == [("H", None)]


@pytest.mark.parametrize(
    ("hangup", "end"),
    [
        (0.05, 0.05),  # in the quiet time
        (0.15, 0.15 + 0.25 + 0.35 + 3 * SLEEP_LATE),  # in the first tone: only that is cut
        (0.3, 0.3),  # in the pause behind it
        (0.5, 0.5 + 0.25),  # in the last tone
        (0.7, 0.7),  # in the last pause
    ],
)
def test_a_hangup_cuts_one_sleep_and_only_a_pause_ends_it_all(hangup: float, end: float) -> None:
    line = Line("i").write("D,12", "P,1").wait(hangup).hangup()
    if end > hangup:
        assert line.take() == []
        line.wait(end - hangup - 0.001)
        assert line.take() == []
        line.wait(0.002)
    assert line.take() == [("I", "HANGUP"), ("P", "/bin/app,one")]
    assert line.write("D,1", "P,2").wait(0.449).take() == [], "the hangup was noticed, so this one takes its time"
    assert line.wait(0.002).take() == [("P", "/bin/app,one")]


def test_the_first_sending_after_a_hangup_ends_at_once() -> None:
    line = Line("i").hangup().write("D,1", "P,1", "D,1", "P,2")
    assert line.take() == [("I", "HANGUP"), ("P", "/bin/app,one")]
    assert line.wait(0.451).take() == [("P", "/bin/app,one")]


def test_a_generator_started_after_the_hangup_ends_one_more() -> None:
    line = Line("ni").hangup().write("D,1", "T,x", "D,1", "P,1")
    line.wait(0.019)
    assert line.take() == [("I", "HANGUP")]
    assert line.wait(0.002).take() == [("P", "/bin/app,one")]


def test_sending_dtmf_begins_when_the_event_before_it_is_written() -> None:
    line = Line().write("A,bye").wait(1.025)
    line.channel.stdout(b"D,1\n", line.now)
    line.channel.wrote(2, line.now)  # the F that went before
    line.now = 6.0
    line.channel.wrote(len("1800000001,bye\n"), line.now)
    line.write("P,1").wait(0.44)
    assert line.take() == []
    assert line.wait(0.02).take() == [("P", "/bin/app,one")]


def test_a_finish_is_told_before_a_key() -> None:
    assert Line().write("A,bye").wait(1.025).press("1").take() == [("F", "bye"), ("1", None)]


@pytest.mark.parametrize("line_", ["P", "H", "E,", "P, ", "E,\t\r", "", "  ", "Q,1", "p,1", " P,1", "\0P,1", "P,\0x"])
def test_lines_that_do_nothing(line_: str) -> None:
    line = Line().write(line_)
    assert line.take() == []
    assert line.outcome is None
    assert line.channel.blocked is None


def test_the_second_byte_is_never_looked_at() -> None:
    assert Line().write("Pxx").take() == [("P", "/bin/app,one")]
    assert Line().write("V;A=1", "G:A").take() == [("G", "A=1")]


def test_what_stands_behind_a_nul_is_not_seen() -> None:
    assert Line().write("V,A=1\0,B=2", "G,A,B").take() == [("G", "A=1,B=")]
