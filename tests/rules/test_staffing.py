"""How many workers there are: each rule of the plan by itself, and pools that live through any history."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ivrd.rules.staffing import IDLE, Member, Plan, Size, WorkerState, due, plan, wanted

FIXED = Size(least=2, most=2, spare=0, places=10)
ELASTIC = Size(least=1, most=5, spare=4, places=10)


def member(
    key: int, state: WorkerState = "ready", *, stale: bool = False, load: int = 0, idle_since: float | None = None
) -> Member:
    return Member(key, state, stale, load, idle_since)


def planned(*members: Member, size: Size = FIXED, calls: int = 0, now: float = 100.0, not_before: float = 0.0) -> Plan:
    return plan(members, size, calls=calls, now=now, not_before=not_before)


@pytest.mark.parametrize(("calls", "workers"), [(0, 1), (6, 1), (7, 2), (16, 2), (17, 3), (46, 5), (47, 5), (1000, 5)])
def test_the_spare_places_are_kept_free_as_far_as_the_pool_may_grow(calls: int, workers: int) -> None:
    assert wanted(ELASTIC, calls) == workers


@pytest.mark.parametrize("calls", [0, 20, 1000])
def test_a_fixed_pool_stays_as_it_is(calls: int) -> None:
    assert wanted(FIXED, calls) == 2


def test_what_is_missing_is_started_and_what_is_starting_counts() -> None:
    assert planned() == Plan(2, (), None)
    assert planned(member(1, "starting")) == Plan(1, (), None)
    assert planned(member(1), member(2, "starting")) == Plan(0, (), None)
    assert planned(member(1), member(2, "retiring"), member(3, "stopping")) == Plan(1, (), None)


def test_nothing_is_started_while_the_app_backs_off() -> None:
    assert planned(not_before=100.5) == Plan(0, (), 100.5)
    assert planned(not_before=100.0) == Plan(2, (), None)


def test_a_stale_worker_is_replaced_before_it_is_retired() -> None:
    old = (member(1, stale=True, load=3), member(2, stale=True, load=1))
    assert planned(*old) == Plan(2, (), None)
    assert planned(*old, member(3, "starting"), member(4, "starting")) == Plan(0, (), None)
    # Each that becomes ready lets one go, the one that is soonest empty.
    assert planned(*old, member(3), member(4, "starting")) == Plan(0, (2,), None)
    assert planned(*old, member(3), member(4)) == Plan(0, (2, 1), None)


def test_the_old_generation_stays_while_the_new_one_does_not_start() -> None:
    old = (member(1, stale=True), member(2, stale=True))
    assert planned(*old, not_before=130.0) == Plan(0, (), 130.0)


def test_an_idle_worker_goes_after_a_while_and_a_busy_one_does_not() -> None:
    busy, idle = member(1, load=1), member(2, idle_since=90.0)
    assert planned(busy, idle, size=ELASTIC, calls=1) == Plan(0, (), 90.0 + IDLE)
    assert planned(busy, idle, size=ELASTIC, calls=1, now=90.0 + IDLE) == Plan(0, (2,), None)
    assert planned(busy, member(2, load=1), size=ELASTIC, calls=2, now=1e6) == Plan(0, (), None)


def test_how_long_is_a_while_can_be_said() -> None:
    hasty = replace(ELASTIC, shrink_after=2.0)
    assert planned(member(1, load=1), member(2, idle_since=99.0), size=hasty, calls=1) == Plan(0, (), 101.0)
    assert planned(member(1, load=1), member(2, idle_since=98.0), size=hasty, calls=1) == Plan(0, (2,), None)


def test_a_stale_worker_goes_before_an_idle_one() -> None:
    assert planned(member(1, idle_since=0.0), member(2, stale=True, load=9), size=ELASTIC, calls=1) == Plan(
        0, (2,), None
    )


def test_a_worker_is_let_go_once() -> None:
    members = (member(1, stale=True, idle_since=0.0), member(2, load=1), member(3, load=1))
    assert planned(*members, size=ELASTIC, calls=2).retire == (1,)


@pytest.mark.parametrize("idle_since", [102.30431124189643, 13.052589981354945, 2.745634441325695])
def test_at_the_time_for_which_it_asked_the_plan_does_something(idle_since: float) -> None:
    # For these numbers (idle_since + IDLE) - idle_since is less than IDLE.
    members = (member(1, load=1), member(2, idle_since=idle_since))
    wake = planned(*members, size=ELASTIC, calls=1, now=idle_since).wake
    assert wake is not None
    assert planned(*members, size=ELASTIC, calls=1, now=wake).retire == (2,)


# Recycling.


def recycled(**figures: float) -> str | None:
    """Tell whether a worker is due: all that is not given is off, or nought."""
    jitter, age, max_age = (figures.pop(name, 0.0) for name in ("jitter", "age", "max_age"))
    counts = {name: int(figures.pop(name, 0)) for name in ("served", "max_calls", "memory", "max_memory")}
    assert not figures
    return due(**counts, age=age, max_age=max_age, jitter=jitter)


def test_nothing_is_recycled_where_nothing_is_configured() -> None:
    assert recycled(served=10**9, memory=10**12, age=1e9) is None


def test_each_limit_recycles() -> None:
    assert recycled(served=999, max_calls=1000) is None
    assert recycled(served=1000, max_calls=1000) == "max_calls"
    assert recycled(memory=512, max_memory=512) is None
    assert recycled(memory=513, max_memory=512) == "max_memory"
    assert recycled(age=59.9, max_age=60.0) is None
    assert recycled(age=60.0, max_age=60.0) == "max_age"


def test_jitter_recycles_up_to_a_tenth_earlier() -> None:
    assert recycled(served=899, max_calls=1000, jitter=1.0) is None
    assert recycled(served=900, max_calls=1000, jitter=1.0) == "max_calls"
    assert recycled(age=54.0, max_age=60.0, jitter=1.0) == "max_age"
    assert recycled(served=0, max_calls=1, jitter=1.0) is None
    assert recycled(served=1, max_calls=1, jitter=1.0) == "max_calls"


# Any pool.

sizes = st.builds(
    lambda least, more, spare, places: Size(least, least + more, spare, places),
    st.integers(1, 4), st.integers(0, 4), st.integers(0, 20), st.integers(1, 10),
)  # fmt: skip
states: st.SearchStrategy[WorkerState] = st.sampled_from(["starting", "ready", "ready", "retiring", "stopping"])
any_member = st.builds(
    Member, st.just(0), states, st.booleans(), st.integers(0, 9), st.one_of(st.none(), st.floats(0, 200))
)
any_members = st.lists(any_member, max_size=10).map(
    lambda members: [replace(one, key=key) for key, one in enumerate(members)]
)


@given(any_members, sizes, st.integers(0, 100), st.floats(100, 200), st.floats(0, 300))
def test_any_plan_keeps_its_bounds(
    members: list[Member], size: Size, calls: int, now: float, not_before: float
) -> None:
    want = wanted(size, calls)
    assert size.least <= want <= size.most
    made = plan(members, size, calls=calls, now=now, not_before=not_before)

    fresh = sum(not one.stale and one.state in ("starting", "ready") for one in members)
    assert made.start == (0 if now < not_before else max(0, want - fresh))

    ready = {one.key: one for one in members if one.state == "ready"}
    gone = set(made.retire)
    assert len(gone) == len(made.retire)
    assert gone <= ready.keys()
    assert len(ready) - len(gone) >= min(want, len(ready)), "first replaced, then retired"
    kept_stale = [one for key, one in ready.items() if one.stale and key not in gone]
    if kept_stale:
        assert all(ready[key].stale for key in gone), "stale ones first"
        assert all(ready[key].load <= min(one.load for one in kept_stale) for key in gone)
        assert len(ready) - len(gone) <= want, "a stale one stays only where it is needed"
    for key in gone:
        if not ready[key].stale:
            idle_since = ready[key].idle_since
            assert idle_since is not None
            assert now >= idle_since + IDLE
    if made.wake is not None:
        assert made.wake > now, "no spinning"


@dataclass
class Pool:
    """The carrying out of plans, in a few lines."""

    size: Size
    members: list[Member]
    now: float = 0.0
    calls: int = 0
    keys: int = 100

    def carry_out(self, *, not_before: float = 0.0) -> Plan:
        made = plan(self.members, self.size, calls=self.calls, now=self.now, not_before=not_before)
        self.keys += made.start
        started = [Member(self.keys - number, "starting", False, 0, self.now) for number in range(made.start)]
        self.members = [
            replace(one, state="retiring") if one.key in made.retire else one for one in self.members
        ] + started
        return made

    def everyone_gets_ready(self) -> None:
        self.members = [replace(one, state="ready") if one.state == "starting" else one for one in self.members]

    def empty_ones_leave(self) -> None:
        self.members = [one for one in self.members if one.state not in ("retiring", "stopping")]


@given(any_members, sizes, st.integers(0, 60))
def test_any_pool_comes_to_rest_at_its_size_with_nothing_stale(members: list[Member], size: Size, calls: int) -> None:
    # Workers with calls keep them (the most patient callers); those without have been idle since the beginning.
    settled = [replace(one, idle_since=None if one.load else 0.0) for one in members]
    pool = Pool(size, settled, calls=calls)
    for _ in range(6):
        made = pool.carry_out()
        pool.everyone_gets_ready()
        pool.empty_ones_leave()
        pool.now = pool.now if made.wake is None else made.wake
    assert pool.carry_out() == Plan(0, (), None)
    assert not any(one.stale for one in pool.members)
    assert all(one.state == "ready" for one in pool.members)
    want = wanted(size, calls)
    busy = sum(one.load > 0 for one in pool.members)
    assert want <= len(pool.members) <= max(want, busy)


events = st.lists(
    st.one_of(
        st.tuples(st.just("calls"), st.integers(0, 60)),
        st.tuples(st.just("time"), st.integers(0, 60)),
        st.tuples(st.sampled_from(["ready", "die", "stale", "reload", "leave"]), st.integers(0, 20)),
    ),
    max_size=40,
)


@given(sizes, events)
def test_through_any_history_no_ready_worker_is_let_go_that_is_needed(
    size: Size, history: list[tuple[str, int]]
) -> None:
    pool = Pool(size, [])
    for event, number in history:
        chosen = pool.members[number % len(pool.members)] if pool.members else None
        if event == "calls":
            pool.calls = number
        elif event == "time":
            pool.now += number
        elif event == "reload":
            pool.members = [replace(one, stale=True) for one in pool.members]
        elif event == "leave":
            pool.empty_ones_leave()
        elif chosen is not None:
            pool.members.remove(chosen)
            if event == "ready" and chosen.state == "starting":
                pool.members.append(replace(chosen, state="ready"))
            elif event == "stale":
                pool.members.append(replace(chosen, stale=True))
            elif event == "ready":
                pool.members.append(chosen)
        ready = sum(one.state == "ready" for one in pool.members)
        pool.carry_out()
        want = wanted(size, pool.calls)
        left = sum(one.state == "ready" for one in pool.members)
        assert left >= min(ready, want)
        fresh = [one for one in pool.members if not one.stale and one.state in ("starting", "ready")]
        assert len(fresh) >= want
        assert len(fresh) <= max(want, size.most)
