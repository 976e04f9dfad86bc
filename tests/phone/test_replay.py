"""What a recorded caller did, made into a script; and what is told where the app now says something else."""

from __future__ import annotations

from typing import Any

import pytest

from ivrd.errors import IvrdError
from ivrd.phone.recording import Line, Recording
from ivrd.phone.replay import cautions, differences, script_of, sounds_of, variables_of
from ivrd.simulator import script
from ivrd.simulator.sounds import Sound


def recording(*lines: str, result: str = "", **more: Any) -> Recording:
    """Lines such as `0.5 < A,welcome`: what the app said, and `>` what it was told."""
    parts = [line.split(" ", 2) for line in lines]
    told = [Line(float(at), "event" if way == ">" else "command", text) for at, way, text in parts]
    return Recording(app="menu", lines=told, result=result, **more)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        # A prompt begins at the next tick, 20 ms after its command at the latest.
        (["0 < A,welcome", "0.4 > 1", "0.4 < I,x", "0.4 > T,welcome"], "wait:welcome pause:0.38 tap:1"),
        # The second prompt begins when the first has finished, and the key is as late after that.
        (["0 < A,a", "0 < A,b", "1 > F,a", "1.7 > 2", "1.71 > 3"], "wait:a wait:b pause:0.72 tap:2 pause:0.01 tap:3"),
        # Keys are as far from each other as they were, also behind a prompt that began between them.
        (["0 < A,a", "1 > 1", "1 > 2", "1.95 > 3"], "wait:a pause:0.98 tap:1 tap:2 pause:0.95 tap:3"),
        (["0 < A,a", "1 > 1", "1 < S,b", "1 > T,a", "1.1 > 2"], "wait:a pause:0.98 tap:1 wait:b pause:0.08 tap:2"),
        (["0 < A,a", "0.01 > 1"], "wait:a tap:1"),
        (["0 > 1", "0 < A,a", "1 > 2"], "tap:1 wait:a pause:0.98 tap:2"),
        # One that was dropped never began.
        (["0 < A,a", "0 < A,b", "1 > T,a", "1 > D,b", "1 < A,c", "3 > *"], "wait:a wait:c pause:1.98 tap:*"),
        (["0 < A,a", "0 < S,b", "0 > T,a", "2 > #"], "wait:a wait:b pause:1.98 tap:#"),
        (["0 < A,nope", "0 > Z,nope", "0 < A,b", "1 > 1"], "wait:b pause:0.98 tap:1"),
        (["0 < A,a", "0 < A,nope", "0 < A,b", "0 > Z,nope", "1 > F,a", "2 > 1"], "wait:a wait:b pause:1.02 tap:1"),
        # Where the app was quicker than the wire: commands stand before what came of those before them.
        (
            ["0 < A,a", "0.5 < I,x", "0.5 < A,nope", "0.5 < A,b", "0.51 > T,a", "0.51 > Z,nope", "1.02 > 1"],
            "wait:a wait:b pause:0.5 tap:1",
        ),
        (["0 < A,a", "0.5 < I,x", "0.5 < A,b", "0.51 > T,a", "1.02 > 5"], "wait:a wait:b pause:0.5 tap:5"),
        # One whose file could not be opened is never told of.
        (["0 < A,a", "0 < A,broken", "0 < A,b", "1 > F,a", "2 > F,b", "3 > 1"], "wait:a wait:b pause:2.02 tap:1"),
        # On a channel that is not up there is nothing to hear.
        (["0 < A,a", "0 > Z", "0 < T,x", "0.1 < A,b", "1.12 > 1"], "wait:b pause:1 tap:1"),
        (["0.5 < A,a", "2.5 > H"], "wait:a hangup:1.98"),
        (["0 < A,a", "1 > I,HANGUP", "2 < H,x", "2 > H"], "wait:a hangup:0.98"),
        # What comes behind the caller's last doing is not waited for.
        (["0 < A,a", "0 > 1", "0.5 < A,b", "1 < H,bye", "1 > H"], "wait:a tap:1"),
        (["0 < A,a", "1 < H,bye", "1 > H"], ""),
        (["0 < G,X", "0 > G,X=1", "0 > D"], "tap:D"),
        # What says a secret is covered, also where it was told before that was known.
        (
            ["0 < A,a", "0 < A,digits/7", "1 > F,a", "2 > F,digits/****", "2 < A,b", "3 > 1"],
            "wait:a wait:digits/**** wait:b pause:0.98 tap:1",
        ),
        (
            ["0 < A,a", "1 > F,a", "1 < A,digits/****", "2 > F,digits/****", "2.5 > 1"],
            "wait:a wait:digits/**** pause:1.48 tap:1",
        ),
        # Who waited longer than a caller does by himself is given as long again.
        (["0 < A,a", "1 > F,a", "99.98 < A,b", "101 > 1"], "patience:200 wait:a wait:b pause:1 tap:1"),
    ],
)
def test_what_the_caller_did(lines: list[str], says: str) -> None:
    steps = script_of(recording(*lines))
    assert script.write(steps) == says


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        # It begins at the tick behind its command and is told of two ticks after its last frame began.
        (["0 < A,a", "2.04 > F,a"], {"a": 2.0}),
        (["0.01 < A,a", "2.041 > F,a"], {"a": 2.0}),
        (["0 < A,a", "0 < A,b", "2.04 > F,a", "2.54 > F,b"], {"a": 2.0, "b": 0.5}),
        # Whatever held Asterisk up once was not its length.
        (["0 < A,a", "2.04 > F,a", "3 < A,a", "6 > F,a"], {"a": 2.0}),
        (["0 < A,a", "3 > 1", "3 < I,x", "3 > T,a"], {"a": 4.0}),
        (["0 < A,a", "3 > 1", "3 < I,x", "3 > T,a", "5 < A,a", "10.04 > F,a"], {"a": 5.0}),
        (["0 < A,a", "3 > H"], {"a": 4.0}),
        (["0 < A,a", "0 < A,b", "1 > T,a", "1 > D,b"], {"a": 2.0, "b": 1.0}),
        (["0 < A,a", "0 > Z,a", "0 < A,b", "0.02 > F,b"], {"a": None, "b": 0.02}),
        (["0 < A,a", "0 > Z", "1 < A,b"], {"a": 1.0, "b": 1.0}),
        # What played when the caller hung up is not told of, nor is it among those that the channel then refuses.
        (["0 < A,a", "30 > I,HANGUP", "30.1 < A,b", "30.1 > Z"], {"a": 31.0, "b": 1.0}),
        (["0 < A,digits/7", "1 < A,b", "0.5 > F,digits/****", "2 > F,b"], {"digits/7": 1.0}),
    ],
)
def test_prompts_are_as_they_were(lines: list[str], seconds: dict[str, float | None]) -> None:
    sounds = sounds_of(recording(*lines))
    for name, length in seconds.items():
        found = sounds.find(name)
        assert (found and found.seconds) == (length and pytest.approx(length)), name


def test_a_prompt_that_could_not_be_opened_cannot_be_again() -> None:
    sounds = sounds_of(recording("0 < A,a", "0 < A,broken", "0 < A,b", "1 > F,a", "2 > F,b"))
    assert sounds.find("broken") == Sound(None)


def test_a_prompt_whose_end_is_not_in_the_recording_can_be_opened() -> None:
    sounds = sounds_of(recording("0 < A,a", "3 < A,b", "4 > F,b", dropped=2))
    assert sounds.find("a") == Sound(1.0)


def test_secret_keys_are_given_back_in_their_order() -> None:
    call = recording("0 < A,pin", "0 > ?", "0 > ?", "0 > 1")
    assert script.write(script_of(call, "8d")) == "wait:pin tap:8 tap:D tap:1"
    with pytest.raises(IvrdError, match="hides 2 keys and 3 were given"):
        script_of(call, "864")
    with pytest.raises(IvrdError, match="'X' is no key"):
        script_of(call, "8x")


def test_variables_are_those_of_the_first_answer() -> None:
    assert variables_of(recording("0 > G,A=1", "1 > G,B=x=y", "2 > G,A=2")) == {"A": "1", "B": "x=y"}


def test_differences_leave_times_and_events_aside() -> None:
    then = recording("0 < A,a", "1 > F,a", "1 < E,x", result="completed")
    assert differences(then, recording("5 < A,a", "5.1 < E,x", result="completed")) == []
    lines = differences(then, recording("0 < A,b", "0 < E,x", result="app_error"))
    assert [line for line in lines if line[0] in "+-"] == ["-A,a", "+A,b", "-result: completed", "+result: app_error"]
    # Of a trace that was left before the call's end the result is not known.
    assert differences(recording("0 < A,a"), recording("0 < A,a", "1 < E,x", result="completed")) == []
    # One in which the end of the call is to be seen is whole, whether or not its result is known.
    assert differences(recording("0 < A,a", "1 > H"), recording("0 < A,a", "1 < V,X=1", "1 > H")) != []


def test_a_result_that_one_side_does_not_know_is_no_difference() -> None:
    known, unknown = (recording("0 < A,a", "1 < E,x", "1 > E", result=result) for result in ("completed", ""))
    assert differences(known, unknown) == differences(unknown, known) == []


def test_what_ivrd_says_of_a_call_by_itself_is_no_difference() -> None:
    then = recording("0 < V,IVRD_CALL_ID=1a2-5", "0 < L,ivrd call 1a2-5", "0 < A,a", "1 < V,IVRD_STATUS=OK")
    assert differences(then, recording("0 < A,a", "1 < V,IVRD_STATUS=OK")) == []
    assert differences(then, recording("0 < A,a", "1 < V,IVRD_STATUS=ERROR")) != []


def test_where_one_side_hides_all_keys_both_do() -> None:
    said = "0 < V,PIN=****,FULL=0049****,CHOICE=1", "0 < A,digits/1", "1 > E"
    hidden = recording("0 < V,PIN=****,FULL=****,CHOICE=****", "0 < A,digits/****", "1 > E", keys_hidden=True)
    assert differences(recording(*said), hidden, "86421") == []
    assert differences(hidden, recording(*said), "86421") == []
    assert differences(hidden, recording(*said), "8642") != []  # the 1 was none of the caller's
    assert differences(recording(*said), recording("0 < A,x"), "86421")[0].startswith("@@")
    # A masked prompt is waited for as whatever stands there now.
    assert script.write(script_of(recording("0 < A,digits/****", "1 > 2"))) == "wait:digits/**** pause:0.98 tap:2"


def test_what_is_missing_is_said() -> None:
    assert cautions(recording("0 > G,A=1")) == []
    told = cautions(recording("4 > G,PIN=****", "4 > G,OLD=****", since=4.2, dropped=3), {"OLD"})
    assert [line.partition(":")[0] for line in told] == [
        "the recording begins 4.2 s after the call did",
        "3 lines are missing from the recording",
        "the recording hides what was in PIN",
    ]
    assert variables_of(recording("4 > G,PIN=****", "4 > G,A=1")) == {"A": "1"}
