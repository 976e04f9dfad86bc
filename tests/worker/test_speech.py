"""Numbers and digits as prompts, checked by listening to them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ivrd.errors import InvalidValue
from ivrd.worker.speech import LARGEST, digit_prompts, number_prompts

SCALES = {"digits/hundred": 100, "digits/thousand": 1000, "digits/million": 1_000_000}


def listened(prompts: list[str]) -> int:
    """Understand a number as a person does."""
    if prompts[0] == "digits/minus":
        return -listened(prompts[1:])
    total = part = 0
    for prompt in prompts:
        if prompt == "digits/hundred":
            part *= 100
        elif prompt in SCALES:
            total, part = total + part * SCALES[prompt], 0
        else:
            part += int(prompt.removeprefix("digits/"))
    return total + part


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0, "0"),
        (13, "13"),
        (20, "20"),
        (99, "90 9"),
        (100, "1 hundred"),
        (342, "3 hundred 40 2"),
        (1_000_001, "1 million 1"),
        (-12_000, "minus 12 thousand"),
    ],
)
def test_numbers_as_english_speakers_say_them(number: int, said: str) -> None:
    assert number_prompts(number) == [f"digits/{word}" for word in said.split()]


@given(st.integers(-LARGEST, LARGEST))
def test_every_number_is_understood(number: int) -> None:
    prompts = number_prompts(number)
    assert listened(prompts) == number
    # The core sounds have 0 to 20, the tens and these words, no more.
    plain = {f"digits/{n}" for n in [*range(21), *range(30, 100, 10)]}
    assert set(prompts) <= plain | set(SCALES) | {"digits/minus"}


@pytest.mark.parametrize("wrong", [LARGEST + 1, -LARGEST - 1, 1.5, "1", True, None])
def test_what_is_not_a_number_that_can_be_said(wrong: Any) -> None:
    with pytest.raises(InvalidValue, match="cannot be said"):
        number_prompts(wrong)


def test_digits() -> None:
    assert digit_prompts("1 0*#-") == ["digits/1", "digits/0", "digits/star", "digits/pound", "digits/minus"]
    for wrong in ("a", "1\n", "٣"):
        with pytest.raises(InvalidValue, match="cannot be said as a digit"):
            digit_prompts(wrong)
