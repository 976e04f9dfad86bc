"""Keys from what a terminal sends: by name, whole, however the bytes come."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ivrd.cli.keyboard import keys

SENT = {
    "a": "a", "/": "/", "*": "*", "up": "\x1b[A", "down": "\x1b[B", "page up": "\x1b[5~", "page down": "\x1b[6~",
    "home": "\x1b[H", "end": "\x1b[F", "enter": "\n", "backspace": "\x7f",
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[A\x1bOA", ["up", "up"]),
        ("\r\n\b", ["enter", "enter", "backspace"]),
        ("\x1b[1~\x1b[4~\x1bOH\x1bOF", ["home", "end", "home", "end"]),
        ("\x1b[1;5C\x1bOP\x1b[15~1", ["1"]),  # Ctrl and right, F1, F5
        ("\x1bj", ["escape", "j"]),
    ],
)
def test_what_terminals_send(text: str, expected: list[str]) -> None:
    assert keys(text, final=False) == (expected, "")


@pytest.mark.parametrize("begun", ["\x1b", "\x1b[", "\x1b[5", "\x1bO", "\x1b[1;"])
def test_what_may_go_on_is_waited_for(begun: str) -> None:
    assert keys("1" + begun, final=False) == (["1"], begun)
    assert keys(begun, final=True) == (["escape", *begun[1:]], "")


@given(st.lists(st.sampled_from(sorted(SENT))), st.lists(st.integers(0, 80)))
def test_keys_are_the_same_wherever_they_are_cut(names: list[str], cuts: list[int]) -> None:
    text = "".join(SENT[name] for name in names)
    bounds = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    found: list[str] = []
    begun = ""
    for start, end in itertools.pairwise(bounds):
        more, begun = keys(begun + text[start:end], final=False)
        found += more
    assert (found, begun) == (names, "")


@given(st.text(alphabet="\x1b[O;5~A1\n\x00\x7f"))
def test_nothing_is_waited_for_for_ever(text: str) -> None:
    found, begun = keys(text, final=True)
    assert begun == ""
    assert not any(key.startswith("\x1b") for key in found)
