"""How long an app that does not start is left alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ivrd.rules.backoff import CAP, FIRST, SETTLED, Backoff


def test_it_doubles_up_to_its_cap() -> None:
    backoff = Backoff()
    assert [backoff.died(100.0, None) for _ in range(9)] == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert (backoff.failures, backoff.until) == (9, 130.0)


def test_a_worker_that_lived_hardly_longer_than_its_start_is_held_against_the_app() -> None:
    backoff = Backoff()
    assert backoff.died(10.0, SETTLED - 0.01) == FIRST
    assert backoff.until == 10.0 + FIRST


def test_one_that_was_at_work_is_replaced_at_once_and_proves_that_the_app_starts() -> None:
    backoff = Backoff()
    backoff.died(10.0, None)
    assert backoff.died(11.5, SETTLED) == 0
    assert (backoff.failures, backoff.until) == (0, 0.0)
    assert backoff.died(12.0, None) == FIRST


def test_a_worker_that_settles_ends_it() -> None:
    backoff = Backoff(failures=5, until=500.0, last=400.0)
    assert not backoff.forgives(401.0, 401.0 + SETTLED / 2)
    assert backoff.failures == 5
    assert backoff.forgives(401.0, 401.0 + SETTLED)
    assert (backoff.failures, backoff.until) == (0, 0.0)


def test_a_worker_from_before_the_failures_proves_nothing() -> None:
    """As where code was broken on disk, and one of two workers has to be replaced."""
    backoff = Backoff()
    waits = []
    for now in (100.0, 101.0, 103.0):
        waits.append(backoff.died(now, None))
        assert not backoff.forgives(50.0, now + 0.5), "the other worker's heartbeat"
    assert waits == [0.5, 1, 2]
    assert backoff.died(104.0, 54.0) == 0, "the other worker's death"
    assert (backoff.failures, backoff.until) == (3, 105.0)


def test_a_crash_loop_of_years_does_not_overflow() -> None:
    assert Backoff(failures=10**9).died(0.0, None) == CAP


@given(st.integers(0, 100), st.floats(0, 1), st.floats(0, 1e6))
def test_jitter_lengthens_the_wait_by_a_fifth_at_most(failures: int, jitter: float, now: float) -> None:
    plain, jittered = Backoff(failures), Backoff(failures)
    shortest = plain.died(now, None)
    wait = jittered.died(now, None, jitter)
    assert shortest <= wait <= shortest * 1.2
    assert FIRST <= wait <= CAP * 1.2
    assert jittered.until == now + wait


def test_jitter_spreads_apps_that_have_come_to_the_cap() -> None:
    assert Backoff(50).died(0.0, None, 0.0) < Backoff(50).died(0.0, None, 0.5) < Backoff(50).died(0.0, None, 1.0)


@given(st.lists(st.tuples(st.floats(0, 100), st.one_of(st.none(), st.floats(0, 5)))))
def test_any_history_waits_longer_with_each_failure_and_not_at_all_after_a_life(
    deaths: list[tuple[float, float | None]],
) -> None:
    backoff, now, in_a_row, last = Backoff(), 0.0, 0, float("-inf")
    for after, ready_for in deaths:
        now += after
        wait = backoff.died(now, ready_for)
        if ready_for is not None and ready_for >= SETTLED:
            in_a_row = 0 if now - ready_for > last else in_a_row
            assert wait == 0
        else:
            in_a_row += 1
            last = now
            assert wait == min(30.0, 0.5 * 2 ** (in_a_row - 1))
            assert backoff.until == now + wait
        assert backoff.failures == in_a_row
