"""The life of a call: a table of the test's own for each state and fact, courses of calls by name, and deadlines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

import pytest

from ivrd.rules import life as rules
from ivrd.rules.life import (
    Act,
    Action,
    Admitted,
    Assigned,
    Broken,
    CallerGone,
    Confirmed,
    Expired,
    Fact,
    Life,
    Lost,
    Marked,
    OrderedOut,
    Over,
    Policy,
    Say,
    ShimGone,
    State,
    Tell,
    TurnedAway,
    WorkerDied,
)
from ivrd.wire.hello import Status
from ivrd.wire.messages import Result

DIED = WorkerDied("worker 1 was killed by SIGKILL")
FULL = TurnedAway(Status.OVERLOADED, "200 calls are up")
OPERATOR = OrderedOut("operator", "ivrd hangup")
DRAINED = OrderedOut("drained", "ivrd stops")
EVERY_FACT: tuple[Fact, ...] = (
    Admitted(), FULL, Assigned(), Confirmed(), Lost(), ShimGone(), Over("completed"), DIED, CallerGone(), Marked(),
    OPERATOR, Expired(), Broken(),
)  # fmt: skip

RETRY = Policy(on_crash="retry")
TO_RUNNING: tuple[Fact, ...] = (Admitted(), Assigned(), Confirmed())
PATHS: dict[str, tuple[Fact, ...]] = {
    "admitted": (),
    "queued": (Admitted(),),
    "starting": (Admitted(), Assigned()),
    "running": TO_RUNNING,
    "resetting": (*TO_RUNNING, DIED),
    "queued again": (*TO_RUNNING, DIED, Marked()),
    "starting again": (*TO_RUNNING, DIED, Marked(), Assigned()),
    "running again": (*TO_RUNNING, DIED, Marked(), Assigned(), Confirmed()),
    "ending": (*TO_RUNNING, OPERATOR),
    "ended": (*TO_RUNNING, Over("completed")),
}

# Written down from the design, not from the code: where each fact leads with `on_crash = "retry"`; what is not here is
# old news. "again" is the second life, which no shim guards.
LEADS_TO: dict[tuple[str, type[Fact]], str] = {
    ("admitted", Admitted): "queued",
    ("admitted", TurnedAway): "ended rejected",
    ("admitted", Broken): "ended app_error",
    ("queued", TurnedAway): "ended rejected",
    ("queued", Assigned): "starting",
    ("queued", ShimGone): "ending rejected",
    ("queued", CallerGone): "ended hangup",
    ("queued", OrderedOut): "ended operator",
    ("queued", Expired): "ended rejected",
    ("queued", Broken): "ended app_error",
    ("starting", Confirmed): "running",
    ("starting", Lost): "queued",
    ("starting", WorkerDied): "queued",
    ("starting", Over): "ended completed",
    ("starting", OrderedOut): "ended operator",
    ("starting", Expired): "queued",
    ("starting", Broken): "ended app_error",
    ("running", Over): "ended completed",
    ("running", WorkerDied): "resetting",
    ("running", OrderedOut): "ending operator",
    ("running", Expired): "ending timeout",
    ("running", Broken): "ending app_error",
    ("resetting", Marked): "queued",
    ("resetting", CallerGone): "ended hangup",
    ("resetting", OrderedOut): "ending operator",
    ("resetting", Expired): "ending worker_died",
    ("resetting", Broken): "ending app_error",
    ("queued again", TurnedAway): "ending rejected",
    ("queued again", Assigned): "starting",
    ("queued again", CallerGone): "ended hangup",
    ("queued again", OrderedOut): "ending operator",
    ("queued again", Expired): "ending rejected",
    ("queued again", Broken): "ending app_error",
    ("starting again", Confirmed): "running",
    ("starting again", Lost): "queued",
    ("starting again", WorkerDied): "queued",
    ("starting again", Over): "ended completed",
    ("starting again", OrderedOut): "ending operator",
    ("starting again", Expired): "queued",
    ("starting again", Broken): "ending app_error",
    ("running again", Over): "ended completed",
    ("running again", WorkerDied): "ending worker_died",
    ("running again", OrderedOut): "ending operator",
    ("running again", Expired): "ending timeout",
    ("running again", Broken): "ending app_error",
    ("ending", CallerGone): "ended operator",
    ("ending", Expired): "ended operator",
    ("ending", Broken): "ended operator",
}


def walk(facts: Iterable[Fact], policy: Policy = RETRY, now: float = 100.0) -> tuple[Life, list[Action]]:
    """Take the facts all at one time; the life and all its actions."""
    life = Life(policy, now)
    return life, [action for fact in facts for action in life.step(fact, now)]


def where(life: Life) -> str:
    return f"{life.state.value} {life.result}" if life.result else life.state.value


@pytest.mark.parametrize("fact", EVERY_FACT, ids=lambda fact: type(fact).__name__)
@pytest.mark.parametrize("place", PATHS)
def test_each_fact_in_each_state_leads_where_the_design_says(place: str, fact: Fact) -> None:
    life, _ = walk(PATHS[place])
    before = (where(life), life.deadline, life.guarded, life.attempt)
    actions = life.step(fact, 100.5)
    if (place, type(fact)) in LEADS_TO:
        assert where(life) == LEADS_TO[place, type(fact)]
    else:
        assert (where(life), life.deadline, life.guarded, life.attempt) == before
        assert actions == ()


def test_the_table_of_the_test_names_every_fact_and_state() -> None:
    assert {type(fact) for fact in EVERY_FACT} == set(get_args(Fact))
    assert {walk(path)[0].state for path in PATHS.values()} == set(State)
    assert {(walk(PATHS[place])[0].state, fact) for place, fact in LEADS_TO} == set(rules.TABLE)


# Courses of calls, by name: the facts after admission, all that is done about them, and the result.

STARTED = (Tell("queued"), Act.READ, Act.DISPATCH, Tell("started"))


def said(status: Status, way: str, reason: str) -> tuple[Action, ...]:
    assert way in ("hangup", "exit")
    return (Say(status, "exit" if way == "exit" else "hangup", reason), Act.DRAIN)


NO_WORKER = "no worker was free within 2 s"
BROKEN = "an error in ivrd; its log has more"
TOO_LONG = "longer than max_duration, 3600 s"
COURSES: dict[str, tuple[Policy, tuple[Fact, ...], tuple[Action, ...], Result]] = {
    "served": (Policy(), (*TO_RUNNING, Over("completed")), (*STARTED, Act.CLOSE), "completed"),
    "hangup in the queue": (
        Policy(), (Admitted(), CallerGone()), (Tell("queued"), Act.READ, Tell("ended"), Act.CLOSE), "hangup",
    ),
    "overload, exit": (
        Policy(on_overload="exit"), (FULL,), (Tell("refused", Status.OVERLOADED, "exit", FULL.reason), Act.CLOSE),
        "rejected",
    ),
    "overload is not the shim's choice": (
        Policy(fallback="exit"), (FULL,), (Tell("refused", Status.OVERLOADED, "hangup", FULL.reason), Act.CLOSE),
        "rejected",
    ),
    "unknown app is the shim's choice": (
        Policy(on_overload="exit"), (TurnedAway(Status.UNKNOWN_APP, "no app"),),
        (Tell("refused", Status.UNKNOWN_APP, "-", "no app"), Act.CLOSE), "rejected",
    ),
    "draining while it waits": (
        Policy(on_overload="exit"), (Admitted(), TurnedAway(Status.DRAINING, "ivrd stops")),
        (Tell("queued"), Act.READ, Tell("refused", Status.DRAINING, "-", "ivrd stops"), Act.CLOSE), "rejected",
    ),
    "waited too long": (
        Policy(on_overload="exit"), (Admitted(), Expired()),
        (Tell("queued"), Act.READ, Tell("refused", Status.OVERLOADED, "exit", NO_WORKER), Act.CLOSE), "rejected",
    ),
    "first worker unlucky": (
        Policy(), (Admitted(), Assigned(), Lost(), Assigned(), DIED, Assigned(), Confirmed(), Over("hangup")),
        (Tell("queued"), Act.READ, *(Act.DISPATCH, Act.READ, Act.REJOIN) * 2, Act.DISPATCH, Tell("started"), Act.CLOSE),
        "hangup",
    ),
    "worker stuck at the start, another takes the call": (
        Policy(), (Admitted(), Assigned(), Expired(), Assigned(), Confirmed(), Over("completed")),
        (
            Tell("queued"), Act.READ, Act.DISPATCH, Act.TAKE_BACK, Act.READ, Act.REJOIN, Act.DISPATCH, Tell("started"),
            Act.CLOSE,
        ),
        "completed",
    ),
    "worker stuck at the start, nobody else is there": (
        Policy(on_overload="exit"), (Admitted(), Assigned(), Expired(), Expired()),
        (
            Tell("queued"), Act.READ, Act.DISPATCH, Act.TAKE_BACK, Act.READ, Act.REJOIN,
            Tell("refused", Status.OVERLOADED, "exit", NO_WORKER), Act.CLOSE,
        ),
        "rejected",
    ),
    "over before confirmed": (
        Policy(), (Admitted(), Assigned(), Over("app_error")), (*STARTED, Act.CLOSE), "app_error",
    ),
    "could not be started": (
        Policy(on_error="exit"), (Admitted(), Assigned(), Over("app_error", "odd descriptors")),
        (
            Tell("queued"), Act.READ, Act.DISPATCH, Tell("refused", Status.ERROR, "exit", "odd descriptors"), Act.CLOSE,
        ),
        "app_error",
    ),
    "could not be gone on with": (
        Policy(on_error="exit"), (*TO_RUNNING, Over("app_error", "an error in ivrd"), CallerGone(left=True)),
        (*STARTED, *said(Status.ERROR, "exit", "an error in ivrd"), Act.CLOSE), "app_error",
    ),
    "an error of the daemon's, queued": (
        Policy(on_error="exit"), (Admitted(), Broken()),
        (Tell("queued"), Act.READ, Tell("refused", Status.ERROR, "exit", BROKEN), Act.CLOSE), "app_error",
    ),
    "an error of the daemon's, running": (
        Policy(on_error="exit"), (*TO_RUNNING, Broken(), CallerGone(left=True)),
        (*STARTED, Act.DROP, *said(Status.ERROR, "exit", BROKEN), Act.CLOSE), "app_error",
    ),
    "an error of the daemon's, again and again": (
        Policy(), (*TO_RUNNING, Broken(), Broken()),
        (*STARTED, Act.DROP, *said(Status.ERROR, "hangup", BROKEN), Act.CLOSE), "app_error",
    ),
    "shim killed in the queue": (
        Policy(fallback="exit", on_overload="hangup"), (Admitted(), ShimGone(), CallerGone(left=True)),
        (
            Tell("queued"), Act.READ,
            *said(Status.UNAVAILABLE, "exit", "its shim went away before a worker had the call"), Act.CLOSE,
        ),
        "rejected",
    ),
    "crash, hangup": (
        Policy(), (*TO_RUNNING, DIED, CallerGone()),
        (*STARTED, *said(Status.CRASHED, "hangup", DIED.reason), Act.CLOSE), "worker_died",
    ),
    "crash, exit": (
        Policy(on_crash="exit"), (*TO_RUNNING, DIED, CallerGone(left=True)),
        (*STARTED, *said(Status.CRASHED, "exit", DIED.reason), Act.CLOSE), "worker_died",
    ),
    "crash, Asterisk does not close": (
        Policy(), (*TO_RUNNING, DIED, Expired()),
        (*STARTED, *said(Status.CRASHED, "hangup", DIED.reason), Act.CLOSE), "worker_died",
    ),
    "crash, retry": (
        RETRY, (*TO_RUNNING, DIED, Marked(), Assigned(), Confirmed(), Over("completed")),
        (*STARTED, Act.RESET, Act.READ, Act.REJOIN, Act.DISPATCH, Act.CLOSE), "completed",
    ),
    "retry, then crash again": (
        RETRY, (*TO_RUNNING, DIED, Marked(), Assigned(), Confirmed(), DIED, CallerGone()),
        (
            *STARTED, Act.RESET, Act.READ, Act.REJOIN, Act.DISPATCH, *said(Status.CRASHED, "hangup", DIED.reason),
            Act.CLOSE,
        ),
        "worker_died",
    ),
    "retry, but the app had left": (
        RETRY, (*TO_RUNNING, DIED, CallerGone(left=True)), (*STARTED, Act.RESET, Act.CLOSE), "completed",
    ),
    "retry, but the caller had hung up": (
        RETRY, (*TO_RUNNING, DIED, CallerGone()), (*STARTED, Act.RESET, Act.CLOSE), "hangup",
    ),
    "retry, but Asterisk does not answer the marker": (
        RETRY, (*TO_RUNNING, DIED, Expired(), CallerGone()),
        (*STARTED, Act.RESET, *said(Status.CRASHED, "hangup", "the call could not be begun anew"), Act.CLOSE),
        "worker_died",
    ),
    "retry, but no worker is free": (
        Policy(on_crash="retry", on_overload="exit"), (*TO_RUNNING, DIED, Marked(), Expired(), CallerGone(left=True)),
        (*STARTED, Act.RESET, Act.READ, Act.REJOIN, *said(Status.OVERLOADED, "exit", NO_WORKER), Act.CLOSE),
        "rejected",
    ),
    "retry, but the caller hangs up in the line": (
        RETRY, (*TO_RUNNING, DIED, Marked(), CallerGone()),
        (*STARTED, Act.RESET, Act.READ, Act.REJOIN, Act.CLOSE), "hangup",
    ),
    "timeout": (
        Policy(on_timeout="exit"), (*TO_RUNNING, Expired(), Over("completed"), CallerGone(left=True)),
        (*STARTED, Act.DROP, *said(Status.TIMEOUT, "exit", TOO_LONG), Act.CLOSE), "timeout",
    ),
    "operator, queued": (
        Policy(fallback="exit"), (Admitted(), OPERATOR),
        (Tell("queued"), Act.READ, Tell("refused", Status.UNAVAILABLE, "hangup", OPERATOR.reason), Act.CLOSE),
        "operator",
    ),
    "operator, starting": (
        Policy(fallback="exit"), (Admitted(), Assigned(), OPERATOR),
        (
            Tell("queued"), Act.READ, Act.DISPATCH, Act.DROP,
            Tell("refused", Status.UNAVAILABLE, "hangup", OPERATOR.reason), Act.CLOSE,
        ),
        "operator",
    ),
    "operator, running": (
        Policy(), (*TO_RUNNING, OPERATOR, CallerGone()),
        (*STARTED, Act.DROP, *said(Status.UNAVAILABLE, "hangup", OPERATOR.reason), Act.CLOSE), "operator",
    ),
    "operator, resetting": (
        RETRY, (*TO_RUNNING, DIED, OPERATOR, CallerGone()),
        (*STARTED, Act.RESET, *said(Status.UNAVAILABLE, "hangup", OPERATOR.reason), Act.CLOSE), "operator",
    ),
    "operator, starting again": (
        RETRY, (*TO_RUNNING, DIED, Marked(), Assigned(), OPERATOR, CallerGone()),
        (
            *STARTED, Act.RESET, Act.READ, Act.REJOIN, Act.DISPATCH, Act.DROP,
            *said(Status.UNAVAILABLE, "hangup", OPERATOR.reason), Act.CLOSE,
        ),
        "operator",
    ),
    "drained, running": (
        Policy(), (*TO_RUNNING, DRAINED, CallerGone()),
        (*STARTED, Act.DROP, *said(Status.DRAINING, "hangup", DRAINED.reason), Act.CLOSE), "drained",
    ),
    "drained, before an app met it": (
        Policy(), (Admitted(), Assigned(), DRAINED),
        (
            Tell("queued"), Act.READ, Act.DISPATCH, Act.DROP,
            Tell("refused", Status.DRAINING, "-", DRAINED.reason), Act.CLOSE,
        ),
        "drained",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", COURSES)
def test_the_course_of_a_call(name: str) -> None:
    policy, facts, actions, result = COURSES[name]
    life, done = walk(facts, policy)
    assert tuple(done) == actions
    assert (life.state, life.result) == (State.ENDED, result)


# Deadlines.


def test_each_state_has_its_deadline() -> None:
    policy = Policy(on_crash="retry", queue_timeout=3.0, max_duration=60.0, close_timeout=7.0)
    life = Life(policy, 100.0)
    seen = {}
    for now, fact in enumerate(PATHS["running again"], start=100):
        life.step(fact, float(now))
        seen[now] = (life.state, life.deadline)
    life.step(OPERATOR, 107.0)
    assert seen == {
        100: (State.QUEUED, 103.0),
        101: (State.STARTING, 101.0 + rules.START_TIMEOUT),
        102: (State.RUNNING, 160.0 + rules.BACKSTOP),  # from the admission on, the wait included
        103: (State.RESETTING, 103.0 + rules.RESET_TIMEOUT),
        104: (State.QUEUED, 107.0),  # its second life waits anew
        105: (State.STARTING, 105.0 + rules.START_TIMEOUT),
        106: (State.RUNNING, 160.0 + rules.BACKSTOP),
    }
    assert (life.state, life.deadline) == (State.ENDING, 114.0)


def test_bad_luck_does_not_lengthen_the_wait() -> None:
    life, _ = walk([Admitted(), Assigned()], Policy(queue_timeout=5.0), now=100.0)
    assert life.step(Lost(), 101.5) == (Act.READ, Act.REJOIN)
    assert life.deadline == 105.0


def test_a_call_that_kills_each_worker_is_refused_at_its_queue_deadline_though_places_are_free() -> None:
    life, _ = walk([Admitted()], Policy(queue_timeout=2.0, on_overload="exit"), now=100.0)
    now, rounds = 100.0, 0
    while life.state is not State.ENDED:
        # A free place is found in the same moment each time, so that `Expired` never has its turn in the queue.
        assert life.step(Assigned(), now) == (Act.DISPATCH,)
        now += 0.75
        actions = life.step(DIED, now)
        rounds += 1
        assert rounds < 10
    assert actions == (Tell("refused", Status.OVERLOADED, "exit", NO_WORKER), Act.CLOSE)
    assert now <= 100.0 + 2.0 + rules.START_TIMEOUT


def test_an_adopted_call_runs_and_no_shim_is_told_anything() -> None:
    life = Life.adopted(Policy(max_duration=60.0), 1000.0, age=20.0, attempt=2)
    assert (life.state, life.guarded, life.attempt) == (State.RUNNING, False, 2)
    assert life.deadline == 1040.0 + rules.BACKSTOP
    assert life.step(OPERATOR, 1001.0)[0] is Act.DROP
    assert life.step(CallerGone(), 1002.0) == (Act.CLOSE,)


def test_an_adopted_call_that_is_older_than_it_may_be_ends_at_once() -> None:
    life = Life.adopted(Policy(max_duration=60.0), 1000.0, age=90.0, attempt=1)
    assert life.deadline == 1000.0


def test_no_max_duration_is_no_deadline() -> None:
    assert walk(TO_RUNNING, Policy(max_duration=0))[0].deadline is None
