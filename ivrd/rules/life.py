"""The life of a call, as the daemon sees it: one transition table, pure.

    ADMITTED ──▶ QUEUED ──▶ STARTING ──▶ RUNNING ──▶ ENDING ──▶ ENDED
                   ▲  ▲────────┘            │
                   └────── RESETTING ◀──────┘

A call is born ADMITTED, when a shim's hello and its three descriptors are in our hands. It waits QUEUED until the
routing gives it a worker; STARTING is the moment between the hand-over and the worker's word that it owns the call, and
only with that word does the shim, the caller's guardian till then, go away. RUNNING calls belong to their worker: the
daemon only watches. RESETTING wipes what a dead worker left on the channel, so that the call can begin anew. ENDING
means that *we* have sent the last command and wait for Asterisk to close; in ENDED nothing is held any more.

The rule that holds here: everything that can happen to a call is a `Fact`, everything the daemon must do about it is an
`Action`, and `TABLE` is the whole of what leads from the one to the other. There is no clock (`now` is an argument; a
deadline that passes is the fact `Expired`) and no descriptor. A fact that the table does not know for a state is no
error but old news: the worker that reports the end of a call which the operator has just hung up was only a little
late. Three promises hold for every sequence of facts, and Hypothesis tries them: a call ends once, with one result;
whoever is on the line is never left without a guardian (shim, worker or us); `Close` comes once and nothing after it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Literal, TypeAlias

from ivrd.rules.facts import (
    Act,
    Action,
    Admitted,
    Assigned,
    Broken,
    CallerGone,
    Confirmed,
    Expired,
    Fact,
    Lost,
    Marked,
    OrderedOut,
    Over,
    Say,
    ShimGone,
    Tell,
    TurnedAway,
    WorkerDied,
)
from ivrd.wire.hello import Action as Way
from ivrd.wire.hello import Status
from ivrd.wire.messages import Result

__all__ = [
    "TABLE",
    "Act",
    "Action",
    "Admitted",
    "Assigned",
    "Broken",
    "CallerGone",
    "Confirmed",
    "Expired",
    "Fact",
    "Life",
    "Lost",
    "Marked",
    "OrderedOut",
    "Over",
    "Policy",
    "Say",
    "ShimGone",
    "State",
    "Tell",
    "TurnedAway",
    "WorkerDied",
]

START_TIMEOUT = 1.0  # seconds in which a worker confirms a call; another one gets it if it does not
RESET_TIMEOUT = 2.0  # seconds in which Asterisk answers the marker of a retry
BACKSTOP = 1.0  # seconds by which the daemon lets a worker go first with `max_duration`


class State(Enum):
    """Where a call is; the values are the `state` label of the metrics."""

    ADMITTED = "admitted"
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    RESETTING = "resetting"
    ENDING = "ending"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Policy:
    """What the configuration says about a call's ends.

    Attributes:
        fallback: the shim's own `--fallback`.
        on_overload: what to do where there is no room.
        on_crash: what to do when its worker dies.
        on_error: what to do when the worker could not run it, or cannot any more.
        on_timeout: what to do past `max_duration`.
        queue_timeout: seconds in the queue.
        max_duration: seconds from admission; 0 is off.
        close_timeout: seconds that Asterisk has to close.
    """

    fallback: Literal["hangup", "exit"] = "hangup"
    on_overload: Literal["hangup", "exit"] = "hangup"
    on_crash: Literal["hangup", "exit", "retry"] = "hangup"
    on_error: Literal["hangup", "exit"] = "hangup"
    on_timeout: Literal["hangup", "exit"] = "hangup"
    queue_timeout: float = 2.0
    max_duration: float = 3600.0
    close_timeout: float = 5.0


_Actions: TypeAlias = tuple[Action, ...]


class Life:
    """One call's state, its deadline and, at the end, its result.

    Attributes:
        state: where the call is.
        result: how it ended, from the moment that was decided; None before.
        deadline: when `Expired` is due, on the clock of `now`; None for never.
        attempt: 1, or 2 after a retry.
        guarded: the shim still holds its copies and falls back by itself when told to, or when we die.
    """

    def __init__(self, policy: Policy, now: float, *, age: float = 0.0, attempt: int = 1) -> None:
        self.policy = policy
        self.state = State.ADMITTED
        self.result: Result | None = None
        self.deadline: float | None = None
        self.attempt = attempt
        self.guarded = True
        self._admitted = now - age
        self._patience = now  # until when it waits in the queue

    @classmethod
    def adopted(cls, policy: Policy, now: float, *, age: float, attempt: int) -> Life:
        """The life of a call that a worker brought along from another daemon: it runs, and no shim guards it."""
        life = cls(policy, now, age=age, attempt=attempt)
        life.guarded = False
        life._run(now)
        return life

    def step(self, fact: Fact, now: float) -> _Actions:
        """Take a fact to heart.

        Args:
            fact: what happened.
            now: seconds, on the clock of the other calls of this object.

        Returns:
            What is to be done about it, in order; nothing where the fact is old news.
        """
        rule = TABLE.get((self.state, type(fact)))
        return rule(self, fact, now) if rule else ()

    # One method for each arrow of the table; what they do to the state stands in the first lines of each.

    def _queue(self, _: Fact, now: float) -> _Actions:
        self.state = State.QUEUED
        self.deadline = self._patience = now + self.policy.queue_timeout
        return (Tell("queued"), Act.READ)

    def _turn_away(self, fact: Fact, now: float) -> _Actions:
        assert isinstance(fact, TurnedAway)
        way: Way = self.policy.on_overload if fact.status is Status.OVERLOADED else "-"
        return self._refuse(fact.status, way, fact.reason, now)

    def _waited_too_long(self, _: Fact, now: float) -> _Actions:
        reason = f"no worker was free within {self.policy.queue_timeout:g} s"
        return self._refuse(Status.OVERLOADED, self.policy.on_overload, reason, now)

    def _refuse(self, status: Status, way: Way, reason: str, now: float) -> _Actions:
        """Send the call on: by its shim where there is one, else by ourselves."""
        if not self.guarded:
            return self._end("rejected", Say(status, self.policy.fallback if way == "-" else way, reason), now)
        self._finish("rejected")
        return (Tell("refused", status, way, reason), Act.CLOSE)

    def _dispatch(self, _: Fact, now: float) -> _Actions:
        self.state = State.STARTING
        self.deadline = now + START_TIMEOUT
        return (Act.DISPATCH,)

    def _requeue(self, fact: Fact, now: float) -> _Actions:
        # Its time in the queue goes on: the shim waits no longer for having been unlucky, and a call that kills each
        # worker that touches it does not go round for ever, not even when free places are found before `Expired`.
        if now >= self._patience:
            return self._waited_too_long(fact, now)
        self.state = State.QUEUED
        self.deadline = self._patience
        return (Act.READ, Act.REJOIN)

    def _unconfirmed(self, fact: Fact, now: float) -> _Actions:
        # Its loop is blocked, or it is stopped; another one may be quicker.
        return (Act.TAKE_BACK, *self._requeue(fact, now))

    def _unguarded(self, _: Fact, now: float) -> _Actions:
        # Where it has fallen back itself, Asterisk has closed, or will at its command, which stands before ours: what
        # we say is lost on nobody. Where it was killed, we are the only one left to say it.
        if not self.guarded:
            return ()
        self.guarded = False
        return self._refuse(Status.UNAVAILABLE, "-", "its shim went away before a worker had the call", now)

    def _confirm(self, _: Fact, now: float) -> _Actions:
        self._run(now)
        told: _Actions = (Tell("started"),) if self.guarded else ()
        self.guarded = False
        return told

    def _run(self, now: float) -> None:
        self.state = State.RUNNING
        limit = self.policy.max_duration
        self.deadline = max(now, self._admitted + limit + BACKSTOP) if limit else None

    def _caller_left_the_queue(self, _: Fact, now: float) -> _Actions:
        self._finish("hangup")
        return (Tell("ended"), Act.CLOSE) if self.guarded else (Act.CLOSE,)

    def _over(self, fact: Fact, now: float) -> _Actions:
        assert isinstance(fact, Over)
        if fact.unsaid:
            return self._end(fact.result, Say(Status.ERROR, self.policy.on_error, fact.unsaid), now)
        self._finish(fact.result)
        return (Act.CLOSE,)

    def _over_at_once(self, fact: Fact, now: float) -> _Actions:
        # The worker says `Over` without having said that it has the call, which it could not even start.
        assert isinstance(fact, Over)
        if fact.unsaid and self.guarded:
            self._finish(fact.result)
            return (Tell("refused", Status.ERROR, self.policy.on_error, fact.unsaid), Act.CLOSE)
        return (*self._confirm(fact, now), *self._over(fact, now))

    def _worker_died(self, fact: Fact, now: float) -> _Actions:
        assert isinstance(fact, WorkerDied)
        if self.policy.on_crash == "retry" and self.attempt == 1:
            self.state = State.RESETTING
            self.deadline = now + RESET_TIMEOUT
            return (Act.RESET,)
        way: Literal["hangup", "exit"] = "exit" if self.policy.on_crash == "exit" else "hangup"
        return self._end("worker_died", Say(Status.CRASHED, way, fact.reason), now)

    def _second_life(self, _: Fact, now: float) -> _Actions:
        self.state = State.QUEUED
        self.attempt += 1
        self.deadline = self._patience = now + self.policy.queue_timeout
        return (Act.READ, Act.REJOIN)

    def _no_second_life(self, _: Fact, now: float) -> _Actions:
        return self._end("worker_died", Say(Status.CRASHED, "hangup", "the call could not be begun anew"), now)

    def _gone_in_reset(self, fact: Fact, now: float) -> _Actions:
        # The dead worker may have sent `E` already: then the call went on in the dialplan as its app wanted.
        assert isinstance(fact, CallerGone)
        self._finish("completed" if fact.left else "hangup")
        return (Act.CLOSE,)

    def _too_long(self, _: Fact, now: float) -> _Actions:
        reason = f"longer than max_duration, {self.policy.max_duration:g} s"
        return (Act.DROP, *self._end("timeout", Say(Status.TIMEOUT, self.policy.on_timeout, reason), now))

    def _ordered_out(self, fact: Fact, now: float) -> _Actions:
        assert isinstance(fact, OrderedOut)
        dropped: _Actions = (Act.DROP,) if self.state in (State.STARTING, State.RUNNING) else ()
        status = Status.DRAINING if fact.result == "drained" else Status.UNAVAILABLE
        if self.guarded:
            self._finish(fact.result)
            # The operator wants the caller gone; a drain refuses like others a call that no app has met.
            way: Way = "-" if fact.result == "drained" else "hangup"
            return (*dropped, Tell("refused", status, way, fact.reason), Act.CLOSE)
        return (*dropped, *self._end(fact.result, Say(status, "hangup", fact.reason), now))

    def _end(self, result: Result, say: Say, now: float) -> _Actions:
        self.state = State.ENDING
        self.result = result
        self.deadline = now + self.policy.close_timeout
        return (say, Act.DRAIN)

    def _break(self, _: Fact, now: float) -> _Actions:
        dropped: _Actions = (Act.DROP,) if self.state in (State.STARTING, State.RUNNING) else ()
        reason = "an error in ivrd; its log has more"
        if self.guarded:
            self._finish("app_error")
            return (*dropped, Tell("refused", Status.ERROR, self.policy.on_error, reason), Act.CLOSE)
        return (*dropped, *self._end("app_error", Say(Status.ERROR, self.policy.on_error, reason), now))

    def _closed(self, _: Fact, now: float) -> _Actions:
        self._finish(self.result or "hangup")
        return (Act.CLOSE,)

    def _finish(self, result: Result) -> None:
        self.state = State.ENDED
        self.result = result
        self.deadline = None


TABLE: dict[tuple[State, type[Fact]], Callable[[Life, Fact, float], _Actions]] = {
    (State.ADMITTED, Admitted): Life._queue,
    (State.ADMITTED, TurnedAway): Life._turn_away,
    (State.ADMITTED, Broken): Life._break,
    #
    (State.QUEUED, Assigned): Life._dispatch,
    (State.QUEUED, TurnedAway): Life._turn_away,
    (State.QUEUED, CallerGone): Life._caller_left_the_queue,
    (State.QUEUED, ShimGone): Life._unguarded,
    (State.QUEUED, OrderedOut): Life._ordered_out,
    (State.QUEUED, Expired): Life._waited_too_long,
    (State.QUEUED, Broken): Life._break,
    #
    (State.STARTING, Confirmed): Life._confirm,
    (State.STARTING, Lost): Life._requeue,
    (State.STARTING, WorkerDied): Life._requeue,
    (State.STARTING, Over): Life._over_at_once,
    (State.STARTING, OrderedOut): Life._ordered_out,
    (State.STARTING, Expired): Life._unconfirmed,
    (State.STARTING, Broken): Life._break,
    #
    (State.RUNNING, Over): Life._over,
    (State.RUNNING, WorkerDied): Life._worker_died,
    (State.RUNNING, OrderedOut): Life._ordered_out,
    (State.RUNNING, Expired): Life._too_long,
    (State.RUNNING, Broken): Life._break,
    #
    (State.RESETTING, Marked): Life._second_life,
    (State.RESETTING, CallerGone): Life._gone_in_reset,
    (State.RESETTING, OrderedOut): Life._ordered_out,
    (State.RESETTING, Expired): Life._no_second_life,
    (State.RESETTING, Broken): Life._break,
    #
    (State.ENDING, CallerGone): Life._closed,
    (State.ENDING, Expired): Life._closed,
    (State.ENDING, Broken): Life._closed,
}
