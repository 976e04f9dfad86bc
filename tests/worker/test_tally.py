"""Tallies: what is told in parts adds up to the whole."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ivrd.wire.messages import Tally
from ivrd.worker.tally import RESPONSES_KEPT, add, difference

counts = st.dictionaries(st.sampled_from("ABC"), st.integers(1, 5))
parts = st.builds(
    Tally,
    events=counts,
    commands=counts,
    refused=counts,
    malformed=st.integers(0, 3),
    first_command=st.none() | st.floats(0, 1),
    responses=st.lists(st.floats(0, 1), max_size=4),
)


@given(st.lists(parts, max_size=6))
def test_differences_of_a_growing_tally_add_up_to_it(grown_by: list[Tally]) -> None:
    whole, told = Tally(), Tally()
    total = Tally()
    for part in grown_by:
        add(whole, part)
        add(total, difference(whole, told))
        told = Tally()
        add(told, whole)
    assert total == whole
    assert difference(whole, told) == Tally()


def test_response_times_are_bounded() -> None:
    total = Tally()
    for _ in range(3):
        add(total, Tally(responses=[0.5] * (RESPONSES_KEPT - 10)))
    assert len(total.responses) == RESPONSES_KEPT
