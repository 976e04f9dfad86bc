"""What is typed at `ivrd dial`: an arrow is no key of the caller's, and takes none with it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ivrd.cli.keyboard import keys


@pytest.mark.parametrize(
    ("text", "pressed"),
    [
        ("12#a", list("12#a")),
        ("1\x1b[A", ["1", "up"]),
        ("\x1b[B5", ["down", "5"]),
        ("\x1b[1;5C2\x1b[3~3", ["2", "3"]),
        ("\x1bOA4\x1bOP5", ["up", "4", "5"]),
        ("\x1b[[A6", ["6"]),  # F1 on Linux' console
        ("\x1b\x1b[A8", ["escape", "up", "8"]),
    ],
)
def test_a_key_is_a_key_wherever_reads_cut_it(text: str, pressed: list[str]) -> None:
    assert keys(text, final=False) == (pressed, "")
    found: list[str] = []
    begun = ""
    for character in text:
        more, begun = keys(begun + character, final=False)
        found += more
    assert (found, begun) == (pressed, "")


@given(st.text(st.characters(max_codepoint=127)))
def test_anything_may_come(text: str) -> None:
    found, rest = keys(text, final=False)
    assert text.endswith(rest)
    assert keys(text, final=True)[1] == ""
    assert not any(key.startswith("\x1b") for key in found)
