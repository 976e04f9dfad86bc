"""When a call has to end, for any times at all."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ivrd.rules.deadlines import Due, EndBy, Limits

moments = st.floats(0, 1e6)
lengths = st.floats(0.5, 500)


def limits(max_duration: float = 0.0, idle_timeout: float = 0.0) -> Limits:
    return Limits(max_duration, idle_timeout, hangup_grace=3.0, close_timeout=5.0)


@pytest.mark.parametrize(
    ("max_duration", "idle_timeout", "playing_until", "due"),
    [
        (0, 0, -math.inf, Due(math.inf, math.inf, "max_duration")),
        (60, 0, -math.inf, Due(70, 70, "max_duration")),
        (60, 0, 1000, Due(70, 70, "max_duration")),
        (60, 30, -math.inf, Due(45, 45, "idle_timeout")),
        (30, 30, -math.inf, Due(40, 40, "max_duration")),
        (0, 30, 10, Due(45, 45, "idle_timeout")),
        (0, 30, 100, Due(130, 50, "idle_timeout")),
        (60, 30, 100, Due(70, 50, "max_duration")),
    ],
)
def test_the_first_limit_counts(max_duration: float, idle_timeout: float, playing_until: float, due: Due) -> None:
    """Admitted at 10, last active at 15, now 20."""
    rules = limits(max_duration, idle_timeout)
    assert rules.due(20, admitted=10, active=15, playing_until=playing_until) == due


def test_the_end_has_its_own_limits() -> None:
    assert limits().end_by(100) == EndBy(closed=105, given_up=103)


@given(lengths, lengths, st.lists(st.tuples(lengths, st.booleans(), lengths), max_size=20))
def test_who_looks_when_told_to_ends_a_call_exactly_when_it_has_to_end(
    max_duration: float, idle_timeout: float, course: list[tuple[float, bool, float]]
) -> None:
    """Drive a call whose prompts begin and end at will; the reckoning is only done when it asked to be done."""
    rules = limits(max_duration, idle_timeout)
    changes = [(0.0, -math.inf)]
    for pause, plays, length in course:
        at = changes[-1][0] + pause
        changes.append((at, at + length if plays else -math.inf))
    # By hand: the idle limit of each stretch, unless something happens first.
    ends = [
        max(at, until) + idle_timeout
        for (at, until), following in zip(changes, [*changes[1:], (math.inf, 0.0)], strict=True)
        if max(at, until) + idle_timeout < following[0]
    ]
    expected = min([max_duration, *ends])

    now = 0.0
    for _ in range(10_000):
        active, until = [change for change in changes if change[0] <= now][-1]
        due = rules.due(now, admitted=0.0, active=active, playing_until=until)
        assert due.look_again <= due.at
        if due.at <= now:
            break
        assert due.look_again > now
        now = due.look_again
    assert now == pytest.approx(expected)


@given(moments, moments, moments, lengths)
def test_an_event_never_brings_the_end_nearer(now: float, active: float, later: float, idle_timeout: float) -> None:
    rules = limits(0.0, idle_timeout)
    first, second = sorted((active, later))
    assert rules.due(now, admitted=0.0, active=first).at <= rules.due(now, admitted=0.0, active=second).at
