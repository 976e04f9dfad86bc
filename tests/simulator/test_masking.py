"""Texts of calls of which nobody knows which keys are secret: that no PIN is left in any of them."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ivrd.simulator.masking import MASK, fits, hide_keys

DIGITS = st.text("0123456789", min_size=2, max_size=12)
TEXTS = st.text(st.characters(exclude_characters="0123456789*#"))


@pytest.mark.parametrize(
    ("keys", "text", "shown"),
    [
        ("86421", "V,PIN=8642,CHOICE=1", "V,PIN=****,CHOICE=****"),
        ("8642#", "L,the PIN was 8642#", "L,the PIN was ****"),
        ("8642", "A,accounts/8642.wav", "A,accounts/****.wav"),
        ("8642", "V,FULL=00498642", "V,FULL=****"),
        ("8642", "key 8, key 6; then 4-2", "key ****, key ****; then ****-****"),
        ("8#6#4#2#", "V,PIN=8642", "V,PIN=****"),
        ("86*442", "8442 is what is left of it", "**** is what is left of it"),
        # One key was lost on the way, or the app took only a part.
        ("8642", "862 or 642", "**** or ****"),
        ("8642", "2026-11-26, 37 s, digits/9", "2026-11-26, 37 s, digits/9"),
        ("1AB2", "A,TAB V,X=AB", "A,T**** V,X=****"),
        ("12", "A,ABC D,3", "A,ABC D,3"),
        ("", "8642", "8642"),
        ("*", "PIN=****", "PIN=****"),
    ],
)
def test_what_is_masked_and_what_stays(keys: str, text: str, shown: str) -> None:
    assert hide_keys(text, keys) == shown
    assert hide_keys(shown, keys) == shown


@given(DIGITS, DIGITS, DIGITS, TEXTS, TEXTS, st.data())
def test_no_part_of_the_keys_is_left_wherever_it_stands(
    before: str, secret: str, after: str, text: str, more: str, data: st.DataObject
) -> None:
    keys = before + secret + after
    start = data.draw(st.integers(0, len(secret) - 2))
    end = data.draw(st.integers(start + 2, len(secret)))
    said = f"{text}{data.draw(st.sampled_from(['', '0', '1']))}{secret[start:end]}{more}"
    masked = hide_keys(said, keys)
    assert masked.startswith(text)
    assert masked.endswith(more)
    assert MASK in masked
    pairs = set(pairwise(keys))
    assert not any(pairs & set(pairwise(run)) for run in re.findall("[0-9]+", masked))


def test_a_masked_name_fits_what_it_was() -> None:
    assert fits("digits/1", "digits/****")
    assert fits("a/12/b34", "a/****/b****")
    assert fits("welcome", "welcome")
    assert not fits("digits/", "digits/****")
    assert fits("digits/a-m", "digits/****")
    assert not fits("digits/1/2", "digits/****")
    assert not fits("digits/1", "digits/2")
