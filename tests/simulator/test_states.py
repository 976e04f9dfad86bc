"""Options and channel states: before the answer, after the hangup, on dead channels; the generator's ways to end."""

from __future__ import annotations

import pytest

from ivrd.simulator.records import Outcome
from ivrd.simulator.sounds import SILENCE, SoundTable

from .line import Line


def test_the_channel_is_answered_unless_told_not_to() -> None:
    assert Line(answered=False).channel.state == "up"
    assert Line("n", answered=False).channel.state == "down"


def test_before_the_answer_prompts_and_options_are_refused() -> None:
    line = Line("n", answered=False).write("A,welcome", "S,welcome", "I,x", "O,autoclear", "A,nope")
    assert line.take() == [("Z", None)] * 5
    assert line.write("P,1", "V,A=1", "G,A").take() == [("P", "/bin/app,one"), ("G", "A=1")]


def test_answer_starts_the_audio() -> None:
    line = Line("n", answered=False).write("T,x", "A,bye").wait(1.1)
    assert line.channel.state == "up"
    assert line.take() == [("F", "bye")]


def test_keys_wait_for_the_answer() -> None:
    line = Line("n", answered=False).press("12")
    assert line.take() == []
    assert line.write("T,x").take() == [("1", None), ("2", None)]


def test_an_answered_channel_with_option_n_queues_but_plays_nothing_until_answer() -> None:
    line = Line("n", answered=True).write("A,welcome").wait(5)
    assert line.take() == []
    assert line.channel.heard == []
    assert line.write("I,x").take() == [("D", "welcome")]
    assert line.write("A,bye", "T,x").wait(1.1).take() == [("F", "bye")]


def test_answering_twice_changes_nothing() -> None:
    line = Line().write("A,welcome").wait(0.5).write("T,x").wait(1.6)
    assert line.take() == [("F", "welcome")]


def test_hangup() -> None:
    line = Line().write("A,welcome").wait(0.5).hangup()
    assert line.take() == [("H", None)]
    assert line.outcome is Outcome.HUNGUP_BY_CALLER
    assert line.channel.heard[0].how == "cut off"


def test_a_finish_is_told_before_the_hangup() -> None:
    line = Line().write("A,bye").wait(1.025).hangup()
    assert line.take() == [("F", "bye"), ("H", None)]


def test_a_finish_during_dtmf_is_not_told_when_the_caller_hangs_up() -> None:
    line = Line().write("A,bye").wait(0.5).write("D,12345").wait(1).hangup()
    assert line.take() == [("H", None)]


def test_hangup_before_the_answer() -> None:
    line = Line("n", answered=False).hangup()
    assert line.take() == [("H", None)]


def test_option_i_informs_and_goes_on() -> None:
    line = Line("i").write("A,welcome").wait(0.5).hangup()
    assert line.take() == [("I", "HANGUP")]
    line.write("A,bye", "S,bye", "I,x", "O,autoclear", "G,A", "V,A=1", "G,A", "L,on").press("1").wait(5)
    assert line.take() == [("Z", None)] * 4 + [("G", "A="), ("G", "A=1")]
    assert line.write("H,over").take() == [("H", None)]
    assert line.outcome is Outcome.HUNGUP_BY_APP
    assert len(line.channel.heard) == 1


def test_option_i_hung_up_before_the_answer_cannot_answer() -> None:
    line = Line("ni", answered=False).hangup()
    assert line.write("T,x").take() == [("I", "HANGUP"), ("Z", "ANSWER_FAILURE")]


def test_option_i_does_not_finish_what_played() -> None:
    line = Line("i").write("A,welcome").wait(0.5).hangup().wait(5)
    assert line.take() == [("I", "HANGUP")]


def test_a_dead_channel() -> None:
    line = Line("d", hung_up=True).write("A,welcome", "S,welcome", "I,x", "O,autoclear", "V,A=1", "G,A", "D,1", "P,1")
    assert line.take() == [("Z", None)] * 4 + [("G", "A=1"), ("P", "/bin/app,one")]
    assert line.channel.sent_dtmf == []
    assert line.write("E,x").take() == [("E", None)]


def test_a_dead_channel_without_option_d_hangs_up_at_once() -> None:
    assert Line(hung_up=True).take() == [("H", None)]
    assert Line("i", hung_up=True).take() == [("I", "HANGUP")]


def test_option_d_on_an_unanswered_channel_is_refused() -> None:
    line = Line("d", answered=False)
    assert line.outcome is Outcome.REFUSED
    assert line.take() == []


def test_option_d_never_looks_at_hangups() -> None:
    line = Line("d").write("A,bye").wait(1.025).hangup()
    assert line.take() == [("F", "bye")]
    assert line.write("A,bye").take() == [("Z", None)]


def test_options_n_and_d_cannot_answer() -> None:
    line = Line("nd", answered=False).write("T,x")
    assert line.take() == [("Z", "ANSWER_FAILURE")]


def test_a_prompt_that_cannot_be_opened_vanishes_without_an_event() -> None:
    line = Line().write("A,locked", "A,bye").wait(1.1)
    assert line.take() == [("F", "bye")]
    assert [heard.prompt for heard in line.channel.heard] == ["bye"]
    assert "File 'locked' could not be opened: No such file or directory" in line.logged


def test_without_silence_files_all_audio_ends_at_the_first_pause() -> None:
    line = Line(sounds=SoundTable({"bye": 1.0}, missing={SILENCE})).write("A,bye").wait(1.5)
    assert line.take() == [("F", "bye")]
    line.write("T,x", "A,bye").wait(5)
    assert line.take() == []
    assert len(line.channel.heard) == 1


def test_an_empty_prompt_is_finished_at_once_in_silence() -> None:
    line = Line(sounds=SoundTable({"empty": 0.0})).wait(1).write("A,empty").wait(0.1)
    assert line.take() == [("F", "empty")]
    assert line.write("A,next").wait(1.1).take() == [("F", "next")]


def test_an_empty_prompt_behind_another_ends_all_audio() -> None:
    line = Line(sounds=SoundTable({"empty": 0.0})).write("A,one", "A,empty", "A,two").wait(10)
    assert line.take() == [("F", "one")]
    assert line.channel.playing is None
    assert line.write("I,x").take() == [("T", "empty"), ("D", "two")]


def test_an_unknown_key_is_refused() -> None:
    for key in ("", "x", "12", "a"):
        with pytest.raises(ValueError, match="is not a key"):
            Line().channel.key(key, 0)


def test_a_generator_that_cannot_be_started() -> None:
    refused = Line(generator_fails=True)
    assert refused.outcome is Outcome.REFUSED
    assert refused.logged == ["Failed to activate generator"]
    assert refused.take() == []
    line = Line("n", generator_fails=True)
    line.write("T,x", "A,click").wait(1)
    assert line.take() == [("Z", "GENERATOR_FAILURE")]
    assert line.write("T,x", "P,1", "H,x").take() == [
        ("Z", "GENERATOR_FAILURE"),  # it is tried each time
        ("P", "/bin/app,one"),
        ("H", None),
    ]
    unanswered = Line("n", answered=False, generator_fails=True).write("T,x")
    assert unanswered.take() == [("Z", "GENERATOR_FAILURE")]
    assert unanswered.channel.state == "up"
