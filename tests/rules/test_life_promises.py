"""What the life of a call promises, whatever happens to it and in whatever order: Hypothesis deals the facts."""

from __future__ import annotations

import math
from typing import get_args

from hypothesis import given, settings
from hypothesis import strategies as st

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
OPERATOR = OrderedOut("operator", "ivrd hangup")
DRAINED = OrderedOut("drained", "ivrd stops")

policies = st.builds(
    Policy,
    fallback=st.sampled_from(["hangup", "exit"]),
    on_overload=st.sampled_from(["hangup", "exit"]),
    on_crash=st.sampled_from(["hangup", "exit", "retry", "retry"]),
    on_error=st.sampled_from(["hangup", "exit"]),
    on_timeout=st.sampled_from(["hangup", "exit"]),
    queue_timeout=st.floats(0.1, 10),
    max_duration=st.sampled_from([0.0, 1.0, 30.0]),
    close_timeout=st.floats(0.1, 10),
)
results = st.sampled_from(get_args(Result))
a_fact: st.SearchStrategy[Fact] = st.one_of(
    st.sampled_from(
        [Admitted(), Assigned(), Confirmed(), Lost(), DIED, Marked(), OPERATOR, DRAINED, ShimGone(), Broken()]
    ),
    st.sampled_from([Assigned(), Confirmed(), Marked(), DIED]),  # once more, so that second lives are frequent
    st.builds(TurnedAway, st.sampled_from(Status), st.just("no")),
    st.builds(Over, results, st.sampled_from(["", "", "it could not be said"])),
    st.builds(CallerGone, st.booleans()),
)
TO_RUNNING: tuple[Fact, ...] = (Admitted(), Assigned(), Confirmed())
beginnings = st.sampled_from([(), TO_RUNNING[:1], TO_RUNNING[:2], TO_RUNNING, (*TO_RUNNING, DIED, Marked())])
courses = st.lists(st.tuples(st.sampled_from([0.0, 0.0, 0.01, 0.5, 3.0]), a_fact), max_size=25)


class Witness:
    """Sees each step of one life and holds it to the promises."""

    def __init__(self, life: Life, now: float) -> None:
        self.life = life
        self.now = now
        self.done: list[Action] = []
        self.reading = False
        self.crashes = 0

    def step(self, fact: Fact) -> None:
        life = self.life
        state, guarded, result, attempt = life.state, life.guarded, life.result, life.attempt
        actions = life.step(fact, self.now)
        self.done += actions

        if state is State.ENDED:
            assert actions == ()
        assert result is None or life.result == result, "a call has one result"
        assert life.result is None or life.result in get_args(Result)
        assert (life.result is not None) == (life.state in (State.ENDING, State.ENDED))
        assert (Act.CLOSE in actions) == (life.state is State.ENDED and state is not State.ENDED)
        if Act.CLOSE in actions:
            assert actions[-1] is Act.CLOSE
            assert self.done.count(Act.CLOSE) == 1

        self.watch_the_shim(actions, guarded, fact)
        self.watch_the_reading(actions)
        self.watch_the_last_word(actions, guarded)

        # Whoever takes a call out of a worker's hands tells the worker, if it lives.
        taken = state in (State.STARTING, State.RUNNING) and life.state in (State.ENDING, State.ENDED)
        late = state is State.STARTING and isinstance(fact, Expired)
        assert (Act.TAKE_BACK in actions) == late
        assert (Act.DROP in actions) == (taken and not late and not isinstance(fact, Over | WorkerDied | Lost))
        assert (Act.REJOIN in actions) == (life.state is State.QUEUED and state in (State.STARTING, State.RESETTING)), (
            "who waits again stands in the line again"
        )
        assert (Act.DISPATCH in actions) == (life.state is State.STARTING and state is State.QUEUED)
        assert (Act.RESET in actions) == (life.state is State.RESETTING and state is State.RUNNING)
        assert life.attempt == attempt + (state is State.RESETTING and life.state is State.QUEUED)
        assert life.attempt <= 2
        assert self.done.count(Act.RESET) <= (life.policy.on_crash == "retry")

        if life.state in (State.ADMITTED, State.ENDED) or (
            life.state is State.RUNNING and not life.policy.max_duration
        ):
            assert life.deadline is None
        else:
            assert life.deadline is not None
            assert math.isfinite(life.deadline)

    def watch_the_shim(self, actions: tuple[Action, ...], guarded: bool, fact: Fact) -> None:
        told = [action.kind for action in actions if isinstance(action, Tell)]
        last_words = [a for a in self.done if isinstance(a, Tell) and a.kind != "queued"]
        assert len(last_words) <= 1
        if not guarded:
            assert not told, "there is no shim to be told"
            assert not self.life.guarded, "a shim does not come back"
        elif not self.life.guarded:
            # It is released by the word that a worker has the call, or it is gone, and then it is we who end the call.
            assert told == ["started"] or (isinstance(fact, ShimGone) and self.life.state is State.ENDING)
            assert self.life.state is not State.QUEUED
        elif self.life.state is State.ENDED and Act.CLOSE in actions:
            assert told[-1] in ("ended", "refused"), "a shim is not left waiting"
        if self.life.guarded:
            assert self.life.state not in (State.RUNNING, State.RESETTING, State.ENDING)

    def watch_the_reading(self, actions: tuple[Action, ...]) -> None:
        for action in actions:
            if action in (Act.READ, Act.RESET, Act.DRAIN):
                self.reading = True
            elif action in (Act.DISPATCH, Act.CLOSE):
                self.reading = False
        ours = self.life.state in (State.QUEUED, State.RESETTING, State.ENDING)
        assert self.reading == ours, "one reader at a time: we, or the worker"

    def watch_the_last_word(self, actions: tuple[Action, ...], guarded: bool) -> None:
        if any(isinstance(action, Say) for action in actions):
            assert actions[-1] is Act.DRAIN
            assert not (guarded and self.life.guarded), "the shim says it, where there is one"
            assert sum(isinstance(action, Say) for action in self.done) == 1
            assert self.life.state is State.ENDING

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and each deadline in it."""
        until = self.now + seconds
        while self.life.deadline is not None and self.life.deadline <= until:
            self.now = max(self.now, self.life.deadline)
            self.step(Expired())
        self.now = until


@settings(max_examples=500)
@given(policies, beginnings, courses, st.one_of(st.none(), st.integers(1, 2)))
def test_any_course_keeps_the_promises_and_comes_to_an_end(
    policy: Policy, beginning: tuple[Fact, ...], course: list[tuple[float, Fact]], adopted: int | None
) -> None:
    now = 1000.0
    life = Life(policy, now) if adopted is None else Life.adopted(policy, now, age=0.0, attempt=adopted)
    witness = Witness(life, now)
    for fact in beginning:
        witness.step(fact)
    for seconds, fact in course:
        witness.pass_time(seconds)
        witness.step(fact)

    # Nothing happens any more but time: the end comes by itself, and soon.
    if life.state is State.ADMITTED:
        witness.step(Admitted())
    for _ in range(3):
        if life.deadline is not None:
            witness.pass_time(life.deadline - witness.now)
    if life.state is State.RUNNING:
        assert policy.max_duration == 0  # a worker has it, and no limit was set
        witness.step(Over("completed"))
    assert life.state is State.ENDED
    assert witness.done.count(Act.CLOSE) == 1


@given(policies, st.lists(st.tuples(st.floats(0.2, 1.9), st.sampled_from([Lost(), DIED])), min_size=10, max_size=60))
def test_a_waiting_call_is_served_or_sent_on_before_its_shim_loses_patience(
    policy: Policy, bad_luck: list[tuple[float, Fact]]
) -> None:
    witness = Witness(Life(policy, 0.0), 0.0)
    witness.step(Admitted())
    for seconds, fact in bad_luck:
        witness.step(Assigned())
        witness.pass_time(seconds)
        witness.step(fact)
        if witness.life.state is State.ENDED:
            break
        assert witness.now < policy.queue_timeout, "it waits no longer than it may"
    witness.pass_time(policy.queue_timeout + rules.START_TIMEOUT - witness.now)
    assert witness.life.state is State.ENDED
