"""The caller's language: each word, what is refused and how, and that writing and reading agree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ivrd.simulator.records import KEYS
from ivrd.simulator.script import Hangup, Patience, Pause, Press, ScriptError, Step, Tap, Wait, read, write


def test_the_line_of_the_manual() -> None:
    assert read("wait:welcome 1 pause:0.5 2 # hangup:3") == [
        Wait("welcome"),
        Press("1"),
        Pause(0.5),
        Press("2"),
        Press("#"),
        Hangup(3.0),
    ]


def test_keys_in_a_row_small_letters_and_more_than_one_line() -> None:
    assert read("12a#\n tap:3d patience:5\twait:http://a/b.wav hangup") == [
        Press("12A#"),
        Tap("3D"),
        Patience(5.0),
        Wait("http://a/b.wav"),
        Hangup(),
    ]
    assert read("  ") == []


def test_a_prompt_with_blanks_stands_in_quotes() -> None:
    assert read('wait:"with space" 1 wait:"a \\"b\\" \\\\c"d wait:a\\b') == [
        Wait("with space"),
        Press("1"),
        Wait('a "b" \\cd'),
        Wait("a\\b"),
    ]
    assert write([Wait("with space"), Wait('"'), Wait("a\\b")]) == 'wait:"with space" wait:"\\"" wait:a\\b'


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("1 pauze:3", "word 2 ('pauze:3', column 3) of the caller's script is neither keys"),
        ("1 1x", "word 2 ('1x', column 3)"),
        ("wait:", "word 1 ('wait:', column 1) of the caller's script names no prompt: write wait:PROMPT"),
        ("pause", "needs seconds behind the colon"),
        ("pause:-1", "from 0 to 86400"),
        ("pause:nan", "needs seconds"),
        ("hangup:", "needs seconds"),
        ("hangup 1", "word 2 ('1', column 8) of the caller's script comes after the hangup"),
        ("1:2", "is neither keys"),
        ('1 wait:"a b', "word 2 ('wait:\"a b', column 3) of the caller's script has a quote that is not closed"),
        ('wait:"a\\', "has a quote that is not closed"),
        ('wait:""', "names no prompt"),
        ("tap:", "word 1 ('tap:', column 1) of the caller's script needs keys behind the colon"),
        ("tap:1x", "needs keys behind the colon"),
    ],
)
def test_what_makes_no_sense_is_named_with_its_place(script: str, says: str) -> None:
    with pytest.raises(ScriptError) as error:
        read(script)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


SECONDS = st.floats(0, 86_400, allow_nan=False)
STEPS = st.one_of(
    st.builds(Press, st.text(KEYS, min_size=1)),
    st.builds(Tap, st.text(KEYS, min_size=1)),
    st.builds(Wait, st.text(min_size=1)),
    st.builds(Pause, SECONDS),
    st.builds(Patience, SECONDS),
)


@given(st.lists(STEPS), st.one_of(st.none(), st.builds(Hangup, SECONDS)))
def test_what_is_written_reads_as_the_same_steps(steps: list[Step], last: Hangup | None) -> None:
    script = [*steps, last] if last else steps
    assert read(write(script)) == script


@given(st.text())
def test_any_text_is_steps_or_an_error_of_one_line(text: str) -> None:
    try:
        steps = read(text)
    except ScriptError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert read(write(steps)) == steps
        assert bool(steps) == bool(text.strip())
