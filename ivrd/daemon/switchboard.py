"""The switchboard: all live calls, the pools they go to, and the line that is written at the end of each.

The rule that holds here: a call is in `calls` from its admission to the moment when nothing of it is held any more, and
whoever wants to do something to calls (drain, operator, registration) finds them here and tells them facts.
"""

from __future__ import annotations

import itertools
import os
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog
import trio

from ivrd.config import App, Config
from ivrd.descriptors import Stdio
from ivrd.observe import logging
from ivrd.observe.arguments import machine_id, shown
from ivrd.observe.logging import Format
from ivrd.observe.metrics import Metrics
from ivrd.observe.repeats import Repeats
from ivrd.rules.life import Fact, Life, Policy, TurnedAway
from ivrd.wire.hello import Fallback, Hello, Status
from ivrd.wire.messages import HeldCall, Result, Tally

from .calls import Call
from .lock import Lock
from .pool import Pool

if TYPE_CHECKING:
    from .workers import Worker

__all__ = ["Switchboard"]

log = structlog.get_logger("ivrd.daemon")


class Switchboard:
    """Where calls meet pools.

    Attributes:
        config: the configuration in force.
        calls: live calls by id.
        pools: pools by app name, those of apps that were taken out of the configuration included.
        allowed: users whose shims may hand calls over.
        draining: new calls are turned away.
        dismissing: the workers are being sent away, and whoever comes now goes with them.
        metrics: the counters.
        lock: the book of workers' process ids.
        floor: the nursery of calls.
        staff: the nursery of workers.
        log_format: how log lines look, here and in the workers.
        born: when this daemon began, on trio's clock.
        results: calls that ended, by result.
        expected: told of each new call before anything is done with it.
    """

    def __init__(
        self,
        config: Config,
        lock: Lock,
        metrics: Metrics,
        *,
        floor: trio.Nursery,
        staff: trio.Nursery,
        log_format: Format,
    ) -> None:
        self.log_format = log_format
        self.config: Config
        self.allowed: frozenset[int] = frozenset()
        self.calls: dict[str, Call] = {}
        self.pools: dict[str, Pool] = {}
        self.draining = False
        self.dismissing = False
        self.metrics = metrics
        self.lock = lock
        self.floor = floor
        self.staff = staff
        self.born = trio.current_time()
        self.results: Counter[Result] = Counter()
        self.expected: list[Callable[[Call], None]] = []
        self._keys = itertools.count(1)
        self._numbers = itertools.count(1)
        # Unique across daemons and restarts: the time of this one's start, and something random for two in one
        # millisecond.
        self._prefix = f"{int(time.time() * 1000):x}{os.urandom(1).hex()}"
        self._salt = machine_id()
        self._repeats = Repeats()
        self._channels: set[tuple[int, int]] = set()  # of the calls in the books
        self._emptied = trio.Event()
        self.configure(config)

    def next_key(self) -> int:
        """A number for a worker that none had before."""
        return next(self._keys)

    def configure(self, config: Config) -> None:
        """Put a configuration in force, as far as it does not concern the pools."""
        self.config = config
        logging.configure(self.log_format, config.server.log_level, self._repeats)
        self.allowed, warnings = config.server.allowed_uids()
        for warning in warnings:
            log.warning("config_warning", detail=warning)
        self.metrics.set_apps(list(config.apps))

    def add_pool(self, name: str, app: App, *, open: bool) -> Pool:  # noqa: A002 - what it is, of a door
        """Make an app's pool, open to new calls or not; its life begins when somebody calls `start` on it."""
        self.pools[name] = Pool(self, name, app, open=open)
        return self.pools[name]

    def forget(self, pool: Pool) -> None:
        """Strike out the pool of an app that is not in the configuration and has no worker any more."""
        if self.pools.get(pool.name) is pool:
            del self.pools[pool.name]

    def pool(self, app: str) -> Pool | None:
        """The pool for new calls of an app, if there is such an app."""
        pool = self.pools.get(app)
        return pool if pool is not None and pool.open else None

    @property
    def open_pools(self) -> list[Pool]:
        """The pools that new calls come into."""
        return [pool for pool in self.pools.values() if pool.open]

    def knows(self, stdio: Stdio) -> bool:
        """Whether a call on this channel is in the books already.

        A daemon that was killed between handing a call to its worker and telling the shim leaves two that bring it to
        the next one, and a channel must not have two readers.
        """
        return stdio.channel() in self._channels

    def admit(self, pool: Pool, hello: Hello, stdio: Stdio, shim: socket.socket, transport: str) -> None:
        """Admit a call, hand it to a worker at once if one is free, and see it through in a task of its own.

        Args:
            pool: its app's pool.
            hello: what the shim said.
            stdio: its descriptors; owned from now on.
            shim: the connection to its shim; owned from now on.
            transport: how it came.
        """
        call_id = f"{self._prefix}-{next(self._numbers)}"
        life = Life(self._policy(pool.app, hello.fallback), trio.current_time())
        args = tuple(arg.encode("utf-8", "surrogateescape") for arg in hello.args)
        call = Call(call_id, pool, stdio, life, args=args, started=time.time(), transport=transport, shim=shim)
        channel = self._enter(call)
        for expected in list(self.expected):
            expected(call)
        call.tell(self._welcome(pool, call_id))
        pool.kick()
        self.floor.start_soon(self._run, call, channel)

    def _policy(self, app: App, fallback: Fallback) -> Policy:
        """What the configuration says about the ends of a call."""
        return Policy(
            fallback=fallback,
            on_overload=app.on_overload,
            on_crash=app.on_crash,
            on_error=app.on_error,
            on_timeout=app.on_timeout,
            queue_timeout=app.queue_timeout,
            max_duration=app.max_duration,
            close_timeout=self.config.server.close_timeout,
        )

    def _enter(self, call: Call) -> tuple[int, int]:
        # In the books at once: it may end before its task has begun.
        self.calls[call.id] = call
        channel = call.stdio.channel()
        self._channels.add(channel)
        return channel

    def _welcome(self, pool: Pool, call_id: str) -> Fact:
        # The call itself is in the books already.
        limit = self.config.server.max_calls
        if len(self.calls) > limit:
            return TurnedAway(Status.OVERLOADED, f"max_calls = {limit} calls are up; raise it if the machine has room")
        return pool.enter(call_id)

    def adopt(self, pool: Pool, worker: Worker, held: HeldCall, stdio: Stdio) -> None:
        """Take a call into the books that a worker brought along; the descriptors are owned from now on."""
        known = self.calls.get(held.id)
        if known is not None and known.worker is worker:
            stdio.close()  # the worker only lost its connection to us
            known.confirmed()
            return
        if self.knows(stdio):
            stdio.close()  # it comes late: the shim has brought the call before it, and another worker has it
            worker.drop(held.id)
            return
        policy = self._policy(pool.app, "hangup")
        if held.max_duration is not None:
            # A limit that was lowered meanwhile is for calls that begin now.
            policy = replace(policy, max_duration=held.max_duration)
        life = Life.adopted(policy, trio.current_time(), age=held.age, attempt=held.attempt)
        call = Call(
            held.id, pool, stdio, life, args=held.args, started=held.started, age=held.age, transport=held.transport
        )
        call.worker = worker
        worker.take_held(call)
        self.floor.start_soon(self._run, call, self._enter(call))

    async def _run(self, call: Call, channel: tuple[int, int]) -> None:
        try:
            await call.run()
        except Exception as error:
            # As in `Call.tell`; its descriptors are closed, so that shim, worker or Asterisk see an end of it.
            log.error("call_broke", call=call.id, exc_info=error)
        finally:
            del self.calls[call.id]
            self._channels.discard(channel)
            if not self.calls:
                self._emptied.set()
        self._write_line(call)
        for tap in call.taps:
            tap.over(call)

    async def empty(self) -> None:
        """Wait until no call is left."""
        while self.calls:
            self._emptied = trio.Event()
            await self._emptied.wait()

    def _write_line(self, call: Call) -> None:
        result = call.life.result or "hangup"
        duration = call.duration
        tally = call.tally or Tally()
        self.results[result] += 1
        self.metrics.call_ended(call.pool.name, call.transport, result, duration)
        log.info(
            "ivrd_call",
            call=call.id,
            app=call.pool.name,
            args=len(call.args),
            argv=shown(call.args, call.pool.app.log_args, self._salt),
            transport=call.transport,
            result=result,
            detail=call.detail,
            duration=round(duration, 3),
            waited=None if call.waited is None else round(call.waited, 4),
            handoff=None if call.handoff is None else round(call.handoff, 4),
            first_command=None if tally.first_command is None else round(tally.first_command, 4),
            events=sum(tally.events.values()),
            commands=sum(tally.commands.values()),
            refused=sum(tally.refused.values()),
            attempt=call.life.attempt,
            worker=None if call.worker is None else call.worker.pid,
        )
